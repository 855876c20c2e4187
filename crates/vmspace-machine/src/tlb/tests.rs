use super::ids::{IdTable, Ids};
use super::*;
use vmspace::SpaceId;
use vmspace::format::{Leaf, Rights, Sv48};

fn ids(count: usize) -> Vec<Id> {
    let table = IdTable::new(count);
    let mut ids = Ids::new(&table);
    (0..count as u64)
        .map(|space| {
            let id = ids.vacate().id;
            ids.give(id, SpaceId(space));
            id
        })
        .collect()
}

fn host(page: u64) -> *mut u8 {
    std::ptr::without_provenance_mut(0x1000_0000 + (page as usize) * 0x10_000)
}

fn hit(tlb: &mut Tlb<Sv48>, id: Id, page: u64, access: Access) -> bool {
    tlb.lines.select(Some(id));
    match tlb.lines.hit(page << 12 | 0xab8, access, 8) {
        Some(found) => {
            assert_eq!(found, host(page).wrapping_add(0xab8));
            true
        }
        None => false,
    }
}

#[test]
fn a_line_serves_its_page_identifier_and_access_alone() {
    let ids = ids(3);
    let mut tlb = Tlb::<Sv48>::new(&Config::default());
    tlb.lines.select(Some(ids[1]));
    tlb.serve(ids[1], 77, Access::Read, 0, host(77));
    assert!(hit(&mut tlb, ids[1], 77, Access::Read));
    assert!(!hit(&mut tlb, ids[1], 77, Access::Write));
    assert!(!hit(&mut tlb, ids[1], 77, Access::Execute));
    assert!(!hit(&mut tlb, ids[1], 77 + 1024, Access::Read));
    assert!(!hit(&mut tlb, ids[0], 77, Access::Read));
    tlb.lines.select(None);
    assert!(tlb.lines.hit(77 << 12, Access::Read, 1).is_none());
    assert_eq!(tlb.lines.find(ids[1], 77 << 12 | 3, Access::Read), Some(host(77).wrapping_add(3)));
    assert!(tlb.lines.find(ids[1], 77 << 12, Access::Write).is_none());
    assert!(tlb.lines.find(ids[2], 77 << 12, Access::Read).is_none());
}

#[test]
fn an_access_that_is_not_aligned_misses() {
    let ids = ids(1);
    let mut tlb = Tlb::<Sv48>::new(&Config::default());
    tlb.lines.select(Some(ids[0]));
    tlb.serve(ids[0], 77, Access::Read, 0, host(77));
    for size in [1, 2, 4, 8] {
        for offset in (0..16).chain(4088..4096) {
            let found = tlb.lines.hit(77 << 12 | offset, Access::Read, size);
            assert_eq!(found.is_some(), offset % size == 0, "{size} bytes at {offset}");
        }
    }
}

#[test]
fn dropping_takes_what_is_named_and_no_more() {
    let ids = ids(3);
    let mut tlb = Tlb::<Sv48>::new(&Config::default());
    let fill = |tlb: &mut Tlb<Sv48>| {
        for id in &ids {
            tlb.lines.select(Some(*id));
            (5..8).for_each(|page| tlb.serve(*id, page, Access::Write, 0, host(page)));
        }
    };
    let left = |tlb: &mut Tlb<Sv48>| -> Vec<usize> {
        let kept =
            |tlb: &mut _, id| (5..8).filter(|page| hit(tlb, id, *page, Access::Write)).count();
        ids.iter().map(|id| kept(tlb, *id)).collect()
    };
    fill(&mut tlb);
    assert_eq!(left(&mut tlb), [3, 3, 3]);
    tlb.drop_page(ids[1], 6);
    assert_eq!(left(&mut tlb), [3, 2, 3]);
    assert!(!hit(&mut tlb, ids[1], 6, Access::Write));
    tlb.drop_id(ids[0]);
    assert_eq!(left(&mut tlb), [0, 2, 3]);
    tlb.drop_all();
    assert_eq!(left(&mut tlb), [0, 0, 0]);
}

#[test]
fn a_clean_page_does_not_serve_a_write() {
    let frame = vmspace::Frame(0x80001);
    let rights = Rights::READ | Rights::WRITE | Rights::USER;
    let cached = |dirty| Cached {
        word: Sv48::leaf(0, Leaf { frame, rights, accessed: true, dirty }),
        level: 0,
        generation: None,
    };
    assert!(cached(false).serves::<Sv48>(Access::Read));
    assert!(!cached(false).serves::<Sv48>(Access::Write));
    assert!(cached(true).serves::<Sv48>(Access::Write));
    assert!(!cached(true).serves::<Sv48>(Access::Execute));
}

#[test]
fn pages_that_were_fetched_from_are_remembered() {
    let ids = ids(1);
    let mut tlb = Tlb::<Sv48>::new(&Config::default());
    tlb.lines.select(Some(ids[0]));
    tlb.serve(ids[0], 9, Access::Read, 0, host(9));
    assert!(!tlb.may_hold_code(ids[0], 9));
    tlb.serve(ids[0], 9, Access::Execute, 0, host(9));
    assert!(tlb.may_hold_code(ids[0], 9) && !tlb.may_hold_code(ids[0], 10));
}
