//! The node lock under loom: exclusion, sleeping and waking, and detached nodes.
//!
//! Guarantee: one holder at a time, who sees what the last one did; nobody sleeps for ever; and
//! whoever installs an entry under a node's lock installs it in a node that is attached, so that
//! whoever detaches the node finds it (R25).
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_lock`
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use vmspace::format::Sv48;
use vmspace::lock::{self, Attempt};
use vmspace::sync::{AtomicU32, Ordering};
use vmspace::{Batch, CpuSet, Frame, Native, NoPager, NoSwap, Platform, SpaceId};

/// A platform of which only the waiting is used: a futex that loses nothing and wakes for nothing.
#[derive(Default)]
struct Futex {
    sleeping: Mutex<()>,
    woken: Condvar,
}

// SAFETY: no manager is made of it, so no frame is asked for, and nothing is translated.
unsafe impl Platform for Futex {
    type Format = Sv48;
    type Backend = Native;
    type Pager = NoPager;
    type Swap = NoSwap;

    fn backend(&self) -> &Native {
        &Native
    }

    fn pager(&self) -> &NoPager {
        &NoPager
    }

    fn swap(&self) -> &NoSwap {
        &NoSwap
    }

    fn cpus(&self) -> usize {
        2
    }

    fn cpu(&self) -> usize {
        0
    }

    fn frame_ptr(&self, _: Frame) -> *mut u8 {
        unreachable!()
    }

    fn zero(&self, _: Frame) {}

    fn shootdown(&self, _: &CpuSet, _: SpaceId, _: &Batch<'_>) {}

    fn flush_local(&self, _: SpaceId, _: u64) {}

    fn park(&self, word: &AtomicU32, value: u32) {
        let guard = self.sleeping.lock().unwrap();
        if word.load(Ordering::Relaxed) == value {
            drop(self.woken.wait(guard).unwrap());
        }
    }

    fn unpark_all(&self, _: &AtomicU32) {
        drop(self.sleeping.lock().unwrap());
        self.woken.notify_all();
    }

    fn relax(&self) {
        thread::yield_now();
    }

    fn memory_low(&self) {}
}

/// A parent, and a child that it has; each word of the tables is touched under the lock alone.
#[derive(Default)]
struct Tree {
    platform: Futex,
    parent: AtomicU32,
    child: AtomicU32,
    /// Whether the parent's slot names the child.
    attached: AtomicU32,
    /// What stands in the parent's slot, and in the child's.
    entries: [UnsafeCell<u32>; 2],
}

// SAFETY: the cells are what loom checks; everything else is Sync.
unsafe impl Send for Tree {}
// SAFETY: as above.
unsafe impl Sync for Tree {}

const PARENT: usize = 0;
const CHILD: usize = 1;

impl Tree {
    fn new() -> Arc<Tree> {
        let tree = Tree::default();
        tree.attached.store(1, Ordering::Relaxed);
        Arc::new(tree)
    }

    fn word(&self, node: usize) -> &AtomicU32 {
        if node == PARENT { &self.parent } else { &self.child }
    }

    /// The node that covers the page: found without locks.
    fn covering(&self) -> usize {
        if self.attached.load(Ordering::Acquire) == 1 { CHILD } else { PARENT }
    }

    /// Takes the lock of the node that covers the page, as a fault does: what is not stale is
    /// attached, and lowest if it has got no child.
    fn lock(&self) -> usize {
        loop {
            let node = self.covering();
            match lock::try_acquire(self.word(node)) {
                Attempt::Acquired if node == CHILD || self.covering() == PARENT => return node,
                Attempt::Acquired => self.unlock(node),
                Attempt::Stale => thread::yield_now(),
                Attempt::Held => lock::wait(&self.platform, self.word(node)),
            }
        }
    }

    fn unlock(&self, node: usize) {
        lock::release(&self.platform, self.word(node));
    }

    fn entry(&self, node: usize, change: impl FnOnce(u32) -> u32) {
        // SAFETY: the caller holds the node's lock; if the lock is wrong, loom says so.
        self.entries[node].with_mut(|entry| unsafe { *entry = change(*entry) });
    }

    /// A fault: one more entry under the lowest node.
    fn install(&self) {
        let node = self.lock();
        self.entry(node, |entries| entries + 1);
        self.unlock(node);
    }

    /// Hands the child's entries back to the parent, from above.
    fn detach(&self) {
        while lock::try_acquire(&self.parent) != Attempt::Acquired {
            lock::wait(&self.platform, &self.parent);
        }
        lock::acquire_attached(&self.platform, &self.child);
        let mut found = 0;
        self.entry(CHILD, |entries| {
            found = entries;
            entries
        });
        self.entry(PARENT, |entries| entries + found);
        self.attached.store(0, Ordering::Release);
        lock::mark_stale(&self.child);
        self.unlock(CHILD);
        self.unlock(PARENT);
    }

    /// What is reachable in the end.
    fn reachable(&self) -> u32 {
        // SAFETY: all threads have been joined.
        self.entries[self.covering()].with(|entry| unsafe { *entry })
    }
}

/// Runs the threads, then looks how many entries are reachable.
fn explore(preemptions: usize, threads: &'static [fn(&Tree)], reachable: u32) {
    let mut model = Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let tree = Tree::new();
        let others: Vec<_> = threads[1..]
            .iter()
            .map(|run| {
                let tree = Arc::clone(&tree);
                thread::spawn(move || run(&tree))
            })
            .collect();
        threads[0](&tree);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(tree.reachable(), reachable, "an entry was lost");
    });
}

#[test]
fn two_hold_one_lock() {
    explore(4, &[Tree::install, Tree::install], 2);
}

#[test]
fn a_sleeper_is_not_woken() {
    explore(1, &[Tree::install, Tree::install, Tree::install], 3);
}

#[test]
fn an_entry_is_installed_in_a_detached_table() {
    explore(4, &[Tree::install, Tree::detach], 1);
}

#[test]
fn a_waiter_for_a_detached_table_installs_in_it_or_sleeps_for_ever() {
    explore(1, &[Tree::detach, Tree::install, Tree::install], 2);
}
