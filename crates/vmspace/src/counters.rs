//! What each CPU counts for itself: events for reports, and its share of grace periods.
//!
//! Guarantee: a CPU writes only its own block, so counting never makes two operations conflict.
//! Sums are read block by block: exact when nothing runs.

use crate::rcu::Readers;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// An event that is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Event {
    /// A fault that brought a fresh anonymous page.
    FaultAnonymous,
    /// A read fault that mapped the zero page.
    FaultZero,
    /// A write fault that copied a page.
    FaultCopy,
    /// A write fault that found the page its own.
    FaultReuse,
    /// A fault that mapped a page of a shared object.
    FaultShared,
    /// A fault that mapped a page that was on swap.
    FaultSwapped,
    /// A fault that found the entry already as needed.
    FaultSpurious,
    /// A fault that grew a stack.
    FaultStack,
    /// A fault that was refused.
    FaultRefused,
    /// A pager was asked for a page.
    PageIn,
    /// A pager was handed a dirty page.
    PageOut,
    /// A page's age was looked at.
    PageScanned,
    /// A page was found accessed, and its bit cleared.
    PageAged,
    /// A page was taken away for want of memory.
    PageStolen,
    /// A page was written to a swap device.
    SwapOut,
    /// A page was read from a swap device.
    SwapIn,
    /// A page that had been stolen was brought back.
    Refault,
    /// Whoever needed memory stole it himself.
    Stall,
    /// A table was made.
    TableMade,
    /// A table was freed.
    TableFreed,
    /// A shootdown was sent.
    Shootdown,
    /// A page was named in a shootdown.
    ShootdownPage,
    /// A shootdown took the whole space.
    ShootdownSpace,
}

/// How many kinds of event there are.
const EVENTS: usize = Event::ShootdownSpace as usize + 1;

/// What has been retired on a CPU and waits for its grace period.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    /// A stack that anyone pushes on.
    pub incoming: AtomicU64,
    /// How many were pushed since the last look.
    pub fresh: AtomicU32,
    /// Held by whoever moves things on; only ever tried.
    pub busy: AtomicU32,
    /// What was taken off the stack together (under `busy`).
    pub waiting: AtomicU64,
    /// The stamp of all that waits (under `busy`).
    pub stamp: AtomicU64,
}

/// How many of the pages that a CPU has brought back are remembered: as many as an instruction may need
/// at once, which lies across a boundary itself, and so do two operands.
pub(crate) const AT_ONCE: usize = 6;

/// What a CPU has brought back (see `latest`).
#[derive(Debug, Default)]
pub(crate) struct Brought {
    /// How many pages, but for those that it remembered.
    pub count: AtomicU64,
    /// How often in a row it has wanted one that it remembers.
    pub again: AtomicU32,
    /// Those that it remembers, each at its number.
    pub last: [AtomicU64; AT_ONCE],
}

/// One CPU's block.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct PerCpu {
    pub readers: Readers,
    pub retired: Retired,
    pub brought: Brought,
    events: [AtomicU64; EVENTS],
}

impl PerCpu {
    pub fn count(&self, event: Event, n: u64) {
        self.events[event as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub fn counted(&self, event: Event) -> u64 {
        self.events[event as usize].load(Ordering::Relaxed)
    }
}

/// Sums of what all CPUs have counted.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// # let space = Space::new(&vm, &mut ms)?;
/// # let rw = Rights::READ | Rights::WRITE;
///
/// let at = space.map(&mut ms, Map::anonymous(8192, rw))?;
/// space.fault(&mut ms, at, Access::Write).expect("it is mapped");
/// space.fault(&mut ms, at + 4096, Access::Read).expect("it is mapped");
/// let counted = vm.statistics();
/// assert_eq!((counted.faults_anonymous, counted.faults_zero), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // each field is the event of its name
pub struct Statistics {
    pub faults_anonymous: u64,
    pub faults_zero: u64,
    pub faults_cow_copy: u64,
    pub faults_cow_reuse: u64,
    pub faults_shared: u64,
    pub faults_swapped: u64,
    pub faults_spurious: u64,
    pub faults_stack: u64,
    pub faults_refused: u64,
    pub pages_in: u64,
    pub pages_out: u64,
    pub pages_scanned: u64,
    pub pages_aged: u64,
    pub pages_stolen: u64,
    pub pages_swapped_out: u64,
    pub pages_swapped_in: u64,
    pub pages_refaulted: u64,
    pub stalls: u64,
    pub tables_made: u64,
    pub tables_freed: u64,
    pub tables_alive: u64,
    pub shootdowns: u64,
    pub shootdown_pages: u64,
    pub shootdown_spaces: u64,
}
