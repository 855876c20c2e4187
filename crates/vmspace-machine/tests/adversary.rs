//! The traits of a TLB, one by one, over hand-made tables: each does what the manuals allow, and
//! the checker tells that from what they do not.
#![cfg(not(loom))]

mod common;

use common::{TestSpace, World, at, host, read_only, read_write};
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::thread;
use vmspace::format::{Aarch64Granule64K, Entry, Format, Geometry, Leaf, Rights, Sv48};
use vmspace::{Access, Frame};
use vmspace_machine::check::Why;
use vmspace_machine::riscv::Bus;
use vmspace_machine::{Config, HartContext, TlbTraits, Violation};

const PAGE: u64 = 0x123;

type Hart<'m, F> = HartContext<'m, World<F>>;

fn world<F: Format>(tlb: TlbTraits, check: bool) -> World<F> {
    World::new(Config { harts: 2, tlb, check, seed: 7, ..Config::default() })
}

fn hart<'m, F: Format>(space: &TestSpace<'m, F>, index: usize) -> Hart<'m, F> {
    let mut hart = HartContext::new(space.world, index).unwrap();
    hart.load(space);
    hart
}

/// Reads a page; where it was found.
fn reads<F: Format>(hart: &mut Hart<'_, F>, page: u64) -> Result<Option<*mut u8>, Box<Violation>> {
    hart.inside(|_, mmu| mmu.translate(at::<F>(page), Access::Read).ok())
}

/// Puts another table in the place of the leaf table over `PAGE`: it maps another frame there.
fn replace_table(space: &TestSpace<'_, Sv48>) -> Frame {
    let (slot, _) = space.slot(1, PAGE);
    let table = space.world.frame();
    slot.store(Sv48::table(1, table), Ordering::Release);
    space.map_fresh(PAGE, read_only())
}

#[test]
fn a_table_is_remembered_until_tables_are_said_to_be_unlinked() {
    let world = world::<Sv48>(TlbTraits::NONLEAF, false);
    let space = world.space(1);
    let old = space.map_fresh(PAGE, read_only());
    let mut hart = hart(&space, 0);
    assert_eq!(reads(&mut hart, PAGE), Ok(Some(host(&world, old))));
    let new = replace_table(&space);
    space.shoot(&[PAGE]);
    assert_eq!(reads(&mut hart, PAGE), Ok(Some(host(&world, old))));
    space.shoot_all();
    assert_eq!(reads(&mut hart, PAGE), Ok(Some(host(&world, old))));
    space.shoot_tables();
    space.shoot(&[PAGE]);
    assert_eq!(reads(&mut hart, PAGE), Ok(Some(host(&world, new))));
}

#[test]
fn a_walk_from_an_unlinked_table_is_excused_by_an_open_flush_alone() {
    for held in [false, true] {
        let world = world::<Sv48>(TlbTraits::NONLEAF, true);
        let space = world.space(1);
        space.map_fresh(PAGE, read_only());
        space.map_fresh(PAGE + 1, read_only());
        let mut hart = hart(&space, 0);
        reads(&mut hart, PAGE).unwrap();
        let (slot, parent) = space.slot(1, PAGE);
        if held {
            world.unsettled.lock().unwrap().insert(parent.0);
        }
        slot.store(0, Ordering::Release);
        // The page beside, of which no leaf is cached: the pointer alone is stale.
        let found = reads(&mut hart, PAGE + 1);
        assert_eq!(found.is_ok(), held);
        let Err(violation) = found else { continue };
        assert_eq!(violation.why, Why::Unlinked);
        let text = violation.to_string();
        assert!(text.contains("at level 1: table 0x") && text.contains("unlinked"), "{text}");
    }
}

/// Hart 0 reads a page, `change` changes the tables, hart `then` reads the page.
fn brought_in<F: Format>(
    tlb: TlbTraits,
    then: usize,
    change: impl Fn(&TestSpace<'_, F>, &mut Hart<'_, F>),
) -> Option<Why> {
    let world = world::<F>(tlb, true);
    let space = world.space(1);
    let mut harts = [hart(&space, 0), hart(&space, 1)];
    space.map_fresh(PAGE, read_only());
    reads(&mut harts[0], PAGE).unwrap();
    change(&space, &mut harts[0]);
    reads(&mut harts[then], PAGE).map_err(|violation| violation.why).err()
}

