//! Fork: the child is the parent as it was at one instant.
//!
//! **The acknowledgements come before the unlock** (scenario 1; R18). The rule: change entries,
//! shoot down and have every acknowledgement, then unlock, then let the child run. Weaker: unlock
//! first and shoot down from the batch. Then another thread breaks copy-on-write of a page that a
//! third can still store to through its old translation: the copy is made, the store goes to the
//! frame that is now the child's, and the parent has lost it. Weaker too: let the child run before
//! the shootdown. Then it sees the parent's store change a page that it has already read.
//!
//! **Fork locks the whole user range** (scenario 5; R18). Weaker: lock, copy and unlock one window
//! after the other, each with its own acknowledgements. Then a thread of the parent stores to p1,
//! which is copied already, then to p2, which is not yet: the child sees the later store without
//! the earlier one.

use crate::explorer::{Lock, Model, Report, Step, ensure};

/// When a fork's commit has its acknowledgements.
#[derive(Clone, Copy, PartialEq)]
enum Acknowledged {
    BeforeTheUnlock,
    AfterTheUnlock,
    AfterTheChildRuns,
}

/// A present entry, or a cached translation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Translation {
    frame: usize,
    writable: bool,
}

/// The frame that is shared after the fork, and the one to which copy-on-write copies.
const ORIGINAL: usize = 0;
const COPY: usize = 1;

/// One page of the parent, mapped and cached writable; each frame holds one word.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SharedPage {
    leaf: Lock,
    entry: Option<Translation>,
    cached_by_t2: Option<Translation>,
    frames: [u8; 2],
    child_read: Option<u8>,
}

fn copy_on_write_after_fork(commit: Acknowledged) -> Report {
    let writable = Some(Translation { frame: ORIGINAL, writable: true });
    let page = SharedPage {
        leaf: Lock::default(),
        entry: writable,
        cached_by_t2: writable,
        frames: [0, 0],
        child_read: None,
    };
    let child_runs_early = commit == Acknowledged::AfterTheChildRuns;
    let unlock_early = commit == Acknowledged::AfterTheUnlock;
    let child_reads = |p: &mut SharedPage| p.child_read = Some(p.frames[ORIGINAL]);
    Model::new(page)
        .thread("T0 forks")
        .step("lock the leaf", |p| p.leaf.acquire())
        .step("write-protect p, which the child gets", |p| {
            p.entry = p.entry.map(|entry| Translation { writable: false, ..entry });
        })
        .step_if(child_runs_early, "the child reads p", child_reads)
        .step_if(unlock_early, "unlock", |p| p.leaf.release())
        .step("shoot down, acknowledged", |p| p.cached_by_t2 = None)
        .step_if(!unlock_early, "unlock", |p| p.leaf.release())
        .step_if(!child_runs_early, "the child reads p", child_reads)
        .thread("T1 breaks copy-on-write")
        .step("fault on the protected entry", |p| match p.entry {
            Some(Translation { writable: false, .. }) => Step::Next,
            _ => Step::Block,
        })
        .step("lock the leaf", |p| p.leaf.acquire())
        .step("copy the frame", |p| p.frames[COPY] = p.frames[ORIGINAL])
        .step("entry in transit", |p| p.entry = None)
        .step("shoot down, acknowledged", |p| p.cached_by_t2 = None)
        .step("entry names the copy", |p| {
            p.entry = Some(Translation { frame: COPY, writable: true });
        })
        .step("unlock", |p| p.leaf.release())
        .thread("T2 of the parent")
        .step("store", |p| match (p.cached_by_t2, p.entry) {
            (Some(Translation { frame, writable: true }), _) => {
                p.frames[frame] = 1;
                Step::Done
            }
            (_, Some(Translation { writable: true, .. })) => {
                p.cached_by_t2 = p.entry;
                Step::Goto("store")
            }
            _ => Step::Block,
        })
        .finally(|p| {
            let parent_sees = p.entry.map(|entry| p.frames[entry.frame]);
            ensure(parent_sees == Some(1), "a store of the parent is lost")
        })
        .finally(|p| {
            let child_sees = Some(p.frames[ORIGINAL]);
            ensure(child_sees == p.child_read, "the child's page changes under it")
        })
        .explore()
}

