//! References to pages under loom: taken through an entry, without locks.
//!
//! Guarantee: who got a reference and saw the entry again holds the page that the entry named, and
//! nobody frees it, or takes it for his own, under him (R24); who got one of a frame in a later
//! life, or of none, gives it back and has disturbed nothing.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_pages`
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use vmspace::frame::references::References;
use vmspace::sync::{AtomicU32, Ordering, fence};

/// An entry that names a page (1) or not (0), and the page: references and contents.
struct Memory {
    entry: AtomicU32,
    references: References,
    contents: UnsafeCell<u32>,
    /// The allocator has the frame.
    free: AtomicU32,
}

// SAFETY: the cell is what loom checks; everything else is atomic.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// The entry's reference is the page's only one.
    fn new() -> Arc<Memory> {
        let references = References::default();
        references.begin();
        let (entry, free) = (AtomicU32::new(1), AtomicU32::new(0));
        Arc::new(Memory { entry, references, contents: UnsafeCell::new(0), free })
    }

    /// get_user_pages: reads the page that the entry names, held by a reference alone.
    fn read(&self) {
        if self.entry.load(Ordering::Relaxed) != 1 || !self.references.try_get() {
            return;
        }
        fence(Ordering::SeqCst);
        if self.entry.load(Ordering::Relaxed) == 1 {
            // SAFETY: a read; loom reports a write at the same time.
            self.contents.with(|page| assert_eq!(unsafe { *page }, 0, "not the page looked for"));
        }
        self.put();
    }

    fn put(&self) {
        if self.references.put() {
            self.write(1);
            self.free.store(1, Ordering::Release);
        }
    }

    fn write(&self, contents: u32) {
        // SAFETY: the page is the caller's alone; if not, loom says so.
        self.contents.with_mut(|page| unsafe { *page = contents });
    }

    /// Unmaps the page: the entry's reference goes.
    fn unmap(&self) {
        self.entry.swap(0, Ordering::AcqRel);
        self.put();
    }

    /// The frame has become free: whoever gets it next makes it another page.
    fn reuse(&self) {
        self.unmap();
        if self.free.load(Ordering::Acquire) == 1 {
            self.write(2);
            self.references.begin();
            self.put();
        }
    }

    /// Takes the page away from the entry, and for his own if nobody else holds it.
    fn steal(&self) {
        self.entry.swap(0, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if self.references.count() == 1 {
            self.write(3);
        }
    }
}

fn explore(other: fn(&Memory), left: u32) {
    loom::model(move || {
        let memory = Memory::new();
        let reader = Arc::clone(&memory);
        let reader = thread::spawn(move || reader.read());
        other(&memory);
        reader.join().unwrap();
        assert_eq!(memory.references.count(), left, "references were lost or left");
    });
}

#[test]
fn a_page_is_freed_under_who_reads_it() {
    explore(Memory::unmap, 0);
}

#[test]
fn a_reader_disturbs_the_next_life_of_a_frame() {
    explore(Memory::reuse, 0);
}

#[test]
fn a_page_is_taken_for_ones_own_though_it_is_read() {
    explore(Memory::steal, 1);
}

/// A page that a fork shared, in a table with a lock.
struct Shared {
    lock: AtomicU32,
    memory: Arc<Memory>,
}

impl Shared {
    /// A copy-on-write break that copies: without the lock until it installs (`fault.rs`).
    fn copy(&self) {
        let page = &self.memory;
        if !page.references.try_get() {
            return;
        }
        fence(Ordering::SeqCst);
        let unsettled = self.lock.load(Ordering::Relaxed) != 0;
        fence(Ordering::Acquire);
        if !unsettled && page.entry.load(Ordering::Relaxed) == 1 {
            // SAFETY: a read; loom reports a write at the same time.
            page.contents.with(|page| assert_eq!(unsafe { *page }, 0));
        }
        page.put();
    }

