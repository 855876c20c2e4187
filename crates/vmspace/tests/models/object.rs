//! A page of an object, between the cache that gave it and the entry that will name it.
//!
//! **Truncations are counted** (scenario 4). The rule: truncation sets the length, counts itself,
//! and only then looks for the page in the cache and for its records in the reverse map. A fault
//! reads the count before it looks at the length and asks for the page; under the leaf's lock it
//! makes its record and then compares the count. So truncation finds the record, or the fault finds
//! it counted; and who reads the count later finds the new length: nobody waits for a truncation.
//! Weaker: no count, a count read after the page, a comparison before the record (and so before
//! the lock), a length set after the count, or a count after the search. Then truncation finds no
//! mapping and returns, and the fault maps the page that the object no longer has.
//!
//! **Eviction freezes the count** (scenario 4; R24). The rule: eviction changes the count from the
//! cache's own reference to none in one step, which fails while a fault holds one; the fault takes
//! its reference only from a count that is not none, then looks whether the cache still names the
//! frame. Weaker: read the count, then remove. Then the fault's reference comes in between and its
//! frame is freed. Weaker: do not look again. Then the frame has been freed and belongs to another.

use crate::explorer::{Lock, Model, Report, Step, ensure};

const PAST_THE_END: &str = "a page is mapped past the object's end";

/// When a fault reads and compares the count, and when truncation raises it.
#[derive(Clone, Copy, PartialEq)]
enum Count {
    AroundEverything,
    NotUsed,
    ReadAfterThePage,
    ComparedBeforeTheRecord,
    BeforeTheLength,
    AfterTheSearch,
}

/// The object has one page, in the cache; nothing maps it yet.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Object {
    has_page: bool,
    truncations: u8,
    read: u8,
    cached: bool,
    leaf: Lock,
    recorded: bool,
    mapped: bool,
    truncated: bool,
}

impl Object {
    fn read_count(&mut self) {
        self.read = self.truncations;
    }

    fn count(&mut self) {
        self.truncations += 1;
    }

    fn shorten(&mut self) {
        self.has_page = false;
    }

    fn compare(&mut self) -> Step {
        if self.truncations == self.read { Step::Next } else { Step::Goto("forget the record") }
    }
}

fn fault_and_truncate(rule: Count) -> Report {
    let object = Object {
        has_page: true,
        truncations: 0,
        read: 0,
        cached: true,
        leaf: Lock::default(),
        recorded: false,
        mapped: false,
        truncated: false,
    };
    let read_late = rule == Count::ReadAfterThePage;
    let compared_early = rule == Count::ComparedBeforeTheRecord;
    let compared = !compared_early && rule != Count::NotUsed;
    let counted_first = rule == Count::BeforeTheLength;
    let counted_last = rule == Count::AfterTheSearch;
    Model::new(object)
        .thread("T0 faults")
        .step_if(!read_late, "read the count", |o| o.read_count())
        .step("look at the length", |o| if o.has_page { Step::Next } else { Step::Done })
        .step("ask for the page", |o| if o.cached { Step::Next } else { Step::Done })
        .step_if(read_late, "read the count", |o| o.read_count())
        .step("lock the leaf", |o| o.leaf.acquire())
        .step_if(compared_early, "compare the count", Object::compare)
        .step("make the record", |o| o.recorded = true)
        .step_if(compared, "compare the count", Object::compare)
        .step("install the page", |o| {
            o.mapped = true;
            Step::Goto("unlock")
        })
        .step("forget the record", |o| o.recorded = false)
        .step("unlock", |o| o.leaf.release())
        .thread("T1 truncates")
        .step_if(counted_first, "count", Object::count)
        .step("set the length", Object::shorten)
        .step_if(!counted_first && !counted_last, "count", Object::count)
        .step("look for a record", |o| {
            if o.recorded { Step::Next } else { Step::Goto("take the page out of the cache") }
        })
        .step("lock the leaf", |o| o.leaf.acquire())
        .step("clear the entry, shoot down", |o| {
            (o.recorded, o.mapped) = (false, false);
        })
        .step("unlock", |o| {
            o.leaf.release();
            Step::Goto("look for a record")
        })
        .step("take the page out of the cache", |o| o.cached = false)
        .step_if(counted_last, "count", Object::count)
        .step("return", |o| o.truncated = true)
        .always(|o| ensure(!(o.truncated && o.mapped), PAST_THE_END))
        .explore()
}

#[test]
fn a_fault_without_the_count_maps_a_truncated_page() {
    fault_and_truncate(Count::NotUsed).must_fail(PAST_THE_END);
}

#[test]
fn reading_the_count_after_the_page_maps_a_truncated_page() {
    fault_and_truncate(Count::ReadAfterThePage).must_fail(PAST_THE_END);
}

#[test]
fn comparing_the_count_before_the_record_is_made_maps_a_truncated_page() {
    fault_and_truncate(Count::ComparedBeforeTheRecord).must_fail(PAST_THE_END);
}

#[test]
fn counting_a_truncation_before_the_length_is_set_maps_a_truncated_page() {
    fault_and_truncate(Count::BeforeTheLength).must_fail(PAST_THE_END);
}

#[test]
fn counting_a_truncation_after_the_search_maps_a_truncated_page() {
    fault_and_truncate(Count::AfterTheSearch).must_fail(PAST_THE_END);
}

#[test]
fn a_truncated_page_is_never_mapped_when_the_count_is_compared_behind_the_record() {
    fault_and_truncate(Count::AroundEverything).must_pass();
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
