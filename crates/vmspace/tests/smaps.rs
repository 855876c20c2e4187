//! What of a space is in memory, as smaps and pagemap tell it.

#![cfg(not(loom))]

#[macro_use]
mod host;

use std::sync::atomic::{AtomicBool, Ordering};

use host::{Host, be_cpu};
use vmspace::format::{Format, Geometry, Rights, Sv48};
use vmspace::{Advice, Frame, Map, MaySleep, Remap, Smaps, Space, Vm};

const RW: Rights = Rights::READ.union(Rights::WRITE);
const PRESENT: u64 = 1 << 63;
const FILE: u64 = 1 << 61;
const ONCE: u64 = 1 << 56;

fn token() -> MaySleep {
    // SAFETY: a test's own thread, which holds nothing.
    unsafe { MaySleep::assume() }
}

/// The sums of the mapping that begins at `at`.
fn smaps_at<F: Format>(space: &Space<'_, Host<F>>, at: u64) -> Smaps {
    let mut found = None;
    space.smaps(&mut token(), |region, smaps| {
        if region.start == at {
            found = Some(smaps);
        }
    });
    found.expect("a mapping begins there")
}

fn write<F: Format>(space: &Space<'_, Host<F>>, at: u64) {
    assert_eq!(space.write(&mut token(), at, b"x"), 1);
}

fn read<F: Format>(space: &Space<'_, Host<F>>, at: u64) {
    assert_eq!(space.read(&mut token(), at, &mut [0]), 1);
}

fn a_page_counts_by_how_many_map_it<F: Format>() {
    let vm = Host::<F>::new(1024, 1).manager();
    let page = F::PAGE_SIZE;
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = space.map(&mut token(), Map::anonymous(8 * page, RW)).unwrap();
    write(&space, at);
    write(&space, at + 2 * page);
    read(&space, at + 4 * page);
    let alone = Smaps {
        rss: 2 * page,
        pss: 2 * page,
        pss_dirty: 2 * page,
        private_dirty: 2 * page,
        referenced: 2 * page,
        anonymous: 2 * page,
        ..Smaps::default()
    };
    assert_eq!(smaps_at(&space, at), alone, "the zero page counts as nothing");

    let children = [(); 2].map(|()| space.fork(&mut token()).unwrap());
    write(&children[0], at);
    let child = smaps_at(&children[0], at);
    assert_eq!((child.private_dirty, child.shared_dirty), (page, page));
    assert_eq!(child.pss, page + (((page << 12) / 3) >> 12));
    for child in children {
        child.exit(&mut token());
    }
    assert_eq!(smaps_at(&space, at), alone, "pages that were shared");
}

fn a_page_of_an_object_is_shared_with_who_maps_it<F: Format>() {
    let vm = Host::<F>::new(1024, 1).manager();
    let page = F::PAGE_SIZE;
    let space = Space::new(&vm, &mut token()).unwrap();
    let object = vm.object(&mut token(), 4 * page, 0).unwrap();
    let map = |map: Map| space.map_object(&mut token(), map, &object, 0).unwrap();
    let shared = map(Map::anonymous(4 * page, RW).shared());
    let private = map(Map::anonymous(4 * page, RW));
    read(&space, shared);
    let clean = smaps_at(&space, shared);
    assert_eq!((clean.rss, clean.private_clean, clean.anonymous), (page, page, 0));
    read(&space, private);
    assert_eq!(smaps_at(&space, private).shared_clean, page);
    assert_eq!(smaps_at(&space, shared).pss, page / 2);
    write(&space, private);
    let copied = smaps_at(&space, private);
    assert_eq!((copied.private_dirty, copied.anonymous), (page, page));

    let mut words = [1; 2];
    space.pagemap(&mut token(), shared, &mut words).unwrap();
    assert_eq!((words[0] >> 55 << 55, words[1]), (PRESENT | FILE | ONCE, 0));
    space.pagemap(&mut token(), private, &mut words).unwrap();
    assert_eq!(words[0] >> 55 << 55, PRESENT | ONCE);
}

fn the_pagemap_names_the_frames<F: Format>() {
    let vm = Host::<F>::new(2048, 1).manager();
    let page = F::PAGE_SIZE;
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = space.map(&mut token(), Map::anonymous(700 * page, RW)).unwrap();
    for n in (0..700).step_by(2) {
        write(&space, at + n * page);
    }
    let mut words = vec![u64::MAX; 702];
    let found = space.pagemap(&mut token(), at - page, &mut words).unwrap();
    assert_eq!(found, 702, "more entries than one guard is held for");
    assert_eq!((words[0], words[701]), (0, 0));
    for (n, word) in words[1..701].iter().enumerate() {
        let there = space.translate(&vm.walk(&mut token()), at + n as u64 * page);
        let expected = there.map_or(0, |there| PRESENT | ONCE | there.frame.0);
        assert_eq!(*word, expected, "page {n}");
    }
    let end = F::USER_PAGES * page;
    assert_eq!(space.pagemap(&mut token(), end - page, &mut words).unwrap(), 1);
    assert_eq!(space.pagemap(&mut token(), end, &mut words).unwrap(), 0);
    space.pagemap(&mut token(), at + 1, &mut words).unwrap_err();
}