const UNBROKEN: Option<Why> = Some(Why::Unbroken { holder: 0 });

#[test]
fn a_second_translation_of_a_page_is_seen_where_the_format_forbids_it() {
    fn other_frame<F: Format>(space: &TestSpace<'_, F>, _: &mut Hart<'_, F>) {
        space.map_fresh(PAGE, read_only());
    }
    for tlb in [TlbTraits::NORMAL, TlbTraits::STICKY, TlbTraits::ADVERSARIAL] {
        assert_eq!(brought_in::<Aarch64Granule64K>(tlb, 1, other_frame), UNBROKEN);
        assert_eq!(brought_in::<Sv48>(tlb, 1, other_frame), None);
    }
}

#[test]
fn absent_then_shot_down_then_new_is_the_way() {
    for shot in [false, true] {
        let change = |space: &TestSpace<'_, Aarch64Granule64K>, _: &mut Hart<'_, _>| {
            space.slot(0, PAGE).0.store(0, Ordering::Release);
            if shot {
                space.shoot(&[PAGE]);
            }
            space.map_fresh(PAGE, read_only());
        };
        let expected = if shot { None } else { UNBROKEN };
        assert_eq!(brought_in(TlbTraits::NORMAL, 1, change), expected);
        // The hart itself, which is to answer first where there is something to answer.
        let own = brought_in(TlbTraits::NORMAL, 0, change);
        assert_eq!(own.is_none(), shot);
    }
}

#[test]
fn forgetting_by_itself_invalidates_nothing() {
    let evicted = |space: &TestSpace<'_, Aarch64Granule64K>, hart: &mut Hart<'_, _>| {
        space.map_fresh(PAGE + 1024, read_only());
        reads(hart, PAGE + 1024).unwrap();
        space.map_fresh(PAGE, read_only());
    };
    assert_eq!(brought_in(TlbTraits::NORMAL, 0, evicted), UNBROKEN);
}

#[test]
fn another_size_is_another_translation() {
    type F = Aarch64Granule64K;
    let world = world::<F>(TlbTraits::NORMAL, true);
    let space = world.space(1);
    let pages = F::slot_pages(1);
    let leaf = |frame| Leaf { frame, rights: read_only(), accessed: true, dirty: false };
    let start = Frame(world.machine.frames().start.next_multiple_of(pages));
    space.slot(1, PAGE).0.store(F::leaf(1, leaf(start)), Ordering::Release);
    let mut harts = [hart(&space, 0), hart(&space, 1)];
    // Memory ends before the leaf does: only pages that lie in it are read.
    reads(&mut harts[0], 5).unwrap();
    let table = world.frame();
    space.slot(1, PAGE).0.store(F::table(1, table), Ordering::Release);
    space.map(0, 9, start.add(9), read_only());
    let violation = reads(&mut harts[1], 9).unwrap_err();
    assert_eq!(violation.why, Why::Unbroken { holder: 0 });
    assert!(violation.to_string().starts_with("break-before-make left out: hart 1"), "{violation}");
}

#[test]
fn a_hart_that_left_a_space_holds_nothing_of_it() {
    type F = Aarch64Granule64K;
    let world = World::<F>::new(Config { harts: 2, ids: 1, check: true, ..Config::default() });
    let (space, other) = (world.space(1), world.space(2));
    space.map_fresh(PAGE, read_only());
    let mut harts = [hart(&space, 0), hart(&space, 1)];
    reads(&mut harts[0], PAGE).unwrap();
    harts[0].load(&other);
    assert_eq!(world.left.lock().unwrap()[..], [(space.id, 0)]);
    space.map_fresh(PAGE, read_only());
    reads(&mut harts[1], PAGE).expect("the hart's identifier was given to another space");
}

