//! What a kernel, hypervisor or emulator gives the library: the one trait to implement.
//!
//! Each method says in which context it is called and which locks may be held then. There are no
//! defaults: every default that was tried is wrong with more than one CPU.

use crate::addr::Frame;
use crate::backend::Backend;
use crate::flush::{Batch, CpuSet, SpaceId};
use crate::format::Format;
use crate::pager::Pager;
use crate::swap::SwapDevices;
use crate::sync::AtomicU32;

/// The most CPUs that a platform may have.
pub const MAX_CPUS: usize = 256;

/// The machine below the library.
///
/// # Safety
/// `frame_ptr` must give, for every frame in the range given to [`Vm::new`](crate::Vm::new), a
/// pointer valid for reads and writes of one base page, page-aligned, contiguous for contiguous
/// frames, for as long as the platform lives, to memory that nothing else in the program uses but
/// through the library (hardware walkers and user accesses apart). `shootdown` must not return
/// before every named CPU has dropped the translations.
pub unsafe trait Platform: Sync {
    /// The page-table format.
    type Format: Format;
    /// How entries are changed.
    type Backend: Backend;
    /// What fills and stores the pages of objects; [`NoPager`](crate::NoPager) without files.
    type Pager: Pager + ?Sized;
    /// What pages are swapped to; [`NoSwap`](crate::NoSwap) without swap.
    type Swap: SwapDevices + ?Sized;

    /// The backend. Any context, any lock.
    fn backend(&self) -> &Self::Backend;

    /// The pager. Any context; its methods say in which they are called.
    fn pager(&self) -> &Self::Pager;

    /// The swap devices. Any context; their methods say in which they are called.
    fn swap(&self) -> &Self::Swap;

    /// How many CPUs there are: at least 1, at most [`MAX_CPUS`], always the same answer.
    fn cpus(&self) -> usize;

    /// The running CPU's number, below `cpus()`. Any context, any lock. A stale answer (the task
    /// moved on) costs speed, not correctness.
    fn cpu(&self) -> usize;

    /// Where the frame's bytes are. Any context, any lock; inlined into every walk.
    fn frame_ptr(&self, frame: Frame) -> *mut u8;

    /// Fills a frame that nobody else can reach with zeros. Called in task context with no lock of
    /// this library held.
    fn zero(&self, frame: Frame);

    /// Makes every CPU in `cpus` drop what it caches of `space` for the pages of `batch` (for the
    /// whole space when [`Batch::pages`] is `None`), non-leaf entries too when
    /// [`Batch::tables`] says so, and returns when all have done it, each with a fence after its
    /// invalidation. The running CPU, when named, does its own part. Called in task context with
    /// interrupts enabled, node locks of `space` held (none, for all of it, where its pages grow older:
    /// it may be ending, and does not end before this returns); it must not allocate and must serve
    /// other CPUs' shootdowns while it waits.
    fn shootdown(&self, cpus: &CpuSet, space: SpaceId, batch: &Batch<'_>);

    /// Drops what the running CPU caches for one page of `space`, after an upgrade that sends no
    /// shootdown. Any lock may be held.
    fn flush_local(&self, space: SpaceId, page: u64);

    /// Waits until `*word != value`, or returns earlier for no reason; the platform's futex.
    /// A platform without a scheduler spins once, serving shootdowns. Called in task context with
    /// interrupts enabled and no lock of this library held but perhaps a space's heap lock or an
    /// object's lock of writers, which is waited for in the same way and by tasks that hold nothing; a running CPU that waits here
    /// must answer shootdowns.
    fn park(&self, word: &AtomicU32, value: u32);

    /// Wakes everybody that is parked on `word`. Any lock may be held.
    fn unpark_all(&self, word: &AtomicU32);

    /// Called in every turn of a busy wait: answer shootdowns, relax the processor. Task context;
    /// node locks may be held by the caller.
    fn relax(&self);

    /// Memory is short: whoever runs [`Vm::balance`](crate::Vm::balance) is to be woken. Any
    /// context, any lock; called again and again until enough is free. Without such a task nothing
    /// need be done.
    fn memory_low(&self);
}
