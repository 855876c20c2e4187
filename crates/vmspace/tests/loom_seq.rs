//! The sequence of a node under loom: slot and layout, read without locks.
//!
//! Guarantee: what a reader believes is what stood there at one instant: never a slot from before
//! a window and a layout from after it. (Scenario 7: the slot is seen empty, then a child is
//! attached and the layout loses its part; the reader would say "unmapped".)
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_seq`
#![cfg(loom)]

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use vmspace::seq::{Sequence, Snapshot};
use vmspace::sync::{AtomicU64, Ordering};

/// A node's slot and layout, both zero: no child, all of it in the layout. In every state that
/// stands outside a window both hold the same number.
#[derive(Default)]
struct Node {
    sequence: Sequence,
    slot: AtomicU64,
    layout: AtomicU64,
}

impl Node {
    /// A window of who holds the lock.
    fn change(&self, state: u64) {
        self.sequence.open();
        self.slot.store(state, Ordering::Relaxed);
        self.layout.store(state, Ordering::Relaxed);
        self.sequence.shut();
    }

    /// One try of a reader; what it believes.
    fn read(&self) -> Option<(u64, u32)> {
        let snapshot = Snapshot::take(&self.sequence)?;
        let slot = self.slot.load(Ordering::Relaxed);
        let layout = self.layout.load(Ordering::Relaxed);
        snapshot.holds(&self.sequence).then(|| {
            assert_eq!(slot, layout, "slot and layout are of two states");
            (slot, snapshot.value())
        })
    }
}

fn explore(reader: fn(&Node), writer: fn(&Node)) {
    let mut model = Builder::new();
    model.preemption_bound = Some(4);
    model.check(move || {
        let node = Arc::new(Node::default());
        let other = Arc::clone(&node);
        let thread = thread::spawn(move || writer(&other));
        reader(&node);
        thread.join().unwrap();
    });
}

#[test]
fn a_reader_takes_slot_and_layout_from_two_states() {
    explore(|node| _ = node.read(), |node| node.change(1));
}

#[test]
fn a_reader_takes_slot_and_layout_from_two_windows() {
    explore(
        |node| _ = node.read(),
        |node| {
            node.change(1);
            node.change(2);
        },
    );
}

#[test]
fn a_reader_goes_back_to_an_older_state() {
    explore(
        |node| {
            let (first, second) = (node.read(), node.read());
            if let (Some((first, _)), Some((second, _))) = (first, second) {
                assert!(first <= second, "time went backwards");
            }
        },
        |node| {
            node.change(1);
            node.change(2);
        },
    );
}

#[test]
fn a_line_read_twice_is_believed_though_it_changed_between() {
    // What a listing does: equal values of the sequence mean one state at both readings.
    explore(
        |node| {
            if let (Some((first, one)), Some((second, two))) = (node.read(), node.read()) {
                assert!(one != two || first == second);
            }
        },
        |node| {
            node.change(1);
            node.change(2);
        },
    );
}

#[test]
fn a_renewed_sequence_holds_for_a_reader_of_an_earlier_life() {
    explore(
        |node| {
            if let Some(snapshot) = Snapshot::take(&node.sequence) {
                // The table was reused; its new contents are seen by who sees the link to it.
                if node.slot.load(Ordering::Acquire) == 1 {
                    assert!(!snapshot.holds(&node.sequence) || snapshot.value() != 0);
                }
            }
        },
        |node| {
            node.sequence.renew();
            node.slot.store(1, Ordering::Release);
        },
    );
}
