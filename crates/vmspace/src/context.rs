//! What the running context may do, as types.
//!
//! Guarantee: whatever may sleep, allocate with reclaim, or call a pager takes `&mut` [`MaySleep`].
//! A guard, a cursor and a node lock borrow it for as long as they live, so "allocate under the
//! lock", "sleep inside a walk" and "hold the locks of two spaces" are programs that do not compile.
//!
//! A thread has one `MaySleep`, made where the thread begins (or where a trap from user mode
//! enters the kernel), and hands it down. Interrupt handlers have none.

use core::marker::PhantomData;

/// The right to sleep. One exists for each task at most; it does not leave its thread.
///
/// ```compile_fail,E0277
/// fn needs_send<T: Send>() {}
/// needs_send::<vmspace::MaySleep>();
/// ```
#[derive(Debug)]
pub struct MaySleep {
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
        MaySleep { not_send: PhantomData }
    }
}
