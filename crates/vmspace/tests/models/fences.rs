//! The two places where a store must be in memory before a load: each side looks for the other.
//!
//! **Activate and shootdown** (scenario 8; R15 is its cousin). The rule: activate sets its bit in
//! the space's set, fences, then loads the root, and only then walks; a shootdown changes entries,
//! fences, then reads the set. Weaker: either fence left out. Then the load overtakes the store,
//! each side misses the other, and the CPU keeps a translation that no shootdown has dropped.
//!
//! **Get-user-pages and the decider** (scenario 8b; R24). The rule: get-user-pages takes its
//! reference, fences, and reads the entry again; who decides whether a frame is free swaps the
//! entry, fences, then reads the count. Weaker: either fence left out, or the second reading. Then
//! the decider sees no reference, the other the unchanged entry, and a freed frame is used.
//!
//! The loads and stores go through store buffers. On x86 a locked instruction is such a fence; a
//! relaxed one elsewhere is not, so a count's increment is a store here like any other.

use crate::explorer::{Model, Report, Step, ensure};
use crate::store_buffer::{Memory, with_buffers};

/// Which of the two CPUs fence between their store and their load.
const BOTH: [bool; 2] = [true, true];
const NOT_THE_FIRST: [bool; 2] = [false, true];
const NOT_THE_SECOND: [bool; 2] = [true, false];

/// The words of the first pair: the page's entry, and CPU 0's bit in the set.
const ENTRY: usize = 0;
const IN_SET: usize = 1;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Space {
    memory: Memory<2>,
    cached_by_cpu0: bool,
    cpu0_is_named: bool,
    shot_down: bool,
}

fn activate_and_shootdown([activate_fences, shootdown_fences]: [bool; 2]) -> Report {
    let space = Space {
        memory: Memory::new([1, 0]),
        cached_by_cpu0: false,
        cpu0_is_named: false,
        shot_down: false,
    };
    let model = Model::new(space)
        .thread("CPU 0 activates")
        .step("set my bit", |s| s.memory.store(0, IN_SET, 1))
        .step_if(activate_fences, "fence", |s| s.memory.fence(0))
        .step("load the root and walk", |s| s.cached_by_cpu0 = s.memory.load(0, ENTRY) == 1)
        .thread("CPU 1 unmaps")
        .step("clear the entry", |s| s.memory.store(1, ENTRY, 0))
        .step_if(shootdown_fences, "fence", |s| s.memory.fence(1))
        .step("read the set", |s| s.cpu0_is_named = s.memory.load(1, IN_SET) == 1)
        .step("interrupt who is in it, acknowledged", |s| {
            s.cached_by_cpu0 &= !s.cpu0_is_named;
            s.shot_down = true;
        })
        .always(|s| {
            let stale = s.shot_down && s.cached_by_cpu0;
            ensure(!stale, "a translation outlives the shootdown")
        });
    with_buffers(model, |s| &mut s.memory).explore()
}

#[test]
fn activating_without_a_fence_keeps_a_translation_past_the_shootdown() {
    activate_and_shootdown(NOT_THE_FIRST).must_fail("a translation outlives the shootdown");
}

#[test]
fn shooting_down_without_a_fence_misses_a_cpu_that_activates() {
    activate_and_shootdown(NOT_THE_SECOND).must_fail("a translation outlives the shootdown");
}

#[test]
fn no_translation_outlives_a_shootdown_when_both_sides_fence() {
    activate_and_shootdown(BOTH).must_pass();
}

/// The second pair's other word: the references that get-user-pages holds.
const REFERENCES: usize = 1;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Frame {
    memory: Memory<2>,
    free: bool,
    used: bool,
}

fn get_user_pages([getter_fences, decider_fences]: [bool; 2], reads_again: bool) -> Report {
    let frame = Frame { memory: Memory::new([1, 0]), free: false, used: false };
    let model =
        Model::new(frame)
            .thread("CPU 0 gets the page")
            .step("read the entry", |f| {
                if f.memory.load(0, ENTRY) == 1 { Step::Next } else { Step::Done }
            })
            .step("try to get the frame", |f| f.memory.store(0, REFERENCES, 1))
            .step_if(getter_fences, "fence", |f| f.memory.fence(0))
            .step_if(reads_again, "read the entry again", |f| {
                if f.memory.load(0, ENTRY) == 1 { Step::Next } else { Step::Goto("put it back") }
            })
            .step("use the frame", |f| f.used = true)
            .step("stop", |f| f.used = false)
            .step("put it back", |f| f.memory.store(0, REFERENCES, 0))
            .thread("CPU 1 decides")
            .step("swap the entry", |f| f.memory.store(1, ENTRY, 0))
            .step_if(decider_fences, "fence", |f| f.memory.fence(1))
            .step("read the count, free the frame at none", |f| {
                f.free = f.memory.load(1, REFERENCES) == 0;
            })
            .always(|f| ensure(!(f.used && f.free), "a free frame is used"));
    with_buffers(model, |f| &mut f.memory).explore()
}

#[test]
fn getting_a_page_without_reading_the_entry_again_uses_a_free_frame() {
    get_user_pages(BOTH, false).must_fail("a free frame is used");
}

#[test]
fn getting_a_page_without_a_fence_uses_a_free_frame() {
    get_user_pages(NOT_THE_FIRST, true).must_fail("a free frame is used");
}

#[test]
fn deciding_without_a_fence_frees_a_frame_in_use() {
    get_user_pages(NOT_THE_SECOND, true).must_fail("a free frame is used");
}

#[test]
fn a_frame_in_use_is_never_free_when_both_sides_fence_and_the_getter_reads_again() {
    get_user_pages(BOTH, true).must_pass();
}
