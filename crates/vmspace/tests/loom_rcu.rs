//! Grace periods under loom: every interleaving, and every value that weak memory allows.
//!
//! Guarantee: no reader is inside what it found when that is freed, whenever it entered, on
//! whatever CPU, and whoever moves the epoch on; and the freeing comes after its last read in the
//! order that memory knows. Loom reports the one and the other as a conflict on the cell.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_rcu`
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use vmspace::rcu::{Epoch, Readers};
use vmspace::sync::{AtomicU32, Ordering};

/// How many epochs a retirement waits for, and so how many scans free it when no reader is there.
const SCANS: usize = 3;

/// A table, the link that readers find it by, and the readers of two CPUs.
struct Memory {
    epoch: Epoch,
    readers: [Readers; 2],
    linked: AtomicU32,
    table: UnsafeCell<bool>,
}

// SAFETY: the cell is what loom checks; everything else is atomic.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn new() -> Arc<Memory> {
        Arc::new(Memory {
            epoch: Epoch::default(),
            readers: Default::default(),
            linked: AtomicU32::new(1),
            table: UnsafeCell::new(true),
        })
    }

    /// A walk on `cpu`.
    fn walk(&self, cpu: usize) {
        let ticket = self.epoch.enter(&self.readers[cpu]);
        self.look();
        self.readers[cpu].exit(ticket);
    }

    fn look(&self) {
        if self.linked.load(Ordering::Relaxed) == 1 {
            // SAFETY: a read; loom reports a write at the same time.
            self.table.with(|alive| assert!(unsafe { *alive }, "a freed table was walked"));
        }
    }

    fn unlink(&self) -> u64 {
        self.linked.store(0, Ordering::Relaxed);
        self.epoch.stamp()
    }

    fn scan(&self) -> bool {
        self.epoch.try_advance(self.readers.iter())
    }

    fn free_if_past(&self, stamp: u64) {
        if self.epoch.is_past(stamp) {
            // SAFETY: nobody reads any more, if the epoch is right; if not, loom says so.
            self.table.with_mut(|alive| unsafe { *alive = false });
        }
    }

    fn retire(&self) {
        let stamp = self.unlink();
        for _ in 0..SCANS {
            self.scan();
        }
        self.free_if_past(stamp);
    }
}

fn explore(preemptions: usize, threads: fn(&Arc<Memory>)) {
    let mut model = Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || threads(&Memory::new()));
}

fn spawn(memory: &Arc<Memory>, run: fn(&Memory)) -> thread::JoinHandle<()> {
    let memory = Arc::clone(memory);
    thread::spawn(move || run(&memory))
}

#[test]
fn a_table_is_freed_under_a_reader() {
    explore(6, |memory| {
        let reader = spawn(memory, |memory| memory.walk(1));
        memory.retire();
        reader.join().unwrap();
    });
}

#[test]
fn a_table_is_freed_under_a_reader_who_entered_as_the_epoch_moved() {
    // The epoch has moved before: the reader may count itself in under a parity that is over.
    explore(6, |memory| {
        let reader = spawn(memory, |memory| memory.walk(1));
        memory.scan();
        memory.retire();
        reader.join().unwrap();
    });
}

#[test]
fn a_table_is_freed_under_a_reader_whose_section_follows_another() {
    explore(5, |memory| {
        let reader = spawn(memory, |memory| {
            memory.walk(1);
            memory.walk(1);
        });
        memory.retire();
        reader.join().unwrap();
    });
}

#[test]
fn a_table_is_freed_under_a_reader_who_has_moved_to_another_cpu() {
    explore(5, |memory| {
        let reader = spawn(memory, |memory| {
            let ticket = memory.epoch.enter(&memory.readers[0]);
            memory.look();
            // On CPU 1 now: a section inside it comes and goes there.
            memory.walk(1);
            memory.look();
            memory.readers[0].exit(ticket);
        });
        memory.retire();
        reader.join().unwrap();
    });
}

#[test]
fn a_table_is_freed_by_epochs_that_another_cpu_moved() {
    // One retires, another moves the epoch on with what it knows: the stamp has to be late enough.
    explore(3, |memory| {
        let reader = spawn(memory, |memory| memory.walk(1));
        let scanner = spawn(memory, |memory| {
            (0..SCANS).for_each(|_| _ = memory.scan());
        });
        let stamp = memory.unlink();
        memory.scan();
        memory.free_if_past(stamp);
        scanner.join().unwrap();
        memory.free_if_past(stamp);
        reader.join().unwrap();
    });
}

#[test]
fn without_readers_three_scans_free() {
    // Against a test that never frees anything.
    explore(1, |memory| {
        let stamp = memory.unlink();
        assert!(!memory.epoch.is_past(stamp));
        assert!((0..SCANS).all(|_| memory.scan()));
        assert!(memory.epoch.is_past(stamp));
    });
}
