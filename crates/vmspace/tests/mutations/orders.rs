//! Steps in the wrong order: somebody gets between.

use super::hoard::Hoard;
use super::{BASE, LEAF, PAGE, RW, SpaceOf, byte_at, frame_at, with_space};
use crate::machine::{ANYWHERE, Machine, at_table, leaf_table, on_cpu, translation, when_waiting};
use crate::steps::Steps;
use std::thread;
use vmspace::format::{Format, Leaf, Rights, Sv48};
use vmspace::{Access, FaultError, Frame, Map, MaySleep};

/// Before anybody acknowledges the next shootdown: step 1; when somebody has done step 2, CPU 1
/// stores at [`BASE`] through what its TLB has; step 3.
fn store_before_acknowledging(space: &SpaceOf<'_>, steps: &Steps) {
    let (id, steps) = (space.id(), steps.clone());
    space.vm().platform().before_acknowledging(move |machine| {
        steps.done(1);
        steps.after(2);
        machine.store_cached(1, id, BASE, 9);
        steps.done(3);
    });
}

/// Runs `here` as it is, and `there` on a CPU of its own.
pub fn beside(cpu: usize, there: impl FnOnce(&mut MaySleep) + Send, here: impl FnOnce()) {
    thread::scope(|scope| {
        scope.spawn(|| on_cpu(cpu, there));
        here();
    });
}

/// CPU 0 makes a page read-only; before CPU 1 has acknowledged, CPU 2 does the same. When its call
/// has returned, nobody may store any more, whoever sent the shootdown.
#[test]
fn unlocking_before_the_acknowledgements_lets_a_call_return_too_early() {
    with_space(|space, ms| {
        let steps = Steps::default();
        Machine::store(space, ms, 1, BASE, 7);
        store_before_acknowledging(space, &steps);
        let on_cpu_2 = |ms: &mut MaySleep| {
            steps.after(1);
            // Either the call returns at once, or it waits for the lock.
            let waits = steps.clone();
            when_waiting(move || waits.done(2));
            space.protect(ms, BASE, PAGE, Rights::READ).unwrap();
            let then = byte_at(space, ms, BASE);
            steps.done(2);
            steps.after(3);
            assert_eq!(byte_at(space, ms, BASE), then, "a page that has been made read-only");
        };
        beside(2, on_cpu_2, || space.protect(ms, BASE, PAGE, Rights::READ).unwrap());
    });
}

/// CPU 1 reads a page that is shared since a fork; CPU 0 writes it, which copies. Before CPU 1 has
/// acknowledged, CPU 2 comes: two CPUs must not find different pages at one address.
#[test]
fn a_new_entry_before_the_flush_gives_one_address_two_pages() {
    with_space(|space, ms| {
        let steps = Steps::default();
        Machine::store(space, ms, 0, BASE, 7);
        let child = space.fork(ms).unwrap();
        assert_eq!(Machine::load(space, ms, 1, BASE), 7);
        let (id, table) = (space.id(), leaf_table(space, ms, BASE).unwrap());
        let flushed = steps.clone();
        space.vm().platform().before_acknowledging(move |machine| {
            let held = machine.cached_page(1, id, BASE).map(|leaf| leaf.frame);
            let found = machine.leaf_in(table, BASE).map(|leaf| leaf.frame);
            assert!(held.is_some() && found.is_none_or(|frame| Some(frame) == held));
            flushed.done(1);
        });
        Machine::store(space, ms, 0, BASE, 8);
        steps.after(1);
        child.exit(ms);
    });
}

/// CPU 0 unmaps a page; before CPU 1 has acknowledged, CPU 2 takes all memory that is free.
#[test]
fn freeing_before_the_flush_lets_a_stale_store_reach_a_reused_frame() {
    with_space(|space, ms| {
        let steps = Steps::default();
        Machine::store(space, ms, 1, BASE, 7);
        let other = Hoard::new(space.vm(), ms);
        let frame = frame_at(space, ms, BASE);
        store_before_acknowledging(space, &steps);
        let on_cpu_2 = |ms: &mut MaySleep| {
            steps.after(1);
            let taken = other.take(ms, frame);
            steps.done(2);
            steps.after(3);
            let byte = taken.map(|at| other.byte_at(ms, at));
            assert!(matches!(byte, None | Some(0)), "a page of another space was written");
        };
        beside(2, on_cpu_2, || space.unmap(ms, BASE, PAGE).unwrap());
    });
}

