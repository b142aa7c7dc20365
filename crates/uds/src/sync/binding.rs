//! Which scheduler an object belongs to, and its id there.

use std::sync::{Arc, OnceLock, Weak};

use crate::core::{BarrierId, ConditionId, Core, LockId};
use crate::executor::shared::Shared;
use crate::task::Fault;

/// Made when the object is first used.
pub(super) struct Binding<I: Id>(OnceLock<Bound<I>>);

impl<I: Id> Binding<I> {
    pub(super) const fn new() -> Binding<I> {
        Binding(OnceLock::new())
    }

    /// The object's id in `shared`, which creates it if nobody has used it yet.
    pub(super) fn id(&self, shared: &Arc<Shared>, create: impl FnOnce(&mut Core) -> I) -> Result<I, Fault> {
        let bound =
            self.0.get_or_init(|| Bound { scheduler: Arc::downgrade(shared), id: shared.change(create) });
        if std::ptr::eq(bound.scheduler.as_ptr(), Arc::as_ptr(shared)) {
            Ok(bound.id)
        } else {
            Err(Fault::OtherScheduler)
        }
    }

    /// The object's id in `shared`, if it was used there.
    pub(super) fn known(&self, shared: &Arc<Shared>) -> Option<I> {
        self.0
            .get()
            .filter(|bound| std::ptr::eq(bound.scheduler.as_ptr(), Arc::as_ptr(shared)))
            .map(|bound| bound.id)
    }
}

struct Bound<I: Id> {
    /// Weak, because the scheduler's tasks own applications, which own locks.
    scheduler: Weak<Shared>,
    id: I,
}

impl<I: Id> Drop for Bound<I> {
    fn drop(&mut self) {
        if let Some(shared) = self.scheduler.upgrade() {
            shared.change(|core| self.id.retire(core));
        }
    }
}

/// The id of an object in a core.
pub(super) trait Id: Copy {
    /// Nobody uses it any more.
    fn retire(self, core: &mut Core);
}

impl Id for LockId {
    fn retire(self, core: &mut Core) {
        core.retire_lock(self);
    }
}

impl Id for ConditionId {
    fn retire(self, core: &mut Core) {
        core.retire_condition(self);
    }
}

impl Id for BarrierId {
    fn retire(self, core: &mut Core) {
        core.retire_barrier(self);
    }
}
