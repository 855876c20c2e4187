//! The machine as the library sees it: a [`Platform`].
//!
//! Guarantee: what the library asks of a platform is kept by the rooms below: frames are
//! [`Memory`]'s, shootdowns are [`Shootdowns`]', sleeping is [`Parking`]'s. The library runs on
//! harts that are outside, and on other threads of the host, which cache nothing; so `relax` and
//! `park` have no shootdown to serve.
//!
//! A thread's CPU number is kept with the thread: a hart's own number, a number given by
//! [`MachinePlatform::bind_other`], or one that is drawn when it first asks.

use crate::clock::Clock;
use crate::config::{Config, MachineError};
use crate::memory::Memory;
use crate::mmu::Manager;
use crate::parking::Parking;
use crate::shootdown::Shootdowns;
use crate::statistics::{Published, Statistics};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use vmspace::format::{Format, Geometry};
use vmspace::sync::AtomicU32;
use vmspace::{
    Backend, Batch, CpuSet, Frame, Native, NoPager, NoSwap, Pager, Platform, SpaceId, SwapDevices,
    Vm,
};

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(usize::MAX) };
    static SPINS: Cell<u32> = const { Cell::new(0) };
}

/// The next number for a thread that nobody has bound.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The turns of a busy wait between two offers of the processor to other threads.
const SPINS_A_YIELD: u32 = 32;

/// Ticks of the machine's clock in a second.
pub const TIMEBASE: u64 = 10_000_000;

/// The calling thread is CPU `cpu`.
pub(crate) fn bind_cpu(cpu: usize) {
    CPU.set(cpu);
}

/// The parts that do not depend on the format.
#[derive(Debug)]
pub struct Hardware {
    config: Config,
    memory: Memory,
    shootdowns: Shootdowns,
    parking: Parking,
    published: Box<[Published]>,
    clock: Clock,
}

impl Hardware {
    /// `break_before_make`: the format demands it.
    fn new(config: Config, break_before_make: bool) -> Result<Hardware, MachineError> {
        let (harts, ledger) = (config.harts, config.check && break_before_make);
        Ok(Hardware {
            memory: Memory::new(config.memory)?,
            shootdowns: Shootdowns::new(harts, config.ids, harts + config.other_cpus, ledger),
            parking: Parking::new(),
            published: (0..config.harts).map(|_| Published::default()).collect(),
            clock: Clock::new(),
            config,
        })
    }

    /// What it is made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Its harts' mailboxes.
    pub fn shootdowns(&self) -> &Shootdowns {
        &self.shootdowns
    }

    /// Where hart `hart` publishes what it has counted.
    pub fn published(&self, hart: usize) -> &Published {
        &self.published[hart]
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The clock in ticks, [`TIMEBASE`] a second.
    pub fn time(&self) -> u64 {
        (self.clock.now().as_nanos() / (1_000_000_000 / u128::from(TIMEBASE))) as u64
    }

    fn cpus(&self) -> usize {
        self.config.harts + self.config.other_cpus
    }

    fn cpu(&self) -> usize {
        let cpu = CPU.get();
        if cpu < self.cpus() { cpu } else { self.draw_cpu() }
    }

    /// A number for a thread that has none here: one of those that are no harts', if there are.
    #[cold]
    fn draw_cpu(&self) -> usize {
        let (harts, others) = (self.config.harts, self.config.other_cpus);
        let drawn = NEXT.fetch_add(1, Ordering::Relaxed);
        let cpu = if others > 0 { harts + drawn % others } else { drawn % harts };
        CPU.set(cpu);
        cpu
    }
}

/// A machine over page tables of format `F`, changed through `B`.
pub struct MachinePlatform<F: Format, B: Backend = Native> {
    hardware: Hardware,
    backend: B,
    pager: Box<dyn Pager + Send + Sync>,
    swap: Box<dyn SwapDevices + Send + Sync>,
    low: Box<dyn Fn() + Send + Sync>,
    format: PhantomData<F>,
}

impl<F: Format, B: Backend> fmt::Debug for MachinePlatform<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MachinePlatform").field(&self.hardware).finish()
    }
}

impl<F: Format, B: Backend> MachinePlatform<F, B> {
    /// Builds the machine.
    ///
    /// # Errors
    /// What of the configuration cannot be, or what the host refuses.
    pub fn new(config: Config) -> Result<Self, MachineError>
    where
        B: Default,
    {
        Self::with_backend(config, B::default())
    }

    /// Builds the machine with a backend that was made before.
    ///
    /// # Errors
    /// As [`MachinePlatform::new`].
    pub fn with_backend(config: Config, backend: B) -> Result<Self, MachineError> {
        config.validate::<F>()?;
        let hardware = Hardware::new(config, F::BREAK_BEFORE_MAKE)?;
        Ok(MachinePlatform {
            hardware,
            backend,
            pager: Box::new(NoPager),
            swap: Box::new(NoSwap),
            low: Box::new(|| {}),
            format: PhantomData,
        })
    }