/// When this thread looks into `table`: step 1, and on after step 2.
pub fn stop_at(table: Frame, steps: &Steps) {
    let steps = steps.clone();
    at_table(table, move || {
        steps.done(1);
        steps.after(2);
    });
}

/// A page full of what would be entries that name a frame that nobody has.
fn poison() -> Vec<u8> {
    let frame = Frame(0xBAD);
    let leaf = Leaf { frame, rights: RW | Rights::USER, accessed: true, dirty: true };
    Sv48::leaf(0, leaf).to_le_bytes().repeat(512)
}

/// A walker has read the entry that names a leaf table. Before it looks into it, CPU 1 unmaps all
/// that the table maps, and fills all memory that is free with what would be entries.
#[test]
fn tables_reused_without_a_grace_period_corrupt_a_walker() {
    with_space(|space, ms| {
        let (other, steps) = (Hoard::new(space.vm(), ms), Steps::default());
        Machine::store(space, ms, 0, BASE, 7);
        let (frame, table) = (frame_at(space, ms, BASE), leaf_table(space, ms, BASE).unwrap());
        let on_cpu_1 = |ms: &mut MaySleep| {
            steps.after(1);
            space.unmap(ms, BASE, LEAF).unwrap();
            other.fill(ms, &poison());
            steps.done(2);
        };
        beside(1, on_cpu_1, || {
            stop_at(table, &steps);
            let found = translation(space, ms, BASE);
            assert!(found.is_none_or(|t| t.frame == frame), "a walker found {found:?}");
        });
    });
}

/// A call has found its leaf table and is about to take the lock. CPU 1 unmaps all that the table
/// maps, and maps the same anew.
#[test]
fn a_detached_table_whose_lock_is_taken_swallows_a_change() {
    with_space(|space, ms| {
        let steps = Steps::default();
        Machine::store(space, ms, 0, BASE, 7);
        let table = leaf_table(space, ms, BASE).unwrap();
        let on_cpu_1 = |ms: &mut MaySleep| {
            steps.after(1);
            space.unmap(ms, BASE, LEAF).unwrap();
            space.map(ms, Map::anonymous(LEAF, RW).at(BASE)).unwrap();
            steps.done(2);
        };
        beside(1, on_cpu_1, || {
            stop_at(table, &steps);
            space.protect(ms, BASE + PAGE, PAGE, Rights::READ).unwrap();
            let written = space.fault(ms, BASE + PAGE, Access::Write);
            assert_eq!(written, Err(FaultError::Denied), "after the page was made read-only");
        });
    });
}

/// A page is about to be held without locks: its entry was read. CPU 1 forks, writes in the parent,
/// which copies, and in the child, whose own the page becomes.
#[test]
fn a_page_held_by_what_its_entry_said_before_is_the_childs() {
    with_space(|space, ms| {
        let steps = Steps::default();
        Machine::store(space, ms, 0, BASE, 7);
        // What the entry lies in is looked up in a list, after the entry is read: he stops there.
        space.protect(ms, BASE + PAGE, PAGE, Rights::READ).unwrap();
        let table = leaf_table(space, ms, BASE).unwrap();
        let on_cpu_1 = |ms: &mut MaySleep| {
            steps.after(1);
            let child = space.fork(ms).unwrap();
            child.enter(1);
            Machine::store(space, ms, 1, BASE, 8);
            Machine::store(&child, ms, 1, BASE, 9);
            steps.done(2);
            steps.after(3);
            child.exit(ms);
        };
        beside(1, on_cpu_1, || {
            let stop = steps.clone();
            at_table(table, move || stop_at(ANYWHERE, &stop));
            let pinned = space.pin_fast(&space.vm().walk(ms), BASE, true);
            steps.after(2);
            let own = frame_at(space, ms, BASE);
            let held = pinned.map_or(own, |pinned| pinned.frame());
            steps.done(3);
            assert_eq!(held, own, "a page held for writing is not the space's");
        });
    });
}
