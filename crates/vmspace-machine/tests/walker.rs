//! Walks over hand-made tables, in every format.
#![cfg(not(loom))]

#[macro_use]
mod common;

use common::{ALL, World, read_only, read_write};
use std::sync::atomic::Ordering;
use std::thread;
use vmspace::format::{Entry, Format, Geometry, Leaf, Rights, Soft};
use vmspace::{Access, Cell, Frame};
use vmspace_machine::walker::{Table, WalkCounts, frame_in_leaf, look_up, walk};
use vmspace_machine::{Config, Manager};

in_every_format!(
    rights_decide,
    accessed_and_dirty_are_set_as_needed,
    leaves_at_every_level,
    absent_entries_end_a_walk_and_stay_as_they_are,
    frames_outside_of_memory_end_a_walk,
    no_bit_is_lost_and_none_is_set_in_an_entry_that_does_not_grant,
);

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Execute];

/// The walk's frame for base page `page`, if it is granted.
fn walked<F: Format>(space: &common::TestSpace<F>, page: u64, access: Access) -> Option<Frame> {
    let memory = space.world.hardware().memory();
    let found = walk::<F>(
        memory,
        Table::root::<F>(space.root),
        page,
        access,
        &mut WalkCounts::default(),
        |_| (),
    )?;
    match found.entry {
        Entry::Leaf(leaf) => Some(frame_in_leaf::<F>(found.level, leaf, page)),
        _ => None,
    }
}

fn rights_decide<F: Format>() {
    let world = World::<F>::new(Config::default());
    let space = world.space(1);
    let execute_only = Rights::EXECUTE | Rights::USER;
    for (page, rights) in
        [read_only(), read_write(), execute_only, ALL, Rights::READ | Rights::WRITE, Rights::USER]
            .into_iter()
            .enumerate()
    {
        let page = page as u64 * 1_000;
        let frame = space.map_fresh(page, rights);
        let Entry::Leaf(leaf) = space.entry(0, page) else { panic!("no leaf") };
        for (access, right) in
            ACCESSES.into_iter().zip([Rights::READ, Rights::WRITE, Rights::EXECUTE])
        {
            let granted = leaf.rights.contains(right | Rights::USER);
            assert_eq!(
                walked(&space, page, access),
                granted.then_some(frame),
                "{rights:?} {access:?}"
            );
        }
    }
}

fn accessed_and_dirty_are_set_as_needed<F: Format>() {
    let world = World::<F>::new(Config::default());
    let space = world.space(1);
    space.map_fresh(5, read_write());
    let memory = world.hardware().memory();
    let mut counts = WalkCounts::default();
    let mut leaf_after = |access| {
        let found = walk::<F>(memory, Table::root::<F>(space.root), 5, access, &mut counts, |_| ())
            .unwrap();
        assert_eq!(found.entry, space.entry(0, 5));
        match found.entry {
            Entry::Leaf(leaf) => (leaf.accessed, leaf.dirty),
            _ => panic!("no leaf"),
        }
    };
    assert_eq!(leaf_after(Access::Read), (true, false));
    assert_eq!(leaf_after(Access::Write), (true, true));
    assert_eq!(leaf_after(Access::Read), (true, true));
    assert_eq!((counts.walks, counts.accessed, counts.dirty, counts.retries), (3, 1, 1, 0));
    let before = space.slot(0, 5).0.load(Ordering::Relaxed);
    assert!(look_up::<F>(memory, space.root, 5).is_some());
    assert_eq!(space.slot(0, 5).0.load(Ordering::Relaxed), before);
}

