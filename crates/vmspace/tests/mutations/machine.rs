//! A machine of a few CPUs whose TLBs forget nothing unless they are told to, and which stops a
//! CPU where a test wants the others to get between: no test depends on luck or on time.

use crate::host::{self, Files, Host};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use vmspace::format::{Format, Geometry, Sv48};
use vmspace::sync::AtomicU32;
use vmspace::{
    Access, Backend, Batch, CpuSet, Frame, MaySleep, Native, Platform, Space, SpaceId, Translation,
    Vm,
};

const CPUS: usize = 3;
const FRAMES: u64 = 1024;

type Action = Box<dyn FnOnce()>;

thread_local! {
    /// Done when the thread next looks into that table.
    static AT_TABLE: RefCell<Option<(Frame, Action)>> = const { RefCell::new(None) };
    /// Done whenever the thread waits for a lock.
    static WAITING: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
    /// The frames that the thread has looked into.
    static SEEN: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Runs `action` when this thread next looks into `table`.
pub fn at_table(table: Frame, action: impl FnOnce() + 'static) {
    AT_TABLE.set(Some((table, Box::new(action))));
}

/// Runs `action` whenever this thread waits for a lock.
pub fn when_waiting(action: impl Fn() + 'static) {
    WAITING.set(Some(Box::new(action)));
}

/// The page-sized translations of one CPU.
type Tlb = Mutex<HashMap<(SpaceId, u64), Translation>>;

/// What a shootdown does first, while the TLBs still have what it is to drop.
type Late<B> = Box<dyn FnOnce(&Machine<B>) + Send>;

pub struct Machine<B = Native> {
    host: Host<Sv48, B>,
    tlbs: [Tlb; CPUS],
    late: Mutex<Option<Late<B>>>,
}

impl Machine {
    pub fn manager() -> Vm<Machine> {
        Machine::with_backend(Native)
    }
}

impl<B: Backend> Machine<B> {
    pub fn with_backend(backend: B) -> Vm<Machine<B>> {
        let host = Host::with_backend(FRAMES, CPUS, backend);
        let machine = Machine { host, tlbs: Default::default(), late: Mutex::new(None) };
        Vm::new(machine, 0..FRAMES).unwrap()
    }

    /// Where the pages of objects come from and go to.
    pub fn files(&self) -> &Files {
        &self.host.files
    }

    /// Runs `action` in the next shootdown, before any CPU has dropped anything.
    pub fn before_acknowledging(&self, action: impl FnOnce(&Machine<B>) + Send + 'static) {
        *self.late.lock().unwrap() = Some(Box::new(action));
    }

    /// The byte at `at` for user code of `cpu`, if its TLB has it and allows the access.
    fn cached(&self, cpu: usize, space: SpaceId, at: u64, access: Access) -> Option<&AtomicU8> {
        let tlb = self.tlbs[cpu].lock().unwrap();
        let found = tlb.get(&(space, at >> Sv48::PAGE_SHIFT))?;
        let offset = (at % Sv48::PAGE_SIZE) as usize;
        let byte = self.host.frame_ptr(found.frame).wrapping_add(offset);
        // SAFETY: a byte of the host's memory, which user code reaches as atomics.
        allows(found, access).then(|| unsafe { &*byte.cast::<AtomicU8>() })
    }

    /// User code on `cpu` stores through what its TLB has. False: that does not let it.
    pub fn store_cached(&self, cpu: usize, space: SpaceId, at: u64, value: u8) -> bool {
        let byte = self.cached(cpu, space, at, Access::Write);
        byte.inspect(|byte| byte.store(value, Ordering::Relaxed)).is_some()
    }

    /// The byte for user code on `cpu`: through its TLB, else the tables, else a fault.
    fn reach<'m>(
        space: &Space<'m, Self>,
        ms: &mut MaySleep,
        cpu: usize,
        at: u64,
        access: Access,
    ) -> &'m AtomicU8 {
        let machine = space.vm().platform();
        loop {
            if let Some(byte) = machine.cached(cpu, space.id(), at, access) {
                return byte;
            }
            match translation(space, ms, at) {
                Some(found) if allows(&found, access) => {
                    let key = (space.id(), at >> Sv48::PAGE_SHIFT);
                    machine.tlbs[cpu].lock().unwrap().insert(key, found);
                }
                _ => space.fault(ms, at, access).expect("user code touches what it mapped"),
            }
        }
    }

    /// User code on `cpu` loads.
    pub fn load(space: &Space<'_, Self>, ms: &mut MaySleep, cpu: usize, at: u64) -> u8 {
        Self::reach(space, ms, cpu, at, Access::Read).load(Ordering::Relaxed)
    }

    /// User code on `cpu` stores.
    pub fn store(space: &Space<'_, Self>, ms: &mut MaySleep, cpu: usize, at: u64, value: u8) {
        Self::reach(space, ms, cpu, at, Access::Write).store(value, Ordering::Relaxed);
    }
}

