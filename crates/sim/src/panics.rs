//! Assertions of the product are checks, too: one that fails ends its run as any other does, and is told with its seed. What
//! an application does to itself is part of the run and is not printed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::observe::Violation;

thread_local! {
    static RUNS: Cell<bool> = const { Cell::new(false) };
}

/// Runs it, and makes a violation of a panic.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    silence_runs();
    let before = RUNS.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    RUNS.set(before);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let said = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        Err(Violation::Assertion(said.to_owned()))
    })
}

fn silence_runs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !RUNS.get() {
                usual(info);
            }
        }));
    });
}
