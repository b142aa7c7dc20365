//! Deliberate bugs, one at a time, to see that the checks find them.
//!
//! A crate declares its bugs as statics and asks at the place of each whether it is on:
//!
//! ```
//! static ADDS_ONE_TOO_MANY: smr_known_bugs::Bug = smr_known_bugs::Bug {
//!     name: "adds-one-too-many",
//!     what: "The sum is one too large.",
//!     source: "every introduction to arrays",
//! };
//!
//! fn sum(a: u32, b: u32) -> u32 {
//!     if ADDS_ONE_TOO_MANY.is_on() { a + b + 1 } else { a + b }
//! }
//!
//! assert_eq!(sum(1, 1), 2);
//! ```
//!
//! Without the feature `switchable`, which only tests turn on, [`Bug::is_on`] is a constant: a binary that serves
//! contains no bug of these and nothing that could switch one on.

/// A way to get it wrong.
#[derive(PartialEq, Eq, Debug)]
pub struct Bug {
    /// How it is called, in words joined by hyphens.
    pub name: &'static str,
    /// What goes wrong, in a sentence.
    pub what: &'static str,
    /// Who made this mistake, or who says why it is one.
    pub source: &'static str,
}

#[cfg(not(feature = "switchable"))]
impl Bug {
    /// Never: this build contains no bugs.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        false
    }
}

#[cfg(feature = "switchable")]
pub use switch::Switched;

#[cfg(feature = "switchable")]
mod switch {
    use std::cell::Cell;
    use std::marker::PhantomData;
    use std::ptr;

    use super::Bug;

    thread_local! {
        static CHOSEN: Cell<Option<&'static Bug>> = const { Cell::new(None) };
    }

    /// While this is held, a bug is on: on this thread and no other.
    #[derive(Debug)]
    pub struct Switched {
        /// It must be dropped on the thread on which it was made.
        stays_here: PhantomData<*const ()>,
    }

    impl Bug {
        /// Whether it is on, on this thread.
        #[must_use]
        pub fn is_on(&self) -> bool {
            CHOSEN.get().is_some_and(|chosen| ptr::eq(chosen, self))
        }

        /// Switches it on, on this thread.
        ///
        /// # Panics
        /// If another one is: two bugs at once may hide each other.
        #[must_use]
        pub fn switch_on(&'static self) -> Switched {
            let before = CHOSEN.replace(Some(self));
            assert!(before.is_none(), "{} while {before:?} is on", self.name);
            Switched { stays_here: PhantomData }
        }
    }

    impl Drop for Switched {
        fn drop(&mut self) {
            CHOSEN.set(None);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        static ONE: Bug = Bug { name: "one", what: "", source: "" };
        static OTHER: Bug = Bug { name: "other", what: "", source: "" };

        #[test]
        #[expect(clippy::disallowed_methods, reason = "another thread is what is tested")]
        fn a_bug_is_on_while_it_is_held_and_on_this_thread_only() {
            assert!(!ONE.is_on());
            let switched = ONE.switch_on();
            assert!(ONE.is_on() && !OTHER.is_on());
            assert!(std::thread::spawn(|| !ONE.is_on()).join().expect("it ends"));
            drop(switched);
            assert!(!ONE.is_on());
        }
    }
}
