//! One hart's translation: hits, identifiers, switches, upgrades, sticky.
#![cfg(not(loom))]

#[macro_use]
mod common;

use common::{TestSpace, World, at, host, read_only, read_write};
use vmspace::format::{Entry, Format, Geometry, Leaf, Rights, Sv48, X86_64};
use vmspace::{Access, Frame, SpaceId};
use vmspace_machine::{Config, HartContext, TlbTraits};

type Hart<'w, F> = HartContext<'w, World<F>>;

/// Where `address` is for the program on `hart`, if it is granted.
fn reach<F: Format>(hart: &mut Hart<'_, F>, address: u64, access: Access) -> Option<*mut u8> {
    hart.inside(|_, mmu| mmu.translate(address, access).ok()).unwrap()
}

fn reads<F: Format>(hart: &mut Hart<'_, F>, page: u64) -> Option<*mut u8> {
    reach(hart, at::<F>(page), Access::Read)
}

in_every_format!(pages_are_served_with_offsets);

fn pages_are_served_with_offsets<F: Format>() {
    for check in [false, true] {
        let world = World::<F>::new(Config { check, ..Config::default() });
        let space = world.space(1);
        let mut hart = HartContext::new(&world, 0).unwrap();
        hart.load(&space);
        let frame = space.map_fresh(9, read_write());
        let Entry::Leaf(leaf) = space.entry(0, 9) else { panic!("no leaf") };
        let executes = leaf.rights.contains(Rights::EXECUTE);
        assert_eq!(executes, F::NAME == "i386", "it alone has no bit against it");
        let last = F::PAGE_SIZE - 1;
        for offset in [0, 8, last, 8, 0] {
            let expected = host(&world, frame).wrapping_add(offset as usize);
            let address = at::<F>(9) + offset;
            assert_eq!(reach(&mut hart, address, Access::Write), Some(expected));
            assert_eq!(reach(&mut hart, address, Access::Read), Some(expected));
            let fetched = executes.then_some(expected);
            assert_eq!(reach(&mut hart, address, Access::Execute), fetched);
        }
        assert_eq!(reach(&mut hart, at::<F>(10), Access::Read), None);
        assert_eq!(reach(&mut hart, !0, Access::Read), None);
        // The page above the user's, and one whose address has more bits than the tables map.
        assert_eq!(reads(&mut hart, F::USER_PAGES), None);
        assert_eq!(reads(&mut hart, F::table_pages(F::ROOT_LEVEL) + 9), None);
    }
}

#[test]
fn nothing_is_served_while_nothing_is_loaded() {
    let world = World::<Sv48>::new(Config::default());
    let space = world.space(1);
    space.map_fresh(0, read_only());
    let mut hart = HartContext::new(&world, 0).unwrap();
    assert_eq!(reads(&mut hart, 0), None);
    hart.load(&space);
    assert!(reads(&mut hart, 0).is_some());
    hart.unload();
    assert_eq!(reads(&mut hart, 0), None);
}

#[test]
fn a_hart_has_one_thread() {
    let world = World::<Sv48>::new(Config { harts: 2, ..Config::default() });
    let hart = HartContext::new(&world, 1).unwrap();
    assert!(HartContext::new(&world, 1).is_none() && HartContext::new(&world, 2).is_none());
    drop(hart);
    assert!(HartContext::new(&world, 1).is_some());
}

#[test]
fn a_switch_flushes_nothing() {
    let world = World::<Sv48>::new(Config::default());
    let (one, two) = (world.space(1), world.space(2));
    let mut hart = HartContext::new(&world, 0).unwrap();
    let frames = [one.map_fresh(4, read_only()), two.map_fresh(4, read_only())];
    for _ in 0..10 {
        for (space, frame) in [&one, &two].into_iter().zip(frames) {
            hart.load(space);
            assert_eq!(reads(&mut hart, 4), Some(host(&world, frame)));
        }
    }
    let counts = hart.counts();
    assert_eq!((counts.walks, counts.misses, counts.hits), (2, 2, 18));
    assert_eq!((counts.switches, counts.ids_recycled), (20, 0));
    assert!(world.left.lock().unwrap().is_empty());
}