#[test]
fn unlocking_before_the_acknowledgements_loses_a_parents_store() {
    copy_on_write_after_fork(Acknowledged::AfterTheUnlock)
        .must_fail("a store of the parent is lost");
}

#[test]
fn a_child_that_runs_before_the_acknowledgements_sees_its_page_change() {
    copy_on_write_after_fork(Acknowledged::AfterTheChildRuns)
        .must_fail("the child's page changes under it");
}

#[test]
fn a_parents_store_is_never_lost_when_commit_waits_for_the_acknowledgements() {
    copy_on_write_after_fork(Acknowledged::BeforeTheUnlock).must_pass();
}

/// Which windows a fork holds while it copies one.
#[derive(Clone, Copy, PartialEq)]
enum Locked {
    WholeRange,
    OneWindow,
}

/// Two pages of the parent, in a leaf each. Both processes see `parent` while a page is `shared`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct TwoPages {
    leaves: [Lock; 2],
    writable: [bool; 2],
    cached_writable: [bool; 2],
    shared: [bool; 2],
    parent: [u8; 2],
    child: [u8; 2],
}

impl TwoPages {
    /// Write-protects a page of the parent and gives it to the child.
    fn share(&mut self, page: usize) {
        self.writable[page] = false;
        self.shared[page] = true;
    }

    /// Caches a writable translation, after a fault that breaks copy-on-write when it must.
    fn translate(&mut self, page: usize) -> Step {
        if !self.cached_writable[page] && !self.writable[page] {
            if !self.leaves[page].try_acquire() {
                return Step::Block;
            }
            self.shared[page] = false;
            self.child[page] = self.parent[page];
            self.writable[page] = true;
            self.leaves[page].release();
        }
        self.cached_writable[page] = true;
        Step::Next
    }

    /// Stores through the cached translation, unless a shootdown took it.
    fn store(&mut self, page: usize, translate: &'static str) -> Step {
        if !self.cached_writable[page] {
            return Step::Goto(translate);
        }
        self.parent[page] = 1;
        Step::Next
    }

    fn child_sees(&self, page: usize) -> u8 {
        if self.shared[page] { self.parent[page] } else { self.child[page] }
    }
}

fn stores_during_fork(locked: Locked) -> Report {
    let whole = locked == Locked::WholeRange;
    // Only p2 is cached, so that T1 may fault on p1 and still have an old translation of p2.
    let cached_writable = [false, true];
    Model::new(TwoPages { writable: [true; 2], cached_writable, ..TwoPages::default() })
        .thread("T0 forks")
        .step("lock p1's leaf", |p| p.leaves[0].acquire())
        .step_if(whole, "lock p2's leaf", |p| p.leaves[1].acquire())
        .step("copy p1", |p| p.share(0))
        .step_if(!whole, "shoot down p1, acknowledged", |p| p.cached_writable[0] = false)
        .step_if(!whole, "unlock p1's leaf", |p| p.leaves[0].release())
        .step_if(!whole, "lock p2's leaf", |p| p.leaves[1].acquire())
        .step("copy p2", |p| p.share(1))
        .step("shoot down, acknowledged", |p| p.cached_writable = [false; 2])
        .step_if(whole, "unlock p1's leaf", |p| p.leaves[0].release())
        .step("unlock p2's leaf", |p| p.leaves[1].release())
        .thread("T1 of the parent")
        .step("translate p1", |p| p.translate(0))
        .step("store to p1", |p| p.store(0, "translate p1"))
        .step("translate p2", |p| p.translate(1))
        .step("store to p2", |p| p.store(1, "translate p2"))
        .finally(|p| ensure(p.parent == [1, 1], "a store of the parent is lost"))
        .finally(|p| {
            let in_order = p.child_sees(0) >= p.child_sees(1);
            ensure(in_order, "the child sees the later store without the earlier")
        })
        .explore()
}

#[test]
fn fork_in_windows_gives_the_child_the_later_store_without_the_earlier() {
    stores_during_fork(Locked::OneWindow)
        .must_fail("the child sees the later store without the earlier");
}

#[test]
fn the_child_is_one_instant_of_the_parent_when_fork_locks_the_whole_range() {
    stores_during_fork(Locked::WholeRange).must_pass();
}