/// Pages next to those that are read: some lack the right, one is a leaf without any.
#[test]
fn speculation_sets_accessed_and_never_dirty_and_only_where_reading_is_granted() {
    let world = world::<Aarch64Granule64K>(TlbTraits::SPECULATIVE, false);
    let space = world.space(1);
    let rights = |page: u64| match page % 4 {
        0 => read_only(),
        1 => read_write(),
        2 => Rights::USER,
        _ => Rights::EXECUTE | Rights::USER,
    };
    for page in 1000..1040 {
        space.map_fresh(page, rights(page));
    }
    let mut hart = hart(&space, 0);
    for _ in 0..2_000 {
        reads(&mut hart, 1020).unwrap();
        space.shoot(&[1020]);
    }
    let mut set = Vec::new();
    for page in 1000..1040 {
        let Entry::Leaf(leaf) = space.entry(0, page) else { panic!("no leaf") };
        assert!(!leaf.dirty);
        if leaf.accessed {
            set.push(page);
        }
    }
    let near = (1012..=1028).filter(|page| page % 4 < 2);
    assert!(set.iter().copied().eq(near), "{set:?}");
    assert!(hart.counts().speculated > 0);
    // What it found is kept: it is served when the entries are gone.
    for page in 1000..1040 {
        space.slot(0, page).0.store(0, Ordering::Release);
    }
    assert!(reads(&mut hart, 1016).unwrap().is_some() && reads(&mut hart, 1008).unwrap().is_none());
}

#[test]
fn a_forgetful_tlb_walks_again_and_finds_the_same() {
    for tlb in [TlbTraits::FORGETFUL, TlbTraits::FORGETFUL | TlbTraits::STICKY] {
        for check in [false, true] {
            let world = world::<Sv48>(tlb, check);
            let space = world.space(1);
            let frames: Vec<_> = (0..64).map(|page| space.map_fresh(page, read_only())).collect();
            let mut hart = hart(&space, 0);
            for _ in 0..100 {
                let round = hart.inside(|_, mmu| {
                    for (page, frame) in (0..).zip(&frames) {
                        let found = mmu.translate(at::<Sv48>(page), Access::Read);
                        assert_eq!(found, Ok(host(&world, *frame)));
                    }
                });
                round.expect("nothing is stale");
            }
            assert!(hart.counts().walks > 64, "it walked once a page");
            assert!(hart.counts().hits > hart.counts().walks, "it never remembered");
        }
    }
}

/// A hart that is inside polls until it has answered. Until then the old translation serves it, and
/// whoever shot waits.
#[test]
fn a_late_hart_uses_what_it_has_until_it_answers() {
    const ROUNDS: usize = 20;
    let world = world::<Sv48>(TlbTraits::LATE, true);
    let space = world.space(1);
    let (_, table) = {
        space.map_fresh(PAGE, read_only());
        space.slot(0, PAGE)
    };
    world.unsettled.lock().unwrap().insert(table.0);
    let cached = Barrier::new(2);
    thread::scope(|scope| {
        let polls = scope.spawn(|| {
            let mut hart = hart(&space, 0);
            let round = |_| {
                cached.wait();
                let polls = hart.inside(|_, mmu| {
                    mmu.translate(at::<Sv48>(PAGE), Access::Read).unwrap();
                    cached.wait();
                    let mut late = 0;
                    while !mmu.pending() {
                        thread::yield_now();
                    }
                    while mmu.pending() {
                        mmu.translate(at::<Sv48>(PAGE), Access::Read).expect("not answered yet");
                        mmu.poll();
                        late += 1;
                    }
                    assert!(mmu.translate(at::<Sv48>(PAGE), Access::Read).is_err());
                    late
                });
                polls.expect("an open flush is no alarm")
            };
            (0..ROUNDS).map(round).collect::<Vec<_>>()
        });
        for _ in 0..ROUNDS {
            let frame = space.map_fresh(PAGE, read_only());
            cached.wait();
            cached.wait();
            space.slot(0, PAGE).0.store(0, Ordering::Release);
            space.shoot(&[PAGE]);
            // Answered: whoever had it has it no more.
            *world.generations.lock().unwrap().entry(frame.0).or_default() += 1;
        }
        let polls = polls.join().unwrap();
        assert!(polls.iter().any(|polls| *polls > 1), "never late: {polls:?}");
    });
}
