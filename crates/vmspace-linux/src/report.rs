//! What is counted, and the report at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use syscalls::riscv64::Sysno;
use vmspace::Vm;
use vmspace::format::{Format, Geometry};
use vmspace_machine::MachinePlatform;

use crate::Errno;
use crate::calls::{Outcome, Stop};
use crate::kernel::{Counter, Kernel};
use crate::swap::SwapReport;

/// Numbers up to here have a counter each; Linux has none above.
const NUMBERS: usize = 512;

/// What the personality counts.
pub(crate) struct Counts {
    calls: [AtomicU64; NUMBERS],
    missing: [AtomicU64; NUMBERS],
    /// Calls with numbers that Linux does not have.
    unknown: Counter,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// Threads started.
    pub tasks: Counter,
    /// What each hart adds when it stops.
    pub instructions: Counter,
    /// Processes killed because no memory was left.
    pub out_of_memory: Counter,
    peak: AtomicU64,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            calls: [const { AtomicU64::new(0) }; NUMBERS],
            missing: [const { AtomicU64::new(0) }; NUMBERS],
            unknown: Counter::default(),
            refused: Mutex::default(),
            tasks: Counter::default(),
            instructions: Counter::default(),
            out_of_memory: Counter::default(),
            peak: AtomicU64::new(0),
        }
    }
}

impl Counts {
    /// Counts a call. One that waited is counted when it is made again and ends.
    pub fn call(&self, call: Option<Sysno>, outcome: Outcome) {
        let Some(call) = call else { return self.unknown.add(1) };
        let index = call.id().unsigned_abs() as usize % NUMBERS;
        if outcome == Err(Stop::Errno(Errno::ENOSYS)) {
            self.missing[index].fetch_add(1, Ordering::Relaxed);
        }
        self.calls[index].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a use of a call that is there, but not for this.
    pub fn refuse(&self, what: &'static str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(what).or_default() += 1;
    }

    /// Looks how much memory is in use.
    pub fn sample<F: Format>(&self, vm: &Vm<MachinePlatform<F>>) {
        let used = vm.total_frames().saturating_sub(vm.free_frames());
        if used > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
    }

    fn named(&self, counts: &[AtomicU64; NUMBERS]) -> Vec<(&'static str, u64)> {
        let count = |call: Sysno| {
            let index = call.id().unsigned_abs() as usize % NUMBERS;
            (call.name(), counts[index].load(Ordering::Relaxed))
        };
        let mut named: Vec<_> = Sysno::iter().map(count).filter(|(_, n)| *n > 0).collect();
        named.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
        named
    }
}

/// All page faults.
pub(crate) fn faults(memory: &vmspace::Statistics) -> u64 {
    memory.faults_anonymous
        + memory.faults_zero
        + memory.faults_cow_copy
        + memory.faults_cow_reuse
        + memory.faults_shared
        + memory.faults_swapped
        + memory.faults_spurious
        + memory.faults_stack
        + memory.faults_refused
}

/// How memory is used at a moment.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes of pages on swap.
    pub swapped: u64,
    /// Page faults since the start.
    pub faults: u64,
    /// Pages stolen since the start.
    pub stolen: u64,
}

impl Sample {
    /// Looks. Any thread.
    pub fn take<F: Format>(vm: &Vm<MachinePlatform<F>>) -> Sample {
        let (memory, free) = (vm.statistics(), vm.free_frames());
        let swapped: u64 = vm.swaps().map(|swap| swap.used).sum();
        Sample {
            used: vm.total_frames().saturating_sub(free) << F::PAGE_SHIFT,
            free: free << F::PAGE_SHIFT,
            swapped: swapped << F::PAGE_SHIFT,
            faults: faults(&memory),
            stolen: memory.pages_stolen,
        }
    }
}

/// What a run did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// From the start to the end.
    pub time: Duration,
    /// Instructions executed.
    pub instructions: u64,
    /// Threads that ran, the first included.
    pub threads: u64,
    /// System calls by name, the most frequent first.
    pub calls: Vec<(&'static str, u64)>,
    /// Those of them that are not there (ENOSYS), by name.
    pub missing: Vec<(&'static str, u64)>,
    /// Calls with numbers that Linux does not have.
    pub unknown: u64,
    /// Uses that calls were refused for, in words.
    pub refused: Vec<(&'static str, u64)>,
    /// Processes killed because no memory was left.
    pub out_of_memory: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Frames in use at the most, as far as was looked.
    pub peak_frames: u64,
    /// Frames that there are.
    pub total_frames: u64,
    /// The initial process's mappings at its end, as /proc/PID/maps has them, if they were wanted.
    pub maps: Option<String>,
    /// The swap devices, in the order in which they were given.
    pub swap: Vec<SwapReport>,
    /// What the library counted.
    pub memory: vmspace::Statistics,
    /// What the machine counted.
    pub machine: vmspace_machine::Statistics,
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// Everything that was counted up to now.
    pub fn report(&self, time: Duration) -> Report {
        let counts = &self.counts;
        let refused = counts.refused.lock().unwrap_or_else(PoisonError::into_inner);
        Report {
            time,
            instructions: counts.instructions.get(),
            threads: counts.tasks.get(),
            calls: counts.named(&counts.calls),
            missing: counts.named(&counts.missing),
            unknown: counts.unknown.get(),
            refused: refused.iter().map(|(what, n)| (*what, *n)).collect(),
            out_of_memory: counts.out_of_memory.get(),
            page_size: F::PAGE_SIZE,
            peak_frames: counts.peak.load(Ordering::Relaxed),
            total_frames: self.vm.total_frames(),
            maps: self.last_maps.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            swap: self.swap.report(),
            memory: self.vm.statistics(),
            machine: self.vm.platform().statistics(),
        }
    }
}