/// Whether a translation will do: a store marks the entry dirty first.
fn allows(found: &Translation, access: Access) -> bool {
    access.allowed_by(found.rights) && (access != Access::Write || found.dirty)
}

/// What the tables say of `at`.
pub fn translation<B: Backend>(
    space: &Space<'_, Machine<B>>,
    ms: &mut MaySleep,
    at: u64,
) -> Option<Translation> {
    space.translate(&space.vm().walk(ms), at)
}

/// The leaf table that `at` is translated by: the last that a walk looks into.
pub fn leaf_table(space: &Space<'_, Machine>, ms: &mut MaySleep, at: u64) -> Frame {
    SEEN.take();
    translation(space, ms, at).expect("the page is there");
    *SEEN.take().last().unwrap()
}

// SAFETY: memory is the host's, which keeps the contract; a shootdown returns when it has removed
// the pages from the TLB of every CPU named.
unsafe impl<B: Backend> Platform for Machine<B> {
    type Format = Sv48;
    type Backend = B;
    type Pager = Files;

    fn backend(&self) -> &B {
        self.host.backend()
    }

    fn pager(&self) -> &Files {
        self.host.pager()
    }

    fn cpus(&self) -> usize {
        CPUS
    }

    fn cpu(&self) -> usize {
        self.host.cpu()
    }

    fn frame_ptr(&self, frame: Frame) -> *mut u8 {
        SEEN.with_borrow_mut(|seen| seen.push(frame));
        let action = AT_TABLE.with_borrow_mut(|at| at.take_if(|(table, _)| *table == frame));
        if let Some((_, action)) = action {
            action();
        }
        self.host.frame_ptr(frame)
    }

    fn zero(&self, frame: Frame) {
        self.host.zero(frame);
    }

    fn shootdown(&self, cpus: &CpuSet, space: SpaceId, batch: &Batch<'_>) {
        let late = self.late.lock().unwrap().take();
        if let Some(late) = late {
            late(self);
        }
        let dropped = |page| batch.pages.is_none_or(|shots| shots.iter().any(|s| s.page == page));
        for cpu in cpus.iter() {
            let mut tlb = self.tlbs[cpu].lock().unwrap();
            tlb.retain(|(of, page), _| *of != space || !dropped(*page));
        }
    }

    fn flush_local(&self, space: SpaceId, page: u64) {
        self.tlbs[self.cpu()].lock().unwrap().remove(&(space, page));
    }

    fn park(&self, _: &AtomicU32, _: u32) {
        self.relax();
    }

    fn unpark_all(&self, _: &AtomicU32) {}

    fn relax(&self) {
        WAITING.with_borrow(|waiting| waiting.iter().for_each(|action| action()));
        std::thread::yield_now();
    }
}

/// Runs `body` as `cpu`, with the right to sleep.
pub fn on_cpu<R>(cpu: usize, body: impl FnOnce(&mut MaySleep) -> R) -> R {
    host::be_cpu(cpu);
    // SAFETY: a test's own thread, which holds nothing.
    body(&mut unsafe { MaySleep::assume() })
}
