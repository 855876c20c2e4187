//! A shootdown owed: unlocking before the flush, without anybody believing an entry gone too soon.
//!
//! Scenario 2 (R16, R49). The rule: the stealer, which may unlock with a shootdown owed, sets the
//! leaf's `owed` word under its lock; whoever locks that leaf next flushes its span before it
//! changes an entry or returns. Weaker: only who changes an entry flushes. Then an unmap that finds
//! nothing left returns while another CPU still reads the frame. Weaker too: flush at the end, with
//! one's own change. Then a fault's new entry names one frame while a translation names another.

use crate::explorer::{Lock, Model, Report, Step, ensure};

/// When the next holder of the leaf's lock pays the flush that is owed.
#[derive(Clone, Copy, PartialEq)]
enum Paid {
    BeforeAnythingElse,
    WithOwnChange,
    BeforeTheUnlock,
}

/// What the thread that comes after the stealer does with page p.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Unmap,
    Fault,
}

/// The frame that is stolen, and the one that a fault brings.
const STOLEN: u8 = 0;
const FRESH: u8 = 1;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Leaf {
    lock: Lock,
    owed: bool,
    entry: Option<u8>,
    cached_by_t2: Option<u8>,
    found: bool,
    unmapped: bool,
    freed: bool,
}

impl Leaf {
    fn flush(&mut self) {
        self.cached_by_t2 = None;
        self.owed = false;
    }
}

fn after_the_stealer(next: Next, paid: Paid) -> Report {
    let leaf = Leaf {
        lock: Lock::default(),
        owed: false,
        entry: Some(STOLEN),
        cached_by_t2: Some(STOLEN),
        found: false,
        unmapped: false,
        freed: false,
    };
    let pay = |leaf: &mut Leaf| {
        if leaf.owed {
            leaf.flush();
        }
    };
    let model = Model::new(leaf)
        .thread("T0 steals")
        .step("lock the leaf", |leaf| leaf.lock.acquire())
        .step("clear p, owe the shootdown", |leaf| {
            if leaf.entry != Some(STOLEN) {
                leaf.lock.release();
                return Step::Done;
            }
            leaf.entry = None;
            leaf.owed = true;
            Step::Next
        })
        .step("unlock", |leaf| leaf.lock.release())
        // The word stays set: clearing it here could forget what a later stealer owes.
        .step("shoot down the batch, acknowledged", |leaf| leaf.cached_by_t2 = None)
        .step("free the frame", |leaf| leaf.freed = true)
        .thread("T2")
        .step("walk", |leaf| leaf.cached_by_t2 = leaf.cached_by_t2.or(leaf.entry))
        .thread("T1")
        .step("lock the leaf", |leaf| leaf.lock.acquire())
        .step_if(paid == Paid::BeforeAnythingElse, "pay what is owed", pay);
    let model = match next {
        Next::Unmap => model.step("clear p", |leaf| leaf.found = leaf.entry.take().is_some()).step(
            "shoot down if p was there, acknowledged",
            |leaf| {
                if leaf.found {
                    leaf.flush();
                }
            },
        ),
        Next::Fault => model.step("install a fresh frame if p is empty", |leaf| {
            leaf.entry.get_or_insert(FRESH);
        }),
    };
    model
        .step_if(paid == Paid::BeforeTheUnlock, "pay what is owed", pay)
        .step("unlock", |leaf| leaf.lock.release())
        .step("return", move |leaf| leaf.unmapped = next == Next::Unmap)
        .always(|leaf| {
            let readable = leaf.cached_by_t2.is_some();
            ensure(!(leaf.unmapped && readable), "unmap has returned, and the page is read")
        })
        .always(|leaf| {
            let readable = leaf.cached_by_t2 == Some(STOLEN);
            ensure(!(leaf.freed && readable), "a free frame is read")
        })
        .always(|leaf| {
            let both = leaf.entry.zip(leaf.cached_by_t2).is_none_or(|(a, b)| a == b);
            ensure(both, "the entry names one frame, a translation another")
        })
        .explore()
}

#[test]
fn an_unmap_that_finds_nothing_returns_while_the_frame_is_read() {
    after_the_stealer(Next::Unmap, Paid::WithOwnChange)
        .must_fail("unmap has returned, and the page is read");
}

#[test]
fn paying_after_the_change_gives_one_page_two_frames() {
    after_the_stealer(Next::Fault, Paid::BeforeTheUnlock)
        .must_fail("the entry names one frame, a translation another");
}

#[test]
fn an_unmap_never_returns_early_when_who_locks_next_pays() {
    after_the_stealer(Next::Unmap, Paid::BeforeAnythingElse).must_pass();
}

#[test]
fn a_page_never_has_two_frames_when_who_locks_next_pays() {
    after_the_stealer(Next::Fault, Paid::BeforeAnythingElse).must_pass();
}
