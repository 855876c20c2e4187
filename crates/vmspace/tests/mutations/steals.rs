//! Pages that are stolen although somebody relies on them.

use super::{BASE, LEAF, PAGE, SpaceOf, byte_at, frame_at, with_space};
use crate::machine::{Machine, translation};
use vmspace::{Advice, MaySleep};

/// Memory is short: all that can go goes.
fn steal_all(space: &SpaceOf<'_>, ms: &mut MaySleep) {
    while space.vm().reclaim(ms, 1000) != 0 {}
}

fn with_swap(test: impl FnOnce(&SpaceOf<'_>, &mut MaySleep)) {
    with_space(|space, ms| {
        space.vm().swap_on(ms, 1, 1024, 0).unwrap();
        Machine::store(space, ms, 1, BASE, 7);
        test(space, ms);
    });
}

#[test]
fn stealing_without_shootdown_loses_what_is_stored_next() {
    with_swap(|space, ms| {
        space.advise(ms, BASE, PAGE, Advice::PageOut).unwrap();
        let stored = space.vm().platform().store_cached(1, space.id(), BASE, 9);
        assert_eq!(byte_at(space, ms, BASE), if stored { 9 } else { 7 }, "what was stored last");
    });
}

#[test]
fn a_locked_page_is_stolen() {
    with_swap(|space, ms| {
        space.lock(ms, BASE, PAGE, false).unwrap();
        steal_all(space, ms);
        assert!(translation(space, ms, BASE).is_some(), "mlock(2) has promised that it stays");
    });
}

#[test]
fn a_stolen_page_parts_its_space_from_a_device() {
    with_swap(|space, ms| {
        let pinned = space.pin(ms, BASE, true).unwrap();
        steal_all(space, ms);
        Machine::store(space, ms, 1, BASE, 8);
        assert_eq!(frame_at(space, ms, BASE), pinned.frame(), "the device has another page");
        assert_eq!(space.advise(ms, BASE, LEAF, Advice::PageOut), Ok(()));
        assert_eq!(byte_at(space, ms, BASE), 8);
    });
}
