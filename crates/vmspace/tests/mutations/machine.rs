//! A machine of a few CPUs whose TLBs forget nothing unless they are told to, leaf tables included,
//! and which stops a CPU where a test wants the others to get between: no test depends on luck or on
//! time.

use crate::host::{self, Files, Host, Kept};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use vmspace::format::{Format, Geometry, Leaf, Sv48};
use vmspace::sync::AtomicU32;
use vmspace::{
    Access, Backend, Batch, CpuSet, Frame, MaySleep, Native, Platform, Space, SpaceId, Translation,
    Vm,
};

const CPUS: usize = 3;
const FRAMES: u64 = 1024;
/// Faults after which an access of user code must have been made.
const PATIENCE: u32 = 10;

type Action = Box<dyn FnOnce()>;

thread_local! {
    /// Done when the thread next looks into that table.
    static AT_TABLE: RefCell<Option<(Frame, Action)>> = const { RefCell::new(None) };
    /// Done whenever the thread waits for a lock.
    static WAITING: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
    /// The frames that the thread has looked into.
    static SEEN: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Every table, and whatever else there is in memory.
pub const ANYWHERE: Frame = Frame(u64::MAX);

/// Runs `action` when this thread next looks into `table`.
pub fn at_table(table: Frame, action: impl FnOnce() + 'static) {
    AT_TABLE.set(Some((table, Box::new(action))));
}

/// Runs `action` whenever this thread waits for a lock.
pub fn when_waiting(action: impl Fn() + 'static) {
    WAITING.set(Some(Box::new(action)));
}

/// What one CPU remembers.
#[derive(Default)]
struct Tlb {
    /// By page.
    pages: HashMap<(SpaceId, u64), Leaf>,
    /// Leaf tables, by what they span.
    tables: HashMap<(SpaceId, u64), Frame>,
}

const fn page_of(at: u64) -> u64 {
    at >> Sv48::PAGE_SHIFT
}

/// What the leaf table over `at` spans.
fn span_of(at: u64) -> u64 {
    page_of(at) / Sv48::table_pages(0)
}

/// What a shootdown does first, while the TLBs still have what it is to drop.
type Late<B> = Box<dyn FnOnce(&Machine<B>) + Send>;

pub struct Machine<B = Native> {
    host: Host<Sv48, B>,
    tlbs: [Mutex<Tlb>; CPUS],
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
        let found = self.cached_page(cpu, space, at)?;
        let offset = (at % Sv48::PAGE_SIZE) as usize;
        let byte = self.host.frame_ptr(found.frame).wrapping_add(offset);
        // SAFETY: a byte of the host's memory, which user code reaches as atomics.
        allows(&found, access).then(|| unsafe { &*byte.cast::<AtomicU8>() })
    }

    /// What the TLB of `cpu` has for the page of `at`.
    pub fn cached_page(&self, cpu: usize, space: SpaceId, at: u64) -> Option<Leaf> {
        self.tlbs[cpu].lock().unwrap().pages.get(&(space, page_of(at))).copied()
    }

    /// What hardware finds for `at` in a leaf table.
    pub fn leaf_in(&self, table: Frame, at: u64) -> Option<Leaf> {
        let word = self.host.frame_ptr(table).cast::<AtomicU64>();
        // SAFETY: an entry of a page of the host's memory, which hardware reaches as an atomic.
        let word = unsafe { &*word.add(Sv48::index(0, page_of(at))) };
        Sv48::as_leaf(0, word.load(Ordering::Acquire))
    }

    /// A walk of hardware, from the leaf table that `cpu` remembers if it does.
    fn walk(space: &Space<'_, Self>, ms: &mut MaySleep, cpu: usize, at: u64) -> Option<Leaf> {
        let machine = space.vm().platform();
        let span = (space.id(), span_of(at));
        let known = machine.tlbs[cpu].lock().unwrap().tables.get(&span).copied();
        let table = match known {
            Some(table) => table,
            None => leaf_table(space, ms, at)?,
        };
        machine.tlbs[cpu].lock().unwrap().tables.insert(span, table);
        machine.leaf_in(table, at)
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
        for _ in 0..PATIENCE {
            if let Some(byte) = machine.cached(cpu, space.id(), at, access) {
                return byte;
            }
            match Self::walk(space, ms, cpu, at) {
                Some(found) if allows(&found, access) => {
                    let key = (space.id(), page_of(at));
                    machine.tlbs[cpu].lock().unwrap().pages.insert(key, found);
                }
                _ => space.fault(ms, at, access).expect("user code touches what it mapped"),
            }
        }
        panic!("CPU {cpu} faults at {at:#x} for ever");
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
fn allows(found: &Leaf, access: Access) -> bool {
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

/// The leaf table that `at` is translated by: the last that a walk looks into. None: there is no page.
pub fn leaf_table<B: Backend>(
    space: &Space<'_, Machine<B>>,
    ms: &mut MaySleep,
    at: u64,
) -> Option<Frame> {
    SEEN.take();
    translation(space, ms, at)?;
    SEEN.take().last().copied()
}

// SAFETY: memory is the host's, which keeps the contract; a shootdown returns when it has removed
// the pages from the TLB of every CPU named.
unsafe impl<B: Backend> Platform for Machine<B> {
    type Format = Sv48;
    type Backend = B;
    type Pager = Files;
    type Swap = Kept;

    fn backend(&self) -> &B {
        self.host.backend()
    }

    fn pager(&self) -> &Files {
        self.host.pager()
    }

    fn swap(&self) -> &Kept {
        self.host.swap()
    }

    fn cpus(&self) -> usize {
        CPUS
    }

    fn cpu(&self) -> usize {
        self.host.cpu()
    }

    fn frame_ptr(&self, frame: Frame) -> *mut u8 {
        SEEN.with_borrow_mut(|seen| seen.push(frame));
        let here = |(table, _): &mut (Frame, Action)| [frame, ANYWHERE].contains(table);
        let action = AT_TABLE.with_borrow_mut(|at| at.take_if(here));
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
            tlb.pages.retain(|(of, page), _| *of != space || !dropped(*page));
            tlb.tables.retain(|(of, _), _| *of != space || !batch.tables);
        }
    }

    fn flush_local(&self, space: SpaceId, page: u64) {
        self.tlbs[self.cpu()].lock().unwrap().pages.remove(&(space, page));
    }

    fn park(&self, _: &AtomicU32, _: u32) {
        self.relax();
    }

    fn unpark_all(&self, _: &AtomicU32) {}

    fn relax(&self) {
        WAITING.with_borrow(|waiting| waiting.iter().for_each(|action| action()));
        std::thread::yield_now();
    }

    fn memory_low(&self) {}
}

/// Runs `body` as `cpu`, with the right to sleep.
pub fn on_cpu<R>(cpu: usize, body: impl FnOnce(&mut MaySleep) -> R) -> R {
    host::be_cpu(cpu);
    // SAFETY: a test's own thread, which holds nothing.
    body(&mut unsafe { MaySleep::assume() })
}
