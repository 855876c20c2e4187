//! Entries under loom: hardware, the stealer and the library write one word.
//!
//! Guarantee: a store that hardware made leaves its mark: in the entry, or in the word that came
//! back from whoever took the entry out (R13). What the library put into an entry that is absent is
//! not touched by a stealer who still believed it present (scenario 6).
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_entry`
#![cfg(loom)]

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use vmspace::entry;
use vmspace::format::{
    Aarch64Granule64K, Entry, Format, I386, I386PaeSplit, Leaf, Rights, Soft, Sv32, Sv48, X86_64,
};
use vmspace::sync::Ordering;
use vmspace::{Backend, Cell, Frame, Native, Slot};

const RW: Rights = Rights::USER.union(Rights::READ).union(Rights::WRITE);
const READ: Rights = Rights::USER.union(Rights::READ);

/// A page's entry, present, writable, accessed and clean.
struct Word<F: Format>(F::Cell);

impl<F: Format> Word<F> {
    fn new() -> Arc<Self> {
        let leaf = Leaf { frame: Frame(5), rights: RW, accessed: true, dirty: false };
        Arc::new(Word(F::Cell::new(F::leaf(0, leaf))))
    }

    fn slot(&self) -> Slot<'_, F::Cell> {
        Slot { cell: &self.0, table: Frame(1), index: 0, level: 0 }
    }

    fn leaf(word: u64) -> Option<Leaf> {
        match F::decode(0, word) {
            Entry::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    /// A store by hardware: dirty is set, in one step with the look at the right, or it faults.
    fn store(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while Self::leaf(word).is_some_and(|leaf| leaf.rights.contains(Rights::WRITE)) {
            let dirty = F::touched(0, word, true);
            match self.0.compare_exchange(word, dirty) {
                Ok(()) => return true,
                Err(found) => word = found,
            }
        }
        false
    }

    /// Ageing by the stealer, who looks without the lock.
    fn age(&self) {
        if Self::leaf(self.0.load(Ordering::Relaxed)).is_some() {
            Native.clear_accessed(self.slot(), F::ACCESSED);
        }
    }

    fn protect(&self, rights: Rights) {
        entry::change_rights::<F, _>(&Native, self.slot(), |_| rights);
    }

    fn take_out(&self, soft: Soft) -> u64 {
        Native.swap(self.slot(), F::soft(soft))
    }
}

/// Runs a store of hardware, ageing, and `library` at once; `check` gets the entry in the end, what
/// `library` answered, and whether the store was made.
fn explore<F: Format>(library: fn(&Word<F>) -> u64, check: fn(u64, u64, bool)) {
    let mut model = Builder::new();
    // A cell of two words takes more steps than can all be tried in every order.
    model.preemption_bound = (F::Cell::WORDS > 1).then_some(3);
    model.check(move || {
        let entry = Word::<F>::new();
        let (hardware, stealer) = (Arc::clone(&entry), Arc::clone(&entry));
        let hardware = thread::spawn(move || hardware.store());
        let stealer = thread::spawn(move || stealer.age());
        let answer = library(&entry);
        let stored = hardware.join().unwrap();
        stealer.join().unwrap();
        check(entry.0.load(Ordering::Relaxed), answer, stored);
    });
}

fn loses_dirty_to_protect<F: Format>() {
    explore::<F>(
        |entry| {
            entry.protect(READ);
            0
        },
        |word, _, stored| {
            let leaf = Word::<F>::leaf(word).unwrap();
            assert_eq!(leaf.dirty, stored, "dirty must say whether there was a store");
            assert_eq!(leaf.frame, Frame(5));
            assert!(!leaf.rights.contains(Rights::WRITE), "the right came back");
        },
    );
}

#[test]
fn protect_loses_a_dirty_bit_that_hardware_sets() {
    loses_dirty_to_protect::<Sv48>();
    loses_dirty_to_protect::<X86_64>();
    loses_dirty_to_protect::<Sv32>();
    loses_dirty_to_protect::<I386>();
    loses_dirty_to_protect::<I386PaeSplit>();
    loses_dirty_to_protect::<Aarch64Granule64K>();
}

fn loses_dirty_to_swap<F: Format>() {
    explore::<F>(
        |entry| entry.take_out(Soft::InTransit),
        |word, taken, stored| {
            assert_eq!(word, F::soft(Soft::InTransit), "the absent entry was written");
            assert_eq!(Word::<F>::leaf(taken).unwrap().dirty, stored);
        },
    );
}

#[test]
fn taking_an_entry_out_loses_a_dirty_bit_that_hardware_sets() {
    loses_dirty_to_swap::<Sv48>();
    loses_dirty_to_swap::<X86_64>();
    loses_dirty_to_swap::<Sv32>();
    loses_dirty_to_swap::<I386>();
    loses_dirty_to_swap::<I386PaeSplit>();
    loses_dirty_to_swap::<Aarch64Granule64K>();
}

fn disturbs_swap<F: Format>() {
    explore::<F>(
        |entry| entry.take_out(F::SWAP.last()),
        |word, _, _| {
            assert_eq!(
                F::decode(0, word),
                Entry::Soft(F::SWAP.last()),
                "the swap entry was disturbed"
            );
        },
    );
}

#[test]
fn a_late_stealer_disturbs_a_swap_entry() {
    disturbs_swap::<Sv48>();
    disturbs_swap::<X86_64>();
    disturbs_swap::<Sv32>();
    disturbs_swap::<I386>();
    disturbs_swap::<I386PaeSplit>();
    disturbs_swap::<Aarch64Granule64K>();
}
