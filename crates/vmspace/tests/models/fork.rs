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

/// Two pages of the parent in one leaf. Until copy-on-write breaks, both processes see `parent`.
#[derive(Clone, PartialEq, Eq, Hash)]
struct TwoPages {
    windows: [Lock; 2],
    writable: [bool; 2],
    cached_writable: [bool; 2],
    shared: [bool; 2],
    parent: [u8; 2],
    child: [u8; 2],
}

impl TwoPages {
    fn share(&mut self, page: usize) {
        self.writable[page] = false;
        self.shared[page] = true;
    }

    fn break_copy_on_write(&mut self, page: usize) {
        if std::mem::take(&mut self.shared[page]) {
            self.child[page] = self.parent[page];
        }
        self.writable[page] = true;
    }

    fn child_sees(&self, page: usize) -> u8 {
        if self.shared[page] { self.parent[page] } else { self.child[page] }
    }
}

/// Stores to one page as a thread does: through its translation, after a walk, or after a fault.
fn storing_to<const PAGE: usize>(
    model: Model<TwoPages>,
    [store, lock, fault, unlock]: [&'static str; 4],
) -> Model<TwoPages> {
    model
        .step(store, move |p| {
            if p.cached_writable[PAGE] {
                p.parent[PAGE] = 1;
                return Step::Goto(unlock);
            }
            p.cached_writable[PAGE] = p.writable[PAGE];
            if p.writable[PAGE] { Step::Goto(store) } else { Step::Next }
        })
        .step(lock, |p| p.windows[PAGE].acquire())
        .step(fault, |p| p.break_copy_on_write(PAGE))
        .step(unlock, |p| p.windows[PAGE].release())
}