fn leaves_at_every_level<F: Format>() {
    let levels = (1..F::LEVELS).filter(|level| F::LEAF_LEVELS >> level & 1 == 1);
    // The largest are beyond the memory of the test: their frame is checked, not touched.
    for level in levels {
        let world = World::<F>::new(Config::default());
        let space = world.space(1);
        let pages = F::slot_pages(level);
        let frame = Frame(F::slot_pages(level) * 3);
        space.map(level, pages * 2, frame, read_only());
        for offset in [0, 1, pages / 2, pages - 1] {
            let walked = walked(&space, pages * 2 + offset, Access::Read);
            assert_eq!(walked, Some(frame.add(offset)), "level {level}");
        }
        assert_eq!(walked(&space, pages * 2, Access::Write), None);
        assert_eq!(walked(&space, pages * 3, Access::Read), None);
    }
}

fn absent_entries_end_a_walk_and_stay_as_they_are<F: Format>() {
    let world = World::<F>::new(Config::default());
    let space = world.space(1);
    let none = Leaf { frame: world.frame(), rights: Rights::USER, accessed: false, dirty: false };
    let words = [0, F::soft(Soft::InTransit), F::soft(F::SWAP.last()), F::leaf(0, none)];
    for word in words {
        space.slot(0, 7).0.swap(word);
        for access in ACCESSES {
            assert_eq!(walked(&space, 7, access), None);
            assert_eq!(space.slot(0, 7).0.load(Ordering::Relaxed), word);
        }
    }
}

fn frames_outside_of_memory_end_a_walk<F: Format>() {
    let world = World::<F>::new(Config::default());
    let space = world.space(1);
    let end = Frame(world.machine.frames().end);
    for table in [end, Frame(0), Frame((1 << 32) - 1)] {
        space.slot(1, 0).0.swap(F::table(1, table));
        assert_eq!(walked(&space, 0, Access::Read), None);
        assert!(look_up::<F>(world.hardware().memory(), space.root, 0).is_none());
    }
}

/// One thread changes an entry as the library does (swaps), another walks it for writing. What
/// each swap takes out is what was put in, or that with accessed and dirty, and these only where
/// writing was granted; and all that the walker says it has set is found.
fn no_bit_is_lost_and_none_is_set_in_an_entry_that_does_not_grant<F: Format>() {
    const SWAPS: u64 = 20_000;
    let world = World::<F>::new(Config::default());
    let space = world.space(1);
    let clean = |frame, rights| F::leaf(0, Leaf { frame, rights, accessed: false, dirty: false });
    let (a, b) = (world.frame(), world.frame());
    let granting = [clean(a, read_write()), clean(b, read_write())];
    let refusing = [clean(a, read_only()), 0, F::soft(Soft::Swap { device: 0, slot: 77 })];
    let words: Vec<_> = granting.into_iter().chain(refusing).collect();
    let slot = space.slot(0, 3).0;
    slot.swap(words[0]);
    let done = std::sync::atomic::AtomicBool::new(false);
    let (found_dirty, counts) = thread::scope(|scope| {
        let walker = scope.spawn(|| {
            let mut counts = WalkCounts::default();
            let memory = world.hardware().memory();
            while !done.load(Ordering::Relaxed) {
                walk::<F>(
                    memory,
                    Table::root::<F>(space.root),
                    3,
                    Access::Write,
                    &mut counts,
                    |_| (),
                );
            }
            counts
        });
        let (mut was, mut found_dirty, mut turns) = (words[0], 0, 0);
        // A loaded host may let the walker run late.
        while turns < SWAPS || (found_dirty == 0 && turns < 1000 * SWAPS) {
            let is = words[(turns * 7 % 11) as usize % words.len()];
            let found = slot.swap(is);
            let touched = F::touched(0, was, true);
            let granted = granting.contains(&was);
            assert!(found == was || granted && found == touched, "{was:#x} became {found:#x}");
            found_dirty += u64::from(found != was);
            was = is;
            turns += 1;
            // For hosts with one processor.
            if turns % 64 == 0 {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
        let counts = walker.join().unwrap();
        found_dirty += u64::from(slot.load(Ordering::Relaxed) != was);
        (found_dirty, counts)
    });
    assert!(found_dirty > 0);
    assert_eq!(found_dirty, counts.dirty);
    assert_eq!(found_dirty, counts.accessed);
}
