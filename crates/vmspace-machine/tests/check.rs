//! Checking mode: planted stale entries are caught; an open flush is not an alarm.
#![cfg(not(loom))]

mod common;

use common::{TestSpace, World, at, read_only, read_write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use vmspace::format::{Aarch64Granule64K, Entry, Format, Leaf, Rights, Soft, Sv48, X86_64};
use vmspace::{Access, Cell, Frame, SpaceId};
use vmspace_machine::check::Why;
use vmspace_machine::mmu::Mmu;
use vmspace_machine::{Config, HartContext, TlbTraits, Violation};

const PAGE: u64 = 0x123;

/// Caches `PAGE` by a write (or a read, where it is read-only), lets `change` change the entry
/// behind the hart's back, and reads it again.
fn use_after<F: Format>(
    tlb: TlbTraits,
    rights: Rights,
    change: impl Fn(&TestSpace<'_, F>, Frame),
) -> Result<bool, Box<Violation>> {
    let world = World::<F>::new(Config { tlb, check: true, ..Config::default() });
    let space = world.space(9);
    let mut hart = HartContext::new(&world, 0).unwrap();
    hart.load(&space);
    let frame = space.map_fresh(PAGE, rights);
    let first = if rights.contains(Rights::WRITE) { Access::Write } else { Access::Read };
    hart.inside(|_, mmu| mmu.translate(at::<F>(PAGE), first).unwrap()).unwrap();
    change(&space, frame);
    hart.inside(|_, mmu| mmu.translate(at::<F>(PAGE), Access::Read).is_ok())
}

/// What `use_after` finds, with the lock of the node free, and with it held.
fn verdicts(
    rights: Rights,
    change: impl Fn(&TestSpace<'_, Sv48>, Frame),
) -> (Option<Why>, Option<Why>) {
    let verdict = |tlb, held: bool| {
        let result = use_after(tlb, rights, |space, frame| {
            let (_, table) = space.slot(0, PAGE);
            if held {
                space.world.unsettled.lock().unwrap().insert(table.0);
            }
            change(space, frame);
        });
        result.map_err(|violation| violation.why).err()
    };
    let normal = (verdict(TlbTraits::NORMAL, false), verdict(TlbTraits::NORMAL, true));
    let sticky = (verdict(TlbTraits::STICKY, false), verdict(TlbTraits::STICKY, true));
    assert_eq!(normal, sticky);
    normal
}

fn put(space: &TestSpace<'_, Sv48>, leaf: Leaf) {
    space.slot(0, PAGE).0.store(Sv48::leaf(0, leaf), Ordering::Release);
}

#[test]
fn what_has_not_changed_is_served() {
    assert_eq!(verdicts(read_write(), |_, _| ()), (None, None));
    // Old again: the stealer clears accessed without a flush.
    let aged = |space: &TestSpace<'_, Sv48>, frame| {
        put(space, Leaf { frame, rights: read_write(), accessed: false, dirty: true });
    };
    assert_eq!(verdicts(read_write(), aged), (None, None));
    // More rights: an upgrade sends no shootdown.
    let upgraded = |space: &TestSpace<'_, Sv48>, frame| space.map(0, PAGE, frame, read_write());
    assert_eq!(verdicts(read_only(), upgraded), (None, None));
}

#[test]
fn absent_is_excused_by_an_open_flush_alone() {
    let cleared = |space: &TestSpace<'_, Sv48>, _| {
        space.slot(0, PAGE).0.store(0, Ordering::Release);
    };
    assert_eq!(verdicts(read_write(), cleared), (Some(Why::Absent), None));
}

#[test]
fn fewer_rights_are_excused_by_an_open_flush_alone() {
    let protected = |space: &TestSpace<'_, Sv48>, frame| {
        put(space, Leaf { frame, rights: read_only(), accessed: true, dirty: true });
    };
    assert_eq!(verdicts(read_write(), protected), (Some(Why::Rights), None));
    let cleaned = |space: &TestSpace<'_, Sv48>, frame| space.map(0, PAGE, frame, read_write());
    assert_eq!(verdicts(read_write(), cleaned), (Some(Why::Rights), None));
}

#[test]
fn another_frame_is_excused_only_where_neither_is_writable() {
    let other = |rights| {
        move |space: &TestSpace<'_, Sv48>, _| {
            space.map_fresh(PAGE, rights);
        }
    };
    let stops = (Some(Why::OtherFrame), Some(Why::OtherFrame));
    assert_eq!(verdicts(read_write(), other(read_write())), stops);
    assert_eq!(verdicts(read_write(), other(read_only())), stops);
    assert_eq!(verdicts(read_only(), other(read_write())), stops);
    assert_eq!(verdicts(read_only(), other(read_only())), (Some(Why::OtherFrame), None));
}

#[test]
fn a_frame_that_changed_hands_is_never_excused() {
    let reused = |space: &TestSpace<'_, Sv48>, frame: Frame| {
        space.world.generations.lock().unwrap().insert(frame.0, 7);
    };
    let stops = Some(Why::Generation { now: Some(7) });
    assert_eq!(verdicts(read_write(), reused), (stops, stops));
}

