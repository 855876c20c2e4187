//! Detaching an empty table: no cycle of waits, and no entry set in a table that is gone.
//!
//! Scenario 3 (R25, R33). The rule: an empty table L is detached with its parent N and L both
//! held, by an unmap that started one level up (N, then L), or by the shrinker, which comes from L
//! and only tries N; and who has waited for a table's lock checks that the slot still names it.
//! Weaker: hold L and wait for N. Then a range operation that holds N and waits for L never moves.
//! Weaker: hold N alone, or do not check. Then a fault sets its entry in a table that nobody can
//! reach any more: the page is lost.

use crate::explorer::{Lock, Model, Report, Step, ensure};

/// How the empty table is detached.
#[derive(Clone, Copy, PartialEq)]
enum Detach {
    OneLevelUp,
    ShrinkerTries,
    WaitsForTheParent,
    UnderTheParentAlone,
}

/// What a fault does when it has the leaf's lock.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    ChecksTheSlot,
    TrustsItsWalk,
}

const LOST: &str = "an entry is set in a table that nobody reaches";

/// The table that is detached, and the one that a fault builds in its place.
const OLD: usize = 0;
const NEW: usize = 1;

/// A parent with one slot, and the two tables that it may name.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Tree {
    parent: Lock,
    leaves: [Lock; 2],
    slot: Option<usize>,
    installed: [bool; 2],
    empty: bool,
    range_holds: Option<usize>,
}

fn detaching(detach: Detach, fault: Fault) -> Report {
    let tree = Tree {
        parent: Lock::default(),
        leaves: [Lock::default(); 2],
        slot: Some(OLD),
        installed: [false; 2],
        empty: false,
        range_holds: None,
    };
    let down = matches!(detach, Detach::OneLevelUp | Detach::UnderTheParentAlone);
    let waits = detach == Detach::WaitsForTheParent;
    let tries = detach == Detach::ShrinkerTries;
    let locks_leaf = detach != Detach::UnderTheParentAlone;
    let checks = fault == Fault::ChecksTheSlot;
    Model::new(tree)
        .thread("T0 detaches")
        .step_if(down, "lock N", |t| t.parent.acquire())
        .step_if(locks_leaf, "lock L", |t| t.leaves[OLD].acquire())
        .step_if(waits, "lock N", |t| t.parent.acquire())
        .step_if(tries, "try N", |t| {
            if t.parent.try_acquire() { Step::Next } else { Step::Goto("unlock L") }
        })
        .step("look whether L is empty", |t| t.empty = !t.installed[OLD])
        .step("detach L if so", |t| {
            if t.empty && t.slot == Some(OLD) {
                t.slot = None;
            }
        })
        .step("unlock N", |t| t.parent.release())
        .step_if(locks_leaf, "unlock L", |t| t.leaves[OLD].release())
        .thread("T1 changes a range")
        .step("lock N", |t| t.parent.acquire())
        .step("lock what the slot names", |t| {
            t.range_holds = t.slot;
            t.slot.map_or(Step::Next, |leaf| t.leaves[leaf].acquire())
        })
        .step("unlock both", |t| {
            if let Some(leaf) = t.range_holds {
                t.leaves[leaf].release();
            }
            t.parent.release()
        })
        .thread("T2 faults")
        .step("walk", |t| if t.slot == Some(OLD) { Step::Next } else { Step::Goto("lock N") })
        .step("lock L", |t| t.leaves[OLD].acquire())
        .step_if(checks, "check the slot", |t| {
            if t.slot == Some(OLD) {
                return Step::Next;
            }
            t.leaves[OLD].release();
            Step::Goto("walk")
        })
        .step("install", |t| t.installed[OLD] = true)
        .step("unlock L", |t| {
            t.leaves[OLD].release();
            Step::Done
        })
        .step("lock N", |t| t.parent.acquire())
        .step("attach a table with the entry in it", |t| {
            t.slot = Some(NEW);
            t.installed[NEW] = true;
        })
        .step("unlock N", |t| t.parent.release())
        .finally(|t| {
            let reachable = t.slot.is_some_and(|leaf| t.installed[leaf]);
            ensure(reachable, LOST)
        })
        .explore()
}

#[test]
fn waiting_for_the_parent_with_the_leaf_held_deadlocks_with_a_range_operation() {
    detaching(Detach::WaitsForTheParent, Fault::ChecksTheSlot).must_fail("deadlock");
}

#[test]
fn detaching_under_the_parents_lock_alone_loses_an_entry() {
    detaching(Detach::UnderTheParentAlone, Fault::ChecksTheSlot).must_fail(LOST);
}

#[test]
fn trusting_the_walk_after_waiting_for_the_lock_loses_an_entry() {
    detaching(Detach::OneLevelUp, Fault::TrustsItsWalk).must_fail(LOST);
}

#[test]
fn nothing_is_lost_and_nobody_waits_for_ever_when_detach_starts_one_level_up() {
    detaching(Detach::OneLevelUp, Fault::ChecksTheSlot).must_pass();
}

#[test]
fn nothing_is_lost_and_nobody_waits_for_ever_when_the_shrinker_only_tries() {
    detaching(Detach::ShrinkerTries, Fault::ChecksTheSlot).must_pass();
}
