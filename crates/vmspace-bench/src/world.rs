//! What is measured in: a manager over host memory, one space, its CPUs the threads that say so
//! ([`be_cpu`]).
//!
//! Where instructions are counted frames are not zeroed on faults, since the bounds exclude zeroing.

use crate::operations::Operation;
#[path = "../../vmspace/tests/host/mod.rs"]
mod host;

pub use host::be_cpu;

use host::{Files, Host};
use std::sync::atomic::{AtomicBool, Ordering};
use vmspace::format::{Geometry, Sv48};
use vmspace::{
    Access, Batch, CpuSet, Frame, MaySleep, Native, Page, PagerError, Platform, Space, SpaceId,
    SwapDevices, Vm,
};

pub type Manager = Vm<Machine>;
pub type World<'vm> = Space<'vm, Machine>;

/// Frames of the measured machine: 128 MiB.
const FRAMES: u64 = 32_768;

const PAGE: usize = Sv48::PAGE_SIZE as usize;

/// The swap devices of a measured machine.
pub type Swap = Box<dyn SwapDevices + Send + Sync>;

/// The tests' host, with swap devices of its own; its CPUs cache no translations.
pub struct Machine {
    host: Host<Sv48>,
    swap: Swap,
    zeroing: bool,
    /// Memory is short: set by the library, taken by whoever steals.
    pub low: AtomicBool,
}

/// A manager for measuring.
pub fn manager() -> Manager {
    Machine::new(FRAMES, Box::new(Nothing), false).manager()
}

impl Machine {
    pub fn new(frames: u64, swap: Swap, zeroing: bool) -> Machine {
        let mut host = Host::new(frames, 2);
        // Nor are shootdowns remembered then.
        host.zeroing = false;
        Machine { host, swap, zeroing, low: AtomicBool::new(false) }
    }

    pub fn manager(self) -> Manager {
        let frames = self.host.frames();
        Vm::new(self, 0..frames).expect("there are frames for a manager")
    }
}

/// A swap device that does nothing: neither contents nor time.
pub struct Nothing;

impl SwapDevices for Nothing {
    fn read(&self, _: &mut MaySleep, _: u64, _: u64, _: Page<'_>) -> Result<(), PagerError> {
        Ok(())
    }

    fn write(&self, _: &mut MaySleep, _: u64, _: u64, _: Page<'_>) -> Result<(), PagerError> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) {}
}

// SAFETY: frames are the host's. Nobody caches translations: whoever reaches memory by an entry here
// does it while no other thread changes the space.
unsafe impl Platform for Machine {
    type Format = Sv48;
    type Backend = Native;
    type Pager = Files;
    type Swap = dyn SwapDevices + Send + Sync;

    fn backend(&self) -> &Native {
        self.host.backend()
    }

    fn pager(&self) -> &Files {
        self.host.pager()
    }

    fn swap(&self) -> &Self::Swap {
        &*self.swap
    }

    fn cpus(&self) -> usize {
        self.host.cpus()
    }

    #[inline]
    fn cpu(&self) -> usize {
        self.host.cpu()
    }

    #[inline(always)]
    fn frame_ptr(&self, frame: Frame) -> *mut u8 {
        self.host.frame_ptr(frame)
    }

    fn zero(&self, frame: Frame) {
        if self.zeroing {
            // SAFETY: nobody else can reach the frame.
            unsafe { self.frame_ptr(frame).write_bytes(0, PAGE) }
        }
    }

    fn shootdown(&self, cpus: &CpuSet, space: SpaceId, batch: &Batch<'_>) {
        self.host.shootdown(cpus, space, batch);
    }

    fn flush_local(&self, space: SpaceId, page: u64) {
        self.host.flush_local(space, page);
    }

    fn park(&self, word: &vmspace::sync::AtomicU32, value: u32) {
        self.host.park(word, value);
    }

    fn unpark_all(&self, word: &vmspace::sync::AtomicU32) {
        self.host.unpark_all(word);
    }

    fn relax(&self) {
        self.host.relax();
    }

    fn memory_low(&self) {
        self.low.store(true, Ordering::Relaxed);
    }
}

/// Sets an operation up and runs it `n` times; what valgrind counts.
pub fn run(operation: &Operation, n: u64) {
    let vm = manager();
    // SAFETY: this thread may sleep, and holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let Ok(space) = Space::new(&vm, &mut ms) else { return };
    space.enter(0);
    (operation.run)(&space, &mut ms, n);
    // What ending the space would cost belongs to no operation.
    std::process::exit(0);
}

/// Touches a page as a processor does: by the entry, whose accessed (and dirty) bit is set; after a
/// fault where it allows no access. Whether there was none.
pub fn touch(space: &World<'_>, ms: &mut MaySleep, at: u64, access: Access) -> bool {
    let there = space.fault_atomic(&space.vm().walk(ms), at, access).is_ok();
    if !there {
        space.fault(ms, at, access).expect("there is memory");
        // The access that is tried again.
        let _ = space.fault_atomic(&space.vm().walk(ms), at, access);
    }
    there
}
