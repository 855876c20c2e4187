//! A page of an object, between the cache that gave it and the entry that will name it.
//!
//! **The invalidation sequence** (scenario 4). The rule: a fault samples
//! the object's sequence before it asks for the page and compares it under the leaf's lock;
//! truncation makes it odd before it takes the page out of the cache and out of the entries, and
//! even at the end. Weaker: no sequence, a sample taken after the page, a comparison before the
//! lock, or a sequence that turns odd only after the entries are cleared. Then truncation finds no
//! mapping and returns, and the fault maps the page that the object no longer has.
//!
//! **Eviction freezes the count** (scenario 4; R24). The rule: eviction changes the count from the
//! cache's own reference to none in one step, which fails while a fault holds one; the fault takes
//! its reference only from a count that is not none, then looks whether the cache still names the
//! frame. Weaker: read the count, then remove. Then the fault's reference comes in between and its
//! frame is freed. Weaker: do not look again. Then the frame has been freed and belongs to another.

use crate::explorer::{Lock, Model, Report, Step, ensure};

const PAST_THE_END: &str = "a page is mapped past the object's end";

/// When a fault samples and compares the sequence, and when truncation turns it.
#[derive(Clone, Copy, PartialEq)]
enum Sequence {
    AroundEverything,
    NotUsed,
    SampledAfterThePage,
    ComparedBeforeTheLock,
    OddAfterTheEntries,
}

/// The object has one page, in the cache; nothing maps it yet.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Object {
    sequence: u8,
    sample: u8,
    cached: bool,
    leaf: Lock,
    mapped: bool,
    truncated: bool,
}

impl Object {
    /// Waits out a truncation, then remembers which came last.
    fn sample(&mut self) -> Step {
        self.sample = self.sequence;
        if self.sequence.is_multiple_of(2) { Step::Next } else { Step::Block }
    }

    /// Begins to truncate, or ends.
    fn turn(&mut self) {
        self.sequence += 1;
    }
}

fn fault_and_truncate(rule: Sequence) -> Report {
    let object = Object {
        sequence: 0,
        sample: 0,
        cached: true,
        leaf: Lock::default(),
        mapped: false,
        truncated: false,
    };
    let sampled_late = rule == Sequence::SampledAfterThePage;
    let sampled_early = !sampled_late && rule != Sequence::NotUsed;
    let compared_early = rule == Sequence::ComparedBeforeTheLock;
    let compared = !compared_early && rule != Sequence::NotUsed;
    let odd_late = rule == Sequence::OddAfterTheEntries;
    Model::new(object)
        .thread("T0 faults")
        .step_if(sampled_early, "sample the sequence", Object::sample)
        .step("ask for the page", |o| if o.cached { Step::Next } else { Step::Done })
        .step_if(sampled_late, "sample the sequence", Object::sample)
        .step_if(compared_early, "compare the sequence", |o| {
            if o.sequence == o.sample { Step::Next } else { Step::Goto("sample the sequence") }
        })
        .step("lock the leaf", |o| o.leaf.acquire())
        .step_if(compared, "compare the sequence", |o| {
            if o.sequence == o.sample {
                return Step::Next;
            }
            o.leaf.release();
            Step::Goto("sample the sequence")
        })
        .step("install the page", |o| o.mapped = true)
        .step("unlock", |o| o.leaf.release())
        .thread("T1 truncates")
        .step_if(!odd_late, "the sequence turns odd", Object::turn)
        .step("take the page out of the cache", |o| o.cached = false)
        .step("lock the leaf", |o| o.leaf.acquire())
        .step("clear the entry, shoot down", |o| o.mapped = false)
        .step("unlock", |o| o.leaf.release())
        .step_if(odd_late, "the sequence turns odd", Object::turn)
        .step("the sequence turns even", Object::turn)
        .step("return", |o| o.truncated = true)
        .always(|o| ensure(!(o.truncated && o.mapped), PAST_THE_END))
        .explore()
}

#[test]
fn a_fault_without_the_sequence_maps_a_truncated_page() {
    fault_and_truncate(Sequence::NotUsed).must_fail(PAST_THE_END);
}

#[test]
fn sampling_the_sequence_after_the_page_maps_a_truncated_page() {
    fault_and_truncate(Sequence::SampledAfterThePage).must_fail(PAST_THE_END);
}

#[test]
fn comparing_the_sequence_before_the_lock_maps_a_truncated_page() {
    fault_and_truncate(Sequence::ComparedBeforeTheLock).must_fail(PAST_THE_END);
}

#[test]
fn turning_the_sequence_odd_after_the_entries_maps_a_truncated_page() {
    fault_and_truncate(Sequence::OddAfterTheEntries).must_fail(PAST_THE_END);
}

#[test]
fn a_truncated_page_is_never_mapped_when_the_sequence_is_compared_under_the_lock() {
    fault_and_truncate(Sequence::AroundEverything).must_pass();
}

const ANOTHERS: &str = "a fault uses a frame that is free or another's";

/// How eviction decides that nobody holds the frame.
#[derive(Clone, Copy, PartialEq)]
enum Eviction {
    FreezesTheCount,
    ReadsTheCount,
}

/// What a fault does after it has its reference.
#[derive(Clone, Copy, PartialEq)]
enum Lookup {
    LooksAgain,
    TrustsTheFirst,
}

/// A frame of the cache, whose one reference is the cache's.
#[derive(Clone, PartialEq, Eq, Hash)]
struct CachedFrame {
    count: u8,
    cached: bool,
    ours: bool,
    used: bool,
}

fn fault_and_evict(eviction: Eviction, lookup: Lookup) -> Report {
    let freezes = eviction == Eviction::FreezesTheCount;
    Model::new(CachedFrame { count: 1, cached: true, ours: true, used: false })
        .thread("T0 faults")
        .step("look up", |f| if f.cached { Step::Next } else { Step::Done })
        .step("try to get the frame", |f| {
            if f.count == 0 {
                return Step::Done;
            }
            f.count += 1;
            Step::Next
        })
        .step_if(lookup == Lookup::LooksAgain, "look again", |f| {
            if f.cached { Step::Next } else { Step::Goto("put it back") }
        })
        .step("use the frame", |f| f.used = true)
        .step("stop", |f| f.used = false)
        .step("put it back", |f| f.count -= 1)
        .thread("T1 evicts")
        .step_if(!freezes, "read the count", |f| if f.count == 1 { Step::Next } else { Step::Done })
        .step_if(freezes, "freeze the count", |f| {
            if f.count != 1 {
                return Step::Done;
            }
            f.count = 0;
            Step::Next
        })
        .step("remove the frame from the cache", |f| f.cached = false)
        .step("free it", |f| f.ours = false)
        .step("somebody allocates it", |f| f.count = 1)
        .always(|f| ensure(!f.used || f.ours, ANOTHERS))
        .explore()
}

#[test]
fn evicting_by_a_count_that_was_read_frees_a_frame_in_use() {
    fault_and_evict(Eviction::ReadsTheCount, Lookup::LooksAgain).must_fail(ANOTHERS);
}

#[test]
fn trusting_the_first_lookup_uses_a_frame_that_is_anothers() {
    fault_and_evict(Eviction::FreezesTheCount, Lookup::TrustsTheFirst).must_fail(ANOTHERS);
}

#[test]
fn a_frame_in_use_is_never_evicted_when_the_count_is_frozen() {
    fault_and_evict(Eviction::FreezesTheCount, Lookup::LooksAgain).must_pass();
}
