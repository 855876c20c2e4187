//! A shootdown left out: the page is reached through what a TLB still has.

use super::hoard::Hoard;
use super::{BASE, LEAF, PAGE, RW, SpaceOf, byte_at, frame_at, with_space};
use crate::machine::Machine;
use vmspace::format::Rights;
use vmspace::{Advice, Map, MaySleep, Object, Remap, Sharing};

/// User code on CPU 1 stores 7 at [`BASE`]: its TLB has the page, writable.
fn warm(space: &SpaceOf<'_>, ms: &mut MaySleep) {
    Machine::store(space, ms, 1, BASE, 7);
}

/// User code on CPU 1 stores 9 at [`BASE`] if its TLB still lets it.
fn stale_store(space: &SpaceOf<'_>) {
    space.vm().platform().store_cached(1, space.id(), BASE, 9);
}

#[test]
fn unmap_without_shootdown_lets_a_stale_store_reach_a_reused_frame() {
    with_space(|space, ms| {
        warm(space, ms);
        let other = Hoard::new(space.vm(), ms);
        let frame = frame_at(space, ms, BASE);
        space.unmap(ms, BASE, PAGE).unwrap();
        let at = other.take(ms, frame).expect("the frame is free");
        stale_store(space);
        assert_eq!(other.byte_at(ms, at), 0, "a page that another space has just been given");
    });
}

#[test]
fn protect_without_shootdown_lets_a_store_reach_a_read_only_page() {
    with_space(|space, ms| {
        warm(space, ms);
        space.protect(ms, BASE, PAGE, Rights::READ).unwrap();
        stale_store(space);
        assert_eq!(byte_at(space, ms, BASE), 7, "a page that has been made read-only");
    });
}

#[test]
fn fork_without_shootdown_lets_the_parent_write_into_the_child() {
    with_space(|space, ms| {
        warm(space, ms);
        let child = space.fork(ms).unwrap();
        stale_store(space);
        assert_eq!(byte_at(&child, ms, BASE), 7, "the child's page");
    });
}

#[test]
fn a_copy_without_shootdown_leaves_another_thread_on_the_old_page() {
    with_space(|space, ms| {
        warm(space, ms);
        let _child = space.fork(ms).unwrap();
        assert_eq!(Machine::load(space, ms, 1, BASE), 7);
        Machine::store(space, ms, 0, BASE, 8);
        assert_eq!(Machine::load(space, ms, 1, BASE), 8, "what the other thread has stored");
    });
}

#[test]
fn dont_need_without_shootdown_leaves_the_old_contents() {
    with_space(|space, ms| {
        warm(space, ms);
        space.advise(ms, BASE, PAGE, Advice::DontNeed).unwrap();
        assert_eq!(Machine::load(space, ms, 1, BASE), 0, "a page that was given up");
    });
}

/// An object of one page, mapped at [`BASE`], where user code on CPU 1 has stored 7.
fn warm_object<'vm>(
    space: &SpaceOf<'vm>,
    ms: &mut MaySleep,
    pager: u64,
    sharing: Sharing,
) -> Object<'vm, Machine> {
    let object = space.vm().object(ms, PAGE, pager).unwrap();
    let map = Map { sharing, ..Map::anonymous(PAGE, RW).at(BASE) };
    space.map_object(ms, map, &object, 0).unwrap();
    warm(space, ms);
    object
}

#[test]
fn truncation_without_shootdown_lets_a_stale_store_reach_a_reused_frame() {
    truncated_under_a_store(Sharing::Shared);
}

#[test]
fn truncation_without_shootdown_lets_a_stale_store_reach_a_copy_s_reused_frame() {
    truncated_under_a_store(Sharing::Private);
}

fn truncated_under_a_store(sharing: Sharing) {
    with_space(|space, ms| {
        let object = warm_object(space, ms, 0, sharing);
        let other = Hoard::new(space.vm(), ms);
        let frame = frame_at(space, ms, BASE);
        object.set_len(ms, 0).unwrap();
        let at = other.take(ms, frame).expect("the frame is free");
        stale_store(space);
        assert_eq!(other.byte_at(ms, at), 0, "a page that another space has just been given");
    });
}

#[test]
fn cleaning_without_shootdown_loses_what_is_stored_next() {
    with_space(|space, ms| {
        let file = warm_object(space, ms, 1, Sharing::Shared);
        file.sync(ms, 0..PAGE).unwrap();
        Machine::store(space, ms, 1, BASE, 9);
        file.sync(ms, 0..PAGE).unwrap();
        assert_eq!(space.vm().platform().files().of(1)[0], 9, "what was stored between the syncs");
    });
}

/// A whole table's worth is unmapped, and the same mapped anew: CPU 1 must not go on in the old table,
/// whose words nobody clears.
#[test]
fn unlinked_tables_not_named_leave_a_walk_in_the_old_table() {
    with_space(|space, ms| {
        warm(space, ms);
        let other = Hoard::new(space.vm(), ms);
        let frame = frame_at(space, ms, BASE);
        space.unmap(ms, BASE, LEAF).unwrap();
        other.take(ms, frame).expect("the frame is free");
        space.map(ms, Map::anonymous(LEAF, RW).at(BASE)).unwrap();
        Machine::store(space, ms, 0, BASE, 8);
        assert_eq!(Machine::load(space, ms, 1, BASE), 8, "what the other thread has stored");
    });
}

/// CVE-2018-18281.
#[test]
fn remap_without_shootdown_lets_a_store_reach_a_page_that_has_moved_away() {
    for pages in [1, 512] {
        with_space(|space, ms| {
            warm(space, ms);
            let to = BASE + (7 << 30);
            let remap = Remap {
                address: BASE,
                old_length: pages * PAGE,
                new_length: pages * PAGE,
                may_move: true,
                fixed: true,
                keep_source: false,
                new_address: to,
            };
            assert_eq!(space.remap(ms, remap), Ok(to));
            stale_store(space);
            assert_eq!(byte_at(space, ms, to), 7, "a page that has moved");
        });
    }
}
