//! The kernel of the personality: its one lock and what is under it.
//!
//! Guarantee: whatever two threads of the guest, or two harts, could disagree about (who runs, who
//! waits for what, which signals are pending, who is whose parent) changes under one lock, so a
//! wake-up, a kill and a time-out can never miss or overtake each other. Memory is not under it:
//! calls about memory and faults go straight to the library, which has its own locks.
//!
//! A hart is outside while it waits for the lock, so it counts as having answered any shootdown,
//! and the lock may be held while the library waits for one. The library never calls back, so the
//! order is always: the kernel's lock, then the library's.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vmspace::Vm;
use vmspace::format::Format;
use vmspace_machine::{Clock, MachinePlatform, Violation};

use crate::files::cache::PageCache;
use crate::files::locks::Locks;
use crate::files::shown::Shown;
use crate::files::{FileSystem, Root};
use crate::host::Unread;
use crate::pipe::Pipe;
use crate::random::{self, Random};
use crate::replay;
use crate::report::Counts;
use crate::signal::Signal;
use crate::stealer::Stealer;
use crate::swap::Swap;
use crate::task::{Id, Process, Task, Thread};

/// What the harts share.
pub(crate) struct Kernel<'vm, F: Format> {
    pub vm: &'vm Vm<MachinePlatform<F>>,
    state: Mutex<State<'vm, F>>,
    /// Signalled when a task becomes ready and when the run ends.
    ready: Condvar,
    /// The run has ended.
    over: AtomicBool,
    /// The thread that called `run`, to be told so.
    pub owner: std::thread::Thread,
    /// Wakes the thread that polls the host's files.
    pub poller: OwnedFd,
    pub counts: Counts,
    pub trace: Option<crate::Trace>,
    pub files: FileSystem,
    pub stealer: Stealer,
    pub swap: Swap,
    pub unread: Unread,
    pub pages: PageCache<'vm, F>,
    /// The seed that decides the run, if one does.
    pub seed: Option<u64>,
    pub random: Random,
    /// What such a run has been shown of files.
    pub shown: Option<Shown>,
    /// Counts the changes of code that every hart must see.
    pub code: AtomicU64,
    /// The initial process's mappings when it ended, if they are wanted.
    pub last_maps: Mutex<Option<String>>,
    pub wants_maps: bool,
    /// Held by who chooses a process to be killed because memory is over.
    pub choosing: Mutex<()>,
    /// The most threads and unreaped processes together.
    pub limit: usize,
}

/// What is under the lock.
pub(crate) struct State<'vm, F: Format> {
    pub threads: BTreeMap<Id, Thread<'vm, F>>,
    pub processes: BTreeMap<Id, Process>,
    pub ready: VecDeque<Box<Task<'vm, F>>>,
    /// By the machine's clock.
    pub timers: BTreeSet<(Duration, Id)>,
    pub futexes: HashMap<(u64, u64), VecDeque<Id>>,
    pub pipes: HashMap<u64, Pipe>,
    pub locks: Locks,
    pub last_id: Id,
    pub last_pipe: u64,
    pub ended: Option<Ending>,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// The initial process exited with this status.
    Exited(u8),
    /// This signal ended the initial process.
    Killed(Signal),
    /// The time given was over.
    TimedOut,
    /// The user interrupted it.
    Interrupted,
    /// `--check` found a stale translation in use, or break-before-make left out.
    Violation(Box<Violation>),
    /// Every thread waits, and nothing is left that could wake one. Seen only in a run that a
    /// seed decides.
    Deadlock,
    /// A hart's own thread panicked: a bug of the machine.
    Broken,
}

/// Ends the run when a hart's thread panics, or the others would wait for ever.
pub(crate) struct EndOnPanic<'k, 'vm, F: Format>(pub &'k Kernel<'vm, F>);

impl<F: Format> Drop for EndOnPanic<'_, '_, F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(&mut self.0.lock(), Ending::Broken);
        }
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    pub fn new(
        vm: &'vm Vm<MachinePlatform<F>>,
        options: &crate::Options,
        root: Root,
        swap: Swap,
        stealer: Stealer,
        poller: OwnedFd,
    ) -> Self {
        let state = State {
            threads: BTreeMap::new(),
            processes: BTreeMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            futexes: HashMap::new(),
            pipes: HashMap::new(),
            locks: Locks::default(),
            last_id: crate::task::INITIAL,
            last_pipe: 0,
            ended: None,
        };
        Kernel {
            vm,
            state: Mutex::new(state),
            ready: Condvar::new(),
            over: AtomicBool::new(false),
            owner: std::thread::current(),
            poller,
            counts: Counts::default(),
            trace: options.trace,
            files: FileSystem::new(root),
            stealer,
            swap,
            unread: Unread::default(),
            pages: PageCache::default(),
            seed: options.seed,
            shown: options.seed.map(|_| Shown::new()),
            random: match options.seed {
                Some(seed) => Random::Seeded(Mutex::new(random::stream(seed, replay::PROGRAM))),
                None => Random::Host,
            },
            code: AtomicU64::new(0),
            last_maps: Mutex::default(),
            wants_maps: options.maps,
            choosing: Mutex::default(),
            limit: options.processes,
        }
    }

    /// The machine's clock.
    pub fn clock(&self) -> &'vm Clock {
        self.vm.platform().hardware().clock()
    }

    /// Takes the lock. A hart that panicked under it ends the run; the others need not panic too.
    pub fn lock(&self) -> MutexGuard<'_, State<'vm, F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the run has ended.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends the run; the first ending stands.
    pub fn end(&self, state: &mut State<'vm, F>, ending: Ending) {
        state.ended.get_or_insert(ending);
        self.over.store(true, Ordering::Release);
        self.ready.notify_all();
        self.wake_poller();
        self.stealer.wake();
        self.owner.unpark();
        for hart in 0..self.vm.platform().harts() {
            self.vm.platform().kick(hart);
        }
    }

    /// Makes the task ready to run.
    pub fn enqueue(&self, state: &mut State<'vm, F>, task: Box<Task<'vm, F>>) {
        state.ready.push_back(task);
        self.ready.notify_one();
    }

    /// The next task to run, waited for; `None` when the run has ended.
    pub fn next(&self) -> Option<Box<Task<'vm, F>>> {
        let mut state = self.lock();
        loop {
            if state.ended.is_some() {
                return None;
            }
            self.expire(&mut state);
            if let Some(task) = state.ready.pop_front() {
                return Some(task);
            }
            state = match state.timers.first() {
                Some(&(deadline, _)) => {
                    let left = deadline.saturating_sub(self.clock().now());
                    let waited = self.ready.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Tells the polling thread to look again.
    pub fn wake_poller(&self) {
        // An event counter's write fails only when it is full, and then it is set already.
        let _ = rustix::io::write(&self.poller, &1u64.to_ne_bytes());
    }
}

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The flag by which a thread is told to look under the lock.
pub(crate) fn attention() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}

#[cfg(test)]
mod tests;