#[test]
fn tables_that_lead_outside_of_memory_are_never_excused() {
    let wild = |space: &TestSpace<'_, Sv48>, _| {
        space.slot(1, PAGE).0.store(Sv48::table(1, Frame(3)), Ordering::Release);
    };
    let stops = Some(Why::OutsideMemory);
    assert_eq!(verdicts(read_write(), wild), (stops, stops));
}

#[test]
fn the_report_names_hart_address_format_and_both_entries() {
    fn report<F: Format>() -> String {
        let clear = |space: &TestSpace<'_, F>, _| {
            space.slot(0, PAGE).0.swap(0);
        };
        let violation = use_after::<F>(TlbTraits::NORMAL, read_write(), clear).unwrap_err();
        assert_eq!((violation.space, violation.hart), (SpaceId(9), 0));
        violation.to_string()
    }
    let sv48 = report::<Sv48>();
    let lines: Vec<_> = sv48.lines().collect();
    assert_eq!(
        lines[0],
        "stale translation used: hart 0, read at 0x123000, format sv48, space 0x9"
    );
    assert!(lines[1].starts_with("  cached:  0x") && lines[1].contains("rw-u dirty, generation 0"));
    assert!(lines[2].starts_with("  present: 0x0000000000000000 at level 0: absent, in table 0x"));
    assert_eq!(lines[3], "  why:     the entry is absent, and no flush of it is open");
    assert!(report::<X86_64>().contains("format x86-64"));
    assert!(report::<Aarch64Granule64K>().contains("0x1230000, format aarch64-64k"));
}

/// Changes the entry by compare-exchange, as long as hardware sets bits in it meanwhile.
fn change_rights(space: &TestSpace<'_, Sv48>, rights: Rights) {
    let slot = space.slot(0, PAGE).0;
    let mut word = slot.load(Ordering::Acquire);
    while let Err(found) = slot.compare_exchange(
        word,
        Sv48::with_rights(0, word, rights),
        Ordering::AcqRel,
        Ordering::Acquire,
    ) {
        word = found;
    }
}

/// One correct operation: write-protect and make writable again, or replace by `spare`. The lock
/// is held from before the change until all have answered.
fn change_correctly(space: &TestSpace<'_, Sv48>, round: u64, spare: &mut Frame) {
    let (world, (slot, table)) = (space.world, space.slot(0, PAGE));
    world.unsettled.lock().unwrap().insert(table.0);
    if round.is_multiple_of(2) {
        change_rights(space, read_only());
        space.shoot(&[PAGE]);
        change_rights(space, read_write());
    } else {
        let old = slot.swap(Sv48::soft(Soft::InTransit), Ordering::AcqRel);
        space.shoot(&[PAGE]);
        let Entry::Leaf(leaf) = Sv48::decode(0, old) else { panic!("no leaf") };
        *world.generations.lock().unwrap().entry(leaf.frame.0).or_default() += 1;
        space.map(0, PAGE, std::mem::replace(spare, leaf.frame), read_write());
    }
    world.unsettled.lock().unwrap().remove(&table.0);
}

/// A library that write-protects and replaces a page in a loop, correctly, while two harts use it:
/// no alarm. Then it forgets a shootdown: an alarm at the next use.
#[test]
fn open_flushes_are_no_alarm_and_a_missing_one_is() {
    const ROUNDS: u64 = 200;
    let config = Config { harts: 2, tlb: TlbTraits::STICKY, check: true, ..Config::default() };
    let world = World::<Sv48>::new(config);
    let space = world.space(1);
    space.map_fresh(PAGE, read_write());
    let (done, cached, forgotten) = (AtomicBool::new(false), Barrier::new(3), Barrier::new(3));
    thread::scope(|scope| {
        let harts: Vec<_> = (0..2)
            .map(|index| {
                let (world, space) = (&world, &space);
                let (done, cached, forgotten) = (&done, &cached, &forgotten);
                scope.spawn(move || {
                    let mut hart = HartContext::new(world, index).unwrap();
                    hart.load(space);
                    while !done.load(Ordering::Acquire) {
                        hart.inside(|_, mmu| use_and_answer(mmu)).expect("no alarm");
                    }
                    assert!(hart.inside(|_, mmu| use_and_answer(mmu)).expect("no alarm"));
                    cached.wait();
                    forgotten.wait();
                    hart.inside(|_, mmu| use_and_answer(mmu)).unwrap_err().why
                })
            })
            .collect();
        let mut spare = world.frame();
        (0..ROUNDS).for_each(|round| change_correctly(&space, round, &mut spare));
        done.store(true, Ordering::Release);
        cached.wait();
        space.slot(0, PAGE).0.store(0, Ordering::Release);
        forgotten.wait();
        for hart in harts {
            assert_eq!(hart.join().unwrap(), Why::Absent);
        }
    });
    assert!(world.machine.statistics().harts.checks > 0);
}

/// Uses the page some times, answering in between; whether it was there the last time.
fn use_and_answer(mmu: &mut Mmu<'_, World<Sv48>>) -> bool {
    let mut there = false;
    for turn in 0..20 {
        let access = if turn % 2 == 0 { Access::Write } else { Access::Read };
        there = mmu.translate(at::<Sv48>(PAGE), access).is_ok();
        mmu.answer();
    }
    there
}
