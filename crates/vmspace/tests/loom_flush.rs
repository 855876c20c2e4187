//! Who may hold a translation, under loom: loading a root against a shootdown.
//!
//! Guarantee: whoever changed an entry and then looks who must be interrupted finds every CPU that
//! walked to the old entry (scenario 8); and a CPU that he does not find any more has done with the
//! page, in the order that memory knows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_flush`
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use vmspace::flush::ActiveSet;
use vmspace::sync::{AtomicU32, Ordering};

/// The CPU that runs in the space: of the second word, whose bits begin at 64.
const CPU: usize = 70;

/// A space with one entry, and the page that it names.
#[derive(Default)]
struct Space {
    active: ActiveSet,
    entry: AtomicU32,
    page: UnsafeCell<u32>,
}

// SAFETY: the cell is what loom checks; everything else is atomic.
unsafe impl Send for Space {}
// SAFETY: as above.
unsafe impl Sync for Space {}

impl Space {
    /// Loads the root, runs with what the TLB holds, drops it, and loads another.
    fn run(&self) {
        self.active.enter(CPU);
        if self.entry.load(Ordering::Relaxed) == 1 {
            // SAFETY: a read; loom reports a write at the same time.
            self.page.with(|page| assert_eq!(unsafe { *page }, 0, "a freed page was used"));
        }
        self.active.leave(CPU);
    }

    /// Unmaps the page. Where no CPU has to be interrupted, it is free.
    fn unmap(&self) {
        self.entry.store(0, Ordering::Relaxed);
        if !self.active.snapshot().contains(CPU) {
            // SAFETY: no CPU reaches the page, if the set is right; if not, loom says so.
            self.page.with_mut(|page| unsafe { *page = 1 });
        }
    }
}

fn explore(run: fn(&Space)) {
    loom::model(move || {
        let space = Space::default();
        space.entry.store(1, Ordering::Relaxed);
        let space = Arc::new(space);
        let other = Arc::clone(&space);
        let cpu = thread::spawn(move || run(&other));
        space.unmap();
        cpu.join().unwrap();
    });
}

#[test]
fn a_cpu_that_walks_is_not_interrupted() {
    explore(Space::run);
}

#[test]
fn a_cpu_that_comes_back_is_not_interrupted() {
    explore(|space| {
        space.run();
        space.run();
    });
}

#[test]
fn a_cpu_that_loads_the_root_again_is_not_interrupted() {
    // In the set already: the bit is not written again.
    explore(|space| {
        space.active.enter(CPU);
        space.run();
    });
}
