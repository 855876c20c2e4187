//! Entries of two words under loom (R26): a reader beside who changes the entry, and hardware.
//!
//! Guarantee: what a reader takes from a split cell is a word that was put there, or nothing; never
//! halves of two. What hardware sets in one half is found by who takes the entry out.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_cell`
#![cfg(loom)]

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use vmspace::cell::{Cell, SplitCell};
use vmspace::sync::{AtomicU32, Ordering};

/// Entries that differ in both halves, in the low one, in the high one.
const FIRST: u64 = 0x1_0000_1001;
const SECOND: u64 = 0x2_0000_2001;
const THIRD: u64 = 0x2_0000_3001;
const FOURTH: u64 = 0x3_0000_3001;
const DIRTY: u64 = 1 << 6;

fn explore<C: Send + Sync + 'static>(
    new: fn() -> C,
    reader: fn(&C),
    writer: fn(&C),
    check: fn(&C),
) {
    let mut model = Builder::new();
    model.preemption_bound = Some(4);
    model.check(move || {
        let cell = Arc::new(new());
        let other = Arc::clone(&cell);
        let thread = thread::spawn(move || writer(&other));
        reader(&cell);
        thread.join().unwrap();
        check(&cell);
    });
}

fn first() -> SplitCell {
    SplitCell::new(FIRST)
}

fn assert_whole(word: u64) {
    assert!([0, FIRST, SECOND, THIRD, FOURTH].contains(&word), "halves of two entries: {word:#x}");
}

fn read(cell: &SplitCell) {
    assert_whole(cell.load(Ordering::Acquire));
    assert_whole(cell.load(Ordering::Acquire));
}

#[test]
fn a_reader_takes_halves_of_two_entries_that_are_exchanged() {
    explore(
        first,
        read,
        |cell| {
            cell.compare_exchange(FIRST, SECOND).unwrap();
            cell.compare_exchange(SECOND, THIRD).unwrap();
            cell.compare_exchange(THIRD, FOURTH).unwrap();
            assert_eq!(cell.compare_exchange(THIRD, FIRST), Err(FOURTH));
        },
        |cell| assert_eq!(cell.load(Ordering::Relaxed), FOURTH),
    );
}

#[test]
fn a_reader_takes_halves_of_two_entries_that_are_swapped() {
    explore(
        first,
        read,
        |cell| {
            assert_eq!(cell.swap(SECOND), FIRST);
            assert_eq!(cell.swap(0), SECOND);
            assert_eq!(cell.compare_exchange(0, THIRD), Ok(()));
        },
        |cell| assert_eq!(cell.load(Ordering::Relaxed), THIRD),
    );
}

/// What hardware says it has set, with the entry whole, is in the word that was taken out.
#[test]
fn an_entry_that_is_taken_out_loses_what_hardware_sets_in_one_half() {
    loom::model(|| {
        let cell = Arc::new(first());
        let other = Arc::clone(&cell);
        let hardware = thread::spawn(move || other.compare_exchange(FIRST, FIRST | DIRTY).is_ok());
        let taken = cell.swap(SECOND);
        let set = hardware.join().unwrap();
        assert_eq!(taken, if set { FIRST | DIRTY } else { FIRST });
        assert_eq!(cell.load(Ordering::Relaxed), SECOND);
    });
}

/// The halves without the protocol: each change writes the half that makes it present first.
struct Reversed {
    low: AtomicU32,
    high: AtomicU32,
}

#[test]
#[should_panic(expected = "halves of two entries")]
fn the_order_reversed_shows_halves_of_two_entries() {
    explore(
        || Reversed { low: AtomicU32::new(FIRST as u32), high: AtomicU32::new(1) },
        |cell| {
            let low = cell.low.load(Ordering::Acquire);
            let high = cell.high.load(Ordering::Acquire);
            if low == cell.low.load(Ordering::Acquire) {
                assert_whole(u64::from(high) << 32 | u64::from(low));
            }
        },
        |cell| {
            cell.low.store(SECOND as u32, Ordering::Release);
            cell.high.store(2, Ordering::Release);
        },
        |_| (),
    );
}