    /// The same machine with a pager for objects that are not memory.
    pub fn with_pager(self, pager: Box<dyn Pager + Send + Sync>) -> Self {
        MachinePlatform { pager, ..self }
    }

    /// The same machine with swap devices.
    pub fn with_swap(self, swap: Box<dyn SwapDevices + Send + Sync>) -> Self {
        MachinePlatform { swap, ..self }
    }

    /// The same machine, and what is called when memory is short: any thread, any lock.
    pub fn with_low_memory(self, low: Box<dyn Fn() + Send + Sync>) -> Self {
        MachinePlatform { low, ..self }
    }

    /// The parts that do not depend on the format.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Its frames, for [`Vm::new`].
    pub fn frames(&self) -> Range<u64> {
        self.hardware.memory.frames::<F>()
    }

    /// How many harts there are: CPUs `0..harts()`.
    pub fn harts(&self) -> usize {
        self.hardware.config.harts
    }

    /// Asks a hart to come out: its `run` ends with `Exit::Pending` soon, or at once when it is
    /// next called. Any thread. A hart that there is not is not asked.
    pub fn kick(&self, hart: usize) {
        if hart < self.harts() {
            self.hardware.shootdowns.port(hart).kick();
        }
    }

    /// Makes every hart forget a space. To be called before a space that harts have loaded ends
    /// (by `exit` or by being dropped), when nobody will load it any more: afterwards no hart
    /// names it to the library, which wants a living space in [`Vm::leave`]. From outside.
    pub fn forget_space(&self, space: SpaceId) {
        self.hardware.shootdowns.forget_space(space, || self.relax());
    }

    /// The calling thread, which is no hart, takes the `n`th of the other CPU numbers.
    pub fn bind_other(&self, n: usize) {
        let others = self.hardware.config.other_cpus;
        if others > 0 {
            bind_cpu(self.harts() + n % others);
        }
    }

    /// What has been counted: a hart's counts as of when it last came out.
    pub fn statistics(&self) -> Statistics {
        Statistics::sum(&self.hardware.published, self.hardware.shootdowns.counts())
    }
}

// SAFETY: `frame_ptr` gives contiguous, page-aligned memory that the platform owns until it is
// dropped, and that the machine itself reaches only as its hardware does: walkers through atomics,
// programs through translations. `shootdown` returns when each hart named has dropped the
// translations or is outside, where it drops them before it translates again; other CPUs cache
// nothing.
unsafe impl<F: Format, B: Backend> Platform for MachinePlatform<F, B> {
    type Format = F;
    type Backend = B;
    type Pager = dyn Pager + Send + Sync;
    type Swap = dyn SwapDevices + Send + Sync;

    #[inline(always)]
    fn backend(&self) -> &B {
        &self.backend
    }

    fn pager(&self) -> &Self::Pager {
        &*self.pager
    }

    fn swap(&self) -> &Self::Swap {
        &*self.swap
    }

    fn cpus(&self) -> usize {
        self.hardware.cpus()
    }

    #[inline]
    fn cpu(&self) -> usize {
        self.hardware.cpu()
    }

    #[inline(always)]
    fn frame_ptr(&self, frame: Frame) -> *mut u8 {
        self.hardware.memory.frame_ptr::<F>(frame)
    }

    fn zero(&self, frame: Frame) {
        // SAFETY: the library passes a frame of this memory that nobody else can reach.
        unsafe { self.frame_ptr(frame).write_bytes(0, F::PAGE_SIZE as usize) }
    }

    fn shootdown(&self, cpus: &CpuSet, space: SpaceId, batch: &Batch<'_>) {
        self.hardware.shootdowns.shoot(self.cpu(), cpus, space, batch, || self.relax());
    }

    fn flush_local(&self, space: SpaceId, page: u64) {
        self.hardware.shootdowns.forget_page(self.cpu(), space, page);
    }

    fn park(&self, word: &AtomicU32, value: u32) {
        self.hardware.parking.park(word, value);
    }

    fn unpark_all(&self, word: &AtomicU32) {
        self.hardware.parking.unpark_all(word);
    }

    fn relax(&self) {
        let spins = SPINS.get().wrapping_add(1);
        SPINS.set(spins);
        if spins.is_multiple_of(SPINS_A_YIELD) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }

    fn memory_low(&self) {
        (self.low)();
    }
}

impl<F: Format, B: Backend> Manager for Vm<MachinePlatform<F, B>> {
    type Format = F;

    #[inline(always)]
    fn hardware(&self) -> &Hardware {
        self.platform().hardware()
    }

    fn leave(&self, space: SpaceId, hart: usize) {
        Vm::leave(self, space, hart);
    }

    fn generation(&self, frame: Frame) -> Option<u64> {
        Vm::generation(self, frame)
    }

    fn is_unsettled(&self, table: Frame) -> bool {
        Vm::is_unsettled(self, table)
    }
}