/// With 4 identifiers and 9 spaces: each space sees its own page, always; whoever loses its
/// identifier is left once, by the time the identifier is used; and comes back with a walk.
#[test]
fn identifiers_roll_over() {
    for (tlb, check) in
        [(TlbTraits::NORMAL, false), (TlbTraits::STICKY, false), (TlbTraits::STICKY, true)]
    {
        let world = World::<Sv48>::new(Config { ids: 4, tlb, check, ..Config::default() });
        let spaces: Vec<_> = (0..9).map(|id| world.space(id)).collect();
        let frames: Vec<_> = spaces.iter().map(|space| space.map_fresh(4, read_only())).collect();
        let mut hart = HartContext::new(&world, 0).unwrap();
        for round in 0..3 {
            for (i, space) in spaces.iter().enumerate() {
                hart.load(space);
                assert_eq!(reads(&mut hart, 4), Some(host(&world, frames[i])));
                let taken = (round * 9 + i + 1).saturating_sub(4);
                assert_eq!(world.left.lock().unwrap().len(), taken);
            }
        }
        assert_eq!(hart.counts().walks, 27);
        assert_eq!(hart.counts().ids_recycled, 23);
        let left: Vec<_> = world.left.lock().unwrap().clone();
        assert_eq!(left[..4], [1, 2, 3, 0].map(|id| (SpaceId(id), 0)));
    }
}

/// A read-only page is read, becomes writable without a shootdown, is written: the miss walks.
#[test]
fn a_permission_miss_walks_again() {
    for (tlb, check) in
        [(TlbTraits::NORMAL, false), (TlbTraits::STICKY, false), (TlbTraits::STICKY, true)]
    {
        let world = World::<Sv48>::new(Config { tlb, check, ..Config::default() });
        let space = world.space(1);
        let frame = space.map_fresh(4, read_only());
        let mut hart = HartContext::new(&world, 0).unwrap();
        hart.load(&space);
        assert!(reads(&mut hart, 4).is_some());
        assert_eq!(reach(&mut hart, at::<Sv48>(4), Access::Write), None);
        space.map(0, 4, frame, read_write());
        assert_eq!(reach(&mut hart, at::<Sv48>(4), Access::Write), Some(host(&world, frame)));
        let Entry::Leaf(leaf) = space.entry(0, 4) else { panic!("no leaf") };
        assert!(leaf.dirty, "a write never goes through an entry that is clean");
    }
}

/// Writes to a page that was only read so far set dirty, though the right was there to cache.
#[test]
fn a_write_sets_dirty_though_the_page_is_cached() {
    for (tlb, check) in
        [(TlbTraits::NORMAL, false), (TlbTraits::NORMAL, true), (TlbTraits::STICKY, true)]
    {
        let world = World::<X86_64>::new(Config { tlb, check, ..Config::default() });
        let space = world.space(1);
        space.map_fresh(4, read_write());
        let mut hart = HartContext::new(&world, 0).unwrap();
        hart.load(&space);
        let dirty = |space: &TestSpace<'_, X86_64>| match space.entry(0, 4) {
            Entry::Leaf(leaf) => leaf.dirty,
            _ => panic!("no leaf"),
        };
        assert!(reads(&mut hart, 4).is_some() && !dirty(&space));
        assert!(reach(&mut hart, at::<X86_64>(4), Access::Write).is_some() && dirty(&space));
        assert_eq!((hart.counts().accessed_set, hart.counts().dirty_set), (1, 1));
    }
}

/// Reads pages, takes all entries away without telling anyone, and reads again.
fn pages_still_served(tlb: TlbTraits) -> usize {
    const PAGES: u64 = 5_000;
    let world = World::<Sv48>::new(Config { tlb, ..Config::default() });
    let space = world.space(1);
    let frame = world.frame();
    let mut hart = HartContext::new(&world, 0).unwrap();
    hart.load(&space);
    for page in 0..PAGES {
        space.map(0, page, frame, read_only());
        assert!(reads(&mut hart, page).is_some());
    }
    for page in 0..PAGES {
        space.slot(0, page).0.store(0, std::sync::atomic::Ordering::Release);
    }
    // Others come and go, and a fault on a page does not make it forgotten either.
    let other = world.space(2);
    hart.load(&other);
    assert_eq!(reads(&mut hart, 0), None);
    hart.load(&space);
    assert_eq!(reach(&mut hart, at::<Sv48>(0), Access::Write), None);
    let served = (0..PAGES).filter(|page| reads(&mut hart, *page).is_some()).count();
    space.shoot(&[1, 3]);
    let after = (0..PAGES).filter(|page| reads(&mut hart, *page).is_some()).count();
    assert!(after >= served - 2 && reads(&mut hart, 1).is_none() && reads(&mut hart, 3).is_none());
    space.shoot_all();
    assert!((0..PAGES).all(|page| reads(&mut hart, page).is_none()));
    served
}