    /// One that finds the page its own: under the lock, and then the thread writes it.
    fn reuse(&self) {
        self.lock.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let own = self.memory.references.count() == 1;
        if own {
            // Writable: another word.
            self.memory.entry.store(2, Ordering::Relaxed);
        }
        self.lock.store(0, Ordering::Release);
        if own {
            self.memory.write(4);
        }
    }
}

#[test]
fn a_page_is_written_by_its_owner_while_another_copies_it() {
    loom::model(|| {
        let shared = Arc::new(Shared { lock: AtomicU32::new(0), memory: Memory::new() });
        let other = Arc::clone(&shared);
        let copier = thread::spawn(move || other.copy());
        shared.reuse();
        copier.join().unwrap();
    });
}

/// A page of an object: a slot that names it or not, and its references, of which the slot's is one.
struct Cached {
    slot: AtomicU32,
    memory: Memory,
}

const FULL: u32 = 1;
const CLAIMED: u32 = 2;

impl Cached {
    fn new() -> Arc<Cached> {
        let (references, entry) = (References::default(), AtomicU32::new(0));
        references.begin();
        let (contents, free) = (UnsafeCell::new(0), AtomicU32::new(0));
        let memory = Memory { entry, references, contents, free };
        Arc::new(Cached { slot: AtomicU32::new(FULL), memory })
    }

    /// Looks the page up (`object/pages.rs: find`) and reads it.
    fn find_and_read(&self) {
        let word = self.slot.load(Ordering::Acquire);
        if word != FULL || !self.memory.references.try_get() {
            return;
        }
        if self.slot.load(Ordering::Relaxed) == word {
            // SAFETY: a read; loom reports a write at the same time.
            self.memory.contents.with(|page| assert_eq!(unsafe { *page }, 0, "another page"));
        }
        self.memory.put();
    }

    /// Takes the page out of its slot if `decide` agrees (`object/pages.rs: take_out`).
    fn take_out(&self, decide: impl FnOnce() -> bool) -> bool {
        let word = FULL | CLAIMED;
        let claim = self.slot.compare_exchange(FULL, word, Ordering::Acquire, Ordering::Relaxed);
        if claim.is_err() {
            return false;
        }
        let goes = decide();
        self.slot.store(if goes { 0 } else { FULL }, Ordering::Release);
        goes
    }

    /// Gives the page up (`object/evict.rs`); its frame becomes another page at once.
    fn evict(&self) {
        let references = &self.memory.references;
        if !references.try_get() {
            return;
        }
        if self.take_out(|| references.freeze(2)) {
            self.memory.write(2);
            references.begin();
        }
        self.memory.put();
    }

    /// Cuts the page off (`object/truncate.rs`), with the same consequence.
    fn truncate(&self) {
        if !self.memory.references.try_get() {
            return;
        }
        if self.take_out(|| true) {
            self.memory.put();
        }
        self.memory.put();
    }
}

fn explore_cached(other: fn(&Cached)) {
    loom::model(move || {
        let cached = Cached::new();
        let reader = Arc::clone(&cached);
        let reader = thread::spawn(move || reader.find_and_read());
        other(&cached);
        reader.join().unwrap();
        let there = cached.slot.load(Ordering::Relaxed) == FULL;
        let left = cached.memory.references.count();
        assert_eq!(left, u32::from(there), "references were lost or left");
    });
}

#[test]
fn a_page_is_given_up_under_who_has_looked_it_up() {
    explore_cached(Cached::evict);
}

#[test]
fn a_page_is_cut_off_under_who_has_looked_it_up() {
    explore_cached(Cached::truncate);
}

#[test]
fn a_page_is_given_up_and_cut_off_at_once() {
    loom::model(|| {
        let cached = Cached::new();
        let other = Arc::clone(&cached);
        let other = thread::spawn(move || other.evict());
        cached.truncate();
        other.join().unwrap();
        let there = cached.slot.load(Ordering::Relaxed) == FULL;
        assert_eq!(cached.memory.references.count(), u32::from(there));
    });
}
