//! Moving pages between two windows of one space.
//!
//! Scenario 9 (R33, within one space). The rule: `lock2` locks the union of both windows' nodes in
//! pre-order, each once. Weaker: one cursor for each window, the source's first. Then X→Y and Y→X,
//! moved at once, each wait for the other; and a move within one leaf waits for itself. Weaker:
//! lock the windows one after the other, never both. Then the two moves cross and both pages stay.

use crate::explorer::{Lock, Model, Report, ensure};

/// How a move locks its two windows.
#[derive(Clone, Copy, PartialEq)]
enum Locking {
    BothInPreOrder,
    TwoCursors,
    OneAfterTheOther,
}

/// Two windows with a page each; a leaf may hold one window or both.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Windows {
    leaves: [Lock; 2],
    pages: [Option<u8>; 2],
    carried: [Option<u8>; 2],
}

/// Adds a thread that moves `from` to the other window and drops what was there, as `mremap` does.
fn moving(
    model: Model<Windows>,
    name: &'static str,
    from: usize,
    leaf_of: [usize; 2],
    locking: Locking,
) -> Model<Windows> {
    let to = 1 - from;
    let (source, target) = (leaf_of[from], leaf_of[to]);
    let in_order = locking == Locking::BothInPreOrder;
    let apart = locking == Locking::OneAfterTheOther;
    let (first, second) = if in_order { (0, leaf_of[1]) } else { (source, target) };
    let once = in_order && first == second;
    model
        .thread(name)
        .step("lock one leaf", move |w| w.leaves[first].acquire())
        .step_if(!apart && !once, "lock the other leaf", move |w| w.leaves[second].acquire())
        .step("take the page", move |w| {
            w.carried[from] = w.pages[from].take();
        })
        .step_if(apart, "unlock the source", move |w| w.leaves[source].release())
        .step_if(apart, "lock the target", move |w| w.leaves[target].acquire())
        .step("put it", move |w| {
            // Where the source was empty, the move has failed and the target stays.
            if let Some(page) = w.carried[from].take() {
                w.pages[to] = Some(page);
            }
        })
        .step("unlock one leaf", move |w| w.leaves[target].release())
        .step_if(!apart && !once, "unlock the other leaf", move |w| w.leaves[source].release())
}

fn crossing_moves(leaf_of: [usize; 2], locking: Locking) -> Report {
    let windows =
        Windows { leaves: [Lock::default(); 2], pages: [Some(1), Some(2)], carried: [None; 2] };
    let model = moving(Model::new(windows), "T0 moves X to Y", 0, leaf_of, locking);
    moving(model, "T1 moves Y to X", 1, leaf_of, locking)
        .finally(|w| {
            let one = w.pages[0].is_some() != w.pages[1].is_some();
            ensure(one, "the moves happened in no order")
        })
        .explore()
}

#[test]
fn two_cursors_for_each_of_two_crossing_moves_deadlock() {
    crossing_moves([0, 1], Locking::TwoCursors).must_fail("deadlock");
}

#[test]
fn two_cursors_for_a_move_within_one_leaf_wait_for_themselves() {
    crossing_moves([0, 0], Locking::TwoCursors).must_fail("deadlock");
}

#[test]
fn locking_one_window_after_the_other_lets_crossing_moves_happen_in_no_order() {
    crossing_moves([0, 1], Locking::OneAfterTheOther).must_fail("the moves happened in no order");
}

#[test]
fn crossing_moves_never_deadlock_when_both_windows_are_locked_in_pre_order() {
    crossing_moves([0, 1], Locking::BothInPreOrder).must_pass();
}

#[test]
fn a_move_within_one_leaf_never_waits_for_itself_when_each_node_is_locked_once() {
    crossing_moves([0, 0], Locking::BothInPreOrder).must_pass();
}