#[test]
fn sticky_forgets_nothing_unless_it_is_told_to() {
    assert_eq!(pages_still_served(TlbTraits::STICKY), 5_000);
    assert_eq!(pages_still_served(TlbTraits::NORMAL), 1_024);
}

/// Any page of a large leaf drops every piece of it, and nothing of its neighbours.
#[test]
fn naming_a_page_drops_the_whole_of_a_large_leaf() {
    for (tlb, check) in
        [(TlbTraits::NORMAL, false), (TlbTraits::NORMAL, true), (TlbTraits::STICKY, false)]
    {
        let world = World::<Sv48>::new(Config { tlb, check, ..Config::default() });
        let space = world.space(1);
        let mut hart = HartContext::new(&world, 0).unwrap();
        hart.load(&space);
        let large = |slot: u64| -> Frame {
            let frame = world.frames(9);
            space.map(1, slot * 512, frame, read_only());
            frame
        };
        let (first, second) = (large(1), large(2));
        space.map_fresh(5, read_only());
        let pages = [5, 512, 600, 1023, 1024, 1100];
        assert!(pages.iter().all(|page| reads(&mut hart, *page).is_some()));
        let walks = hart.counts().walks;
        space.shoot(&[777]);
        assert_eq!(reads(&mut hart, 600), Some(host(&world, first.add(88))));
        assert_eq!(hart.counts().walks, walks + 1);
        for page in [512, 1023] {
            reads(&mut hart, page);
        }
        assert_eq!(hart.counts().walks, walks + 3);
        assert_eq!(reads(&mut hart, 1100), Some(host(&world, second.add(76))));
        for page in [5, 1024, 1100] {
            reads(&mut hart, page);
        }
        assert_eq!(hart.counts().walks, walks + 3);
    }
}

#[test]
fn a_frame_outside_of_memory_is_refused() {
    let world = World::<Sv48>::new(Config::default());
    let space = world.space(1);
    let mut hart = HartContext::new(&world, 0).unwrap();
    hart.load(&space);
    let frame = Frame(world.machine.frames().end);
    let leaf = Leaf { frame, rights: Rights::all(), accessed: false, dirty: false };
    space.slot(0, 1).0.store(Sv48::leaf(0, leaf), std::sync::atomic::Ordering::Release);
    assert_eq!(reads(&mut hart, 1), None);
}

/// Code is looked at again when what it was fetched through may have been dropped, and then alone.
#[test]
fn code_is_looked_at_again_when_its_translation_was_dropped() {
    let world = World::<Sv48>::new(Config::default());
    let (space, other) = (world.space(1), world.space(2));
    space.map_fresh(4, common::ALL);
    space.map_fresh(5, common::ALL);
    let mut hart = HartContext::new(&world, 0).unwrap();
    hart.load(&space);
    reach(&mut hart, at::<Sv48>(4), Access::Execute).unwrap();
    reach(&mut hart, at::<Sv48>(5), Access::Read).unwrap();
    let mut epoch = hart.inside(|_, mmu| mmu.code_epoch()).unwrap();
    let mut changed = |hart: &mut Hart<'_, Sv48>| {
        let before = std::mem::replace(&mut epoch, hart.inside(|_, mmu| mmu.code_epoch()).unwrap());
        epoch != before
    };
    space.shoot(&[5]);
    assert!(!changed(&mut hart));
    space.shoot(&[4]);
    assert!(changed(&mut hart));
    space.shoot_all();
    assert!(changed(&mut hart));
    hart.load(&space);
    assert!(!changed(&mut hart));
    hart.load(&other);
    assert!(changed(&mut hart));
    hart.code_changed();
    assert!(changed(&mut hart));
}