in_every_format!(
    a_page_counts_by_how_many_map_it,
    a_page_of_an_object_is_shared_with_who_maps_it,
    the_pagemap_names_the_frames,
);

#[test]
fn a_page_that_is_held_is_mapped_no_more_often() {
    let vm = Host::<Sv48>::new(1024, 1).manager();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = space.map(&mut token(), Map::anonymous(4096, RW)).unwrap();
    let pin = space.pin(&mut token(), at, true).unwrap();
    assert_eq!(smaps_at(&space, at).private_dirty, 4096);
    drop(pin);
}

#[test]
fn what_is_locked_counts_by_its_share() {
    let vm = Host::<Sv48>::new(1024, 1).manager();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = space.map(&mut token(), Map::anonymous(3 * 4096, RW)).unwrap();
    space.lock(&mut token(), at, 3 * 4096, false).unwrap();
    assert_eq!(smaps_at(&space, at).locked, 3 * 4096);
}

#[test]
fn a_device_has_frames_and_no_memory() {
    let vm = Host::<Sv48>::new(1024, 1).manager();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = 1 << 30;
    space.reserve(&mut token(), at, 0x4000, RW).unwrap();
    let frame = Frame(1 << 30);
    space.transaction(&mut token(), at, 0x4000, |range| range.set(at, frame, RW)).unwrap();
    assert_eq!(smaps_at(&space, at), Smaps::default());
    let mut words = [0];
    space.pagemap(&mut token(), at, &mut words).unwrap();
    assert_eq!(words, [PRESENT | frame.0]);
}

/// 2^46 bytes of which two pages are there: page by page this would not end.
#[test]
fn what_is_empty_costs_nothing() {
    let vm = Host::<Sv48>::new(1024, 1).manager();
    let space = Space::new(&vm, &mut token()).unwrap();
    let map = Map { no_reserve: true, ..Map::anonymous(1 << 46, RW) };
    let at = space.map(&mut token(), map).unwrap();
    write(&space, at);
    write(&space, at + (1 << 46) - 1);
    assert_eq!(smaps_at(&space, at).rss, 8192);
}

/// The tables move and go while the walker is in them.
#[test]
fn a_walk_counts_pages_that_were_never_there() {
    let vm = Host::<Sv48>::new(8192, 2).manager();
    let space = Space::new(&vm, &mut token()).unwrap();
    let (size, done) = (4 << 20, AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            be_cpu(1);
            for _ in 0..40 {
                churn(&vm, &space, size);
            }
            done.store(true, Ordering::Release);
        });
        let mut words = vec![0; (size >> 12) as usize];
        while !done.load(Ordering::Acquire) {
            space.smaps(&mut token(), |region, smaps| {
                assert!(smaps.rss <= region.end - region.start, "{region:?} {smaps:?}");
                assert!(smaps.pss <= smaps.rss && smaps.anonymous == smaps.rss);
                space.pagemap(&mut token(), region.start, &mut words).unwrap();
                for word in &words {
                    let frame = Frame(word & ((1 << 55) - 1));
                    assert!(*word == 0 || vm.generation(frame).is_some(), "{word:x}");
                }
            });
        }
    });
    vm.check(&mut token()).unwrap();
}

/// Maps memory, moves it with its tables, and unmaps it.
fn churn(vm: &Vm<Host<Sv48>>, space: &Space<'_, Host<Sv48>>, size: u64) {
    let at = space.map(&mut token(), Map::anonymous(size, RW)).unwrap();
    for page in (0..size >> 12).step_by(7) {
        write(space, at + (page << 12));
    }
    space.fork(&mut token()).unwrap().exit(&mut token());
    let moved = Remap {
        address: at,
        old_length: size,
        new_length: size,
        may_move: true,
        fixed: true,
        new_address: at - (4 << 30),
        ..Remap::default()
    };
    let at = space.remap(&mut token(), moved).unwrap();
    space.unmap(&mut token(), at, size).unwrap();
    vm.reap(&mut token());
}

#[test]
fn what_is_on_swap_is_counted_nowhere_or_twice() {
    let vm = Host::<Sv48>::new(1024, 1).manager();
    // SAFETY: the test's own thread, which holds nothing.
    let ms = &mut unsafe { MaySleep::assume() };
    vm.swap_on(ms, 1, 64, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(4 * 4096, Rights::READ | Rights::WRITE)).unwrap();
    for page in 0..3 {
        space.write(ms, at + page * 4096, &[1]);
    }
    space.advise(ms, at, 2 * 4096, Advice::PageOut).unwrap();
    let child = space.fork(ms).unwrap();
    let mut all = Vec::new();
    space.smaps(ms, |_, smaps| all.push((smaps.rss, smaps.swap, smaps.swap_pss)));
    assert_eq!(all, [(4096, 8192, 4096)]);
    let mut words = [0; 4];
    space.pagemap(ms, at, &mut words).unwrap();
    assert_eq!((words[0], words[1]), (1 << 62, 1 << 62 | 1 << 5));
    assert_eq!((words[2] >> 62, words[3]), (2, 0));
    assert_eq!((space.swapped(), child.swapped()), (2, 2));
}
