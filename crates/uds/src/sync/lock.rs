//! Asking for a lock and giving it back: what all kinds of locks share. Nothing here depends on the type of a value, so
//! that it is compiled once, here, where it costs least.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::binding::Binding;
use super::request::{Ask, Request};
use crate::core::{Core, LockId, Op, Share, TaskId};
use crate::executor::current::{self, Current};
use crate::task::Fault;

/// Asks for a share of a lock; whose request it was.
pub(super) fn acquire(binding: &Binding<LockId>, share: Share) -> Acquire<'_> {
    Acquire(Request::new(Lock { binding, share }))
}

/// The current task gives back its share of a lock, if it is `task`; `put_back` returns the value before that.
pub(super) fn give_back(
    binding: &Binding<LockId>,
    task: TaskId,
    share: Share,
    wrote: bool,
    put_back: &mut dyn FnMut(),
) {
    current::with(|current| {
        let Some(current) = current.filter(|current| current.stand.task == task) else { return };
        if let Some(lock) = binding.known(&current.shared) {
            put_back();
            current.stand.wrote |= wrote;
            current.hand_back(lock, share);
        }
    });
}

pub(super) struct Acquire<'a>(Request<Lock<'a>>);

impl Future for Acquire<'_> {
    type Output = TaskId;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TaskId> {
        Pin::new(&mut self.0).poll(cx).map(|granted| granted.task)
    }
}

struct Lock<'a> {
    binding: &'a Binding<LockId>,
    share: Share,
}

impl Ask for Lock<'_> {
    fn ask(self, current: &mut Current) -> Result<Op, Fault> {
        let lock = self.binding.id(&current.shared, Core::create_lock)?;
        Ok(Op::Acquire { lock, share: self.share })
    }
}
