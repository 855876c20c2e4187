//! What the running context may do, as types.
//!
//! Guarantee: whatever may sleep, allocate with reclaim, or call a pager takes `&mut` [`MaySleep`].
//! A guard, a cursor and a node lock borrow it for as long as they live, so "allocate under the
//! lock", "sleep inside a walk" and "hold the locks of two spaces" are programs that do not compile.
//!
//! A thread has one `MaySleep`, made where the thread begins (or where a trap from user mode
//! enters the kernel), and hands it down. Interrupt handlers have none.
//!
//! ```
//! # use vmspace::{MaySleep, Platform, Space};
//! fn walk_then_unmap<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
//!     let guard = space.vm().walk(ms);
//!     let _ = space.translate(&guard, 0x1_0000);
//!     drop(guard);
//!     let _ = space.unmap(ms, 0x1_0000, 4096);
//! }
//! ```
//!
//! The same with the guard still in use is refused:
//!
//! ```compile_fail,E0499
//! # use vmspace::{MaySleep, Platform, Space};
//! fn unmap_in_the_walk<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
//!     let guard = space.vm().walk(ms);
//!     let _ = space.translate(&guard, 0x1_0000);
//!     let _ = space.unmap(ms, 0x1_0000, 4096);
//!     drop(guard);
//! }
//! ```
//!
//! All such rules stand in `tests/contexts/`, each beside a program that keeps it.

use crate::mutation::{self, Mutation};
use core::marker::PhantomData;

/// The right to sleep. One exists for each task at most; it does not leave its thread.
///
/// ```
/// use vmspace::MaySleep;
///
/// // Where a thread begins:
/// // SAFETY: it may sleep, holds nothing, and has no other.
/// let mut ms = unsafe { MaySleep::assume() };
/// let _: &mut MaySleep = &mut ms; // what it hands down
/// ```
#[derive(Debug)]
pub struct MaySleep {
    /// A pager or a swap device is at work, and may hold locks of its own: memory that it asks for
    /// is not looked for by calling others (R31).
    in_driver: bool,
    /// A space is kept from ending: nobody is waited for who ends spaces.
    visiting: bool,
    not_send: PhantomData<*mut ()>,
}

impl MaySleep {
    /// Claims the right to sleep for the running task.
    ///
    /// # Safety
    /// The caller runs in task context with interrupts enabled and holds no lock of this library,
    /// no read guard and no lock that a shootdown's target might wait for; and no other `MaySleep`
    /// of the same task is alive.
    pub const unsafe fn assume() -> MaySleep {
        MaySleep { in_driver: false, visiting: false, not_send: PhantomData }
    }

    /// Calls a pager or a swap device.
    pub(crate) fn in_driver<R>(&mut self, call: impl FnOnce(&mut MaySleep) -> R) -> R {
        let before = core::mem::replace(&mut self.in_driver, true);
        let result = call(self);
        self.in_driver = before;
        result
    }

    /// Does what keeps spaces from ending, one after the other.
    pub(crate) fn visiting<R>(&mut self, visit: impl FnOnce(&mut MaySleep) -> R) -> R {
        let before = core::mem::replace(&mut self.visiting, true);
        let result = visit(self);
        self.visiting = before;
        result
    }

    /// Whether spaces and objects may be ended here: that calls pagers, and waits for visitors.
    pub(crate) fn may_end_others(&self) -> bool {
        !self.is_in_driver() && !self.visiting
    }

    /// Whether a pager or a swap device asks.
    pub(crate) fn is_in_driver(&self) -> bool {
        self.in_driver && !mutation::active(Mutation::DriversInDrivers)
    }
}
