//! Shootdowns interrupt the harts that may hold a translation and no other, drop the pages named
//! and no other, and never deadlock.
#![cfg(not(loom))]

mod common;

use common::{TestSpace, World, at, read_only, read_write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use vmspace::format::{Entry, Format, Sv48};
use vmspace::{Access, Frame, Platform, SpaceId};
use vmspace_machine::mmu::Mmu;
use vmspace_machine::statistics::HartCounts;
use vmspace_machine::{Config, HartContext, Manager, TlbTraits};

type F = Sv48;

fn reads(mmu: &mut Mmu<'_, World<F>>, page: u64) -> bool {
    mmu.translate(at::<F>(page), Access::Read).is_ok()
}

/// Maps fresh pages, read-only.
fn map_fresh(space: &TestSpace<'_, F>, pages: std::ops::Range<u64>) {
    for page in pages {
        space.map_fresh(page, read_only());
    }
}

/// Stays inside, answering, until told otherwise.
fn linger(mmu: &mut Mmu<'_, World<F>>, until: &AtomicBool) {
    while !until.load(Ordering::Acquire) {
        mmu.answer();
        thread::yield_now();
    }
}

/// Four harts inside: two run the space, one has run it and runs another, one never ran it. A
/// batch of three pages is shot, twice; then another hart has come outside.
#[test]
fn exactly_the_harts_that_had_the_space_and_exactly_the_pages() {
    let world = World::<F>::new(Config { harts: 5, ..Config::default() });
    let (space, other) = (world.space(1), world.space(2));
    map_fresh(&space, 0..10);
    map_fresh(&other, 0..10);
    let (inside, done) = (Barrier::new(5), AtomicBool::new(false));
    let counts = thread::scope(|scope| {
        let harts = [vec![&space], vec![&space], vec![&space, &other], vec![&other]];
        let threads: Vec<_> = harts
            .into_iter()
            .enumerate()
            .map(|(index, spaces)| {
                let (world, inside, done) = (&world, &inside, &done);
                scope.spawn(move || run_hart(world, index, spaces, inside, done))
            })
            .collect();
        inside.wait();
        space.shoot(&[1, 3, 5]);
        let first = world.machine.statistics();
        assert_eq!((first.shootdowns, first.shootdown_pages), (1, 3));
        assert_eq!((first.harts_interrupted, first.harts_outside), (3, 0));
        // The hart that runs something else has left the set: it is not interrupted again.
        assert_eq!(*world.left.lock().unwrap(), [(SpaceId(1), 2)]);
        space.set.leave(2);
        space.shoot(&[1, 3, 5]);
        let second = world.machine.statistics();
        assert_eq!((second.harts_interrupted, second.harts_outside), (5, 0));
        done.store(true, Ordering::Release);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (index, (before, after)) in counts.iter().enumerate() {
        let dropped = after.pages_dropped - before.pages_dropped;
        let (pages, left, walks) = [(6, 0, 3), (6, 0, 3), (0, 1, 0), (0, 0, 0)][index];
        assert_eq!((dropped, after.spaces_left), (pages, left), "hart {index}");
        assert_eq!(after.walks - before.walks, walks, "hart {index} walks for what was named");
    }
}

/// A hart that reads ten pages in each of `spaces`, stays inside in the last, and reads them
/// again. Its counts before it was shot at, and at the end.
fn run_hart(
    world: &World<F>,
    index: usize,
    spaces: Vec<&TestSpace<'_, F>>,
    inside: &Barrier,
    done: &AtomicBool,
) -> (HartCounts, HartCounts) {
    let mut hart = HartContext::new(world, index).unwrap();
    for space in spaces {
        hart.load(space);
        hart.inside(|_, mmu| assert!((0..10).all(|page| reads(mmu, page)))).unwrap();
    }
    let before = hart.counts();
    hart.inside(|_, mmu| {
        inside.wait();
        linger(mmu, done);
        assert!((0..10).all(|page| reads(mmu, page)));
    })
    .unwrap();
    (before, hart.counts())
}

/// A hart that is outside holds nobody up, and drops what was named before it translates.
#[test]
fn a_hart_outside_has_answered_and_drains_on_its_way_in() {
    for (tlb, check) in [(TlbTraits::NORMAL, false), (TlbTraits::STICKY, true)] {
        let world = World::<F>::new(Config { tlb, check, ..Config::default() });
        let space = world.space(1);
        let mut hart = HartContext::new(&world, 0).unwrap();
        hart.load(&space);
        space.map_fresh(7, read_only());
        hart.inside(|_, mmu| assert!(reads(mmu, 7))).unwrap();
        space.slot(0, 7).0.store(0, Ordering::Release);
        space.shoot(&[7]);
        hart.inside(|_, mmu| assert!(!reads(mmu, 7))).unwrap();
        let statistics = world.machine.statistics();
        assert_eq!((statistics.harts_interrupted, statistics.harts_outside), (0, 1));
        assert_eq!(statistics.harts.pages_dropped, 1);
    }
}

/// More pages than a mailbox holds, and more spaces: all are dropped.
#[test]
fn an_overflowing_mailbox_drops_more_and_never_less() {
    let world = World::<F>::new(Config { ids: 32, tlb: TlbTraits::STICKY, ..Config::default() });
    let spaces: Vec<_> = (0..20).map(|id| world.space(id)).collect();
    let mut hart = HartContext::new(&world, 0).unwrap();
    for space in &spaces {
        hart.load(space);
        map_fresh(space, 0..400);
        hart.inside(|_, mmu| assert!((0..400).all(|page| reads(mmu, page)))).unwrap();
    }
    for space in &spaces {
        for page in 0..400 {
            space.slot(0, page).0.store(0, Ordering::Release);
        }
        let pages: Vec<_> = (0..400).collect();
        pages.chunks(64).for_each(|chunk| space.shoot(chunk));
    }
    for space in &spaces {
        hart.load(space);
        hart.inside(|_, mmu| assert!((0..400).all(|page| !reads(mmu, page)))).unwrap();
    }
    assert_eq!(hart.counts().spaces_left, 19);
}

#[test]
fn threads_that_are_no_harts_are_never_waited_for() {
    let world = World::<F>::new(Config::default());
    let space = world.space(1);
    thread::scope(|scope| {
        for n in 0..3 {
            let (world, space) = (&world, &space);
            scope.spawn(move || {
                world.machine.bind_other(n);
                assert_eq!(world.machine.cpu(), 1 + n);
                space.set.enter(world.machine.cpu());
                space.shoot(&[1]);
                world.machine.flush_local(space.id, 1);
            });
        }
    });
    let statistics = world.machine.statistics();
    assert_eq!((statistics.shootdowns, statistics.harts_interrupted), (3, 0));
}

#[test]
fn a_kick_brings_a_hart_out_once() {
    let world = World::<F>::new(Config::default());
    let mut hart = HartContext::new(&world, 0).unwrap();
    world.machine.kick(0);
    world.machine.kick(7);
    assert_eq!(hart.run(1).unwrap(), vmspace_machine::riscv::Exit::Pending);
    assert_ne!(hart.run(1).unwrap(), vmspace_machine::riscv::Exit::Pending);
}

const PAGES: u64 = 4;
const POISON: u64 = 0xdead;

/// A page, its spare frame, and the lock that its entry is changed under.
struct Swapped<'w> {
    space: &'w TestSpace<'w, F>,
    page: u64,
    spare: Mutex<Frame>,
}

fn first_word(world: &World<F>, frame: Frame) -> &AtomicU64 {
    world.hardware().memory().cell::<F>(frame, 0).unwrap()
}

impl Swapped<'_> {
    /// What a library does: take the entry away, shoot, reuse the frame, enter another.
    fn swap(&self) {
        let world = self.space.world;
        let mut spare = self.spare.lock().unwrap();
        first_word(world, *spare).store(self.page, Ordering::Relaxed);
        let slot = self.space.slot(0, self.page).0;
        let old = slot.swap(0, Ordering::AcqRel);
        self.space.shoot(&[self.page]);
        let Entry::Leaf(leaf) = F::decode(0, old) else { panic!("no leaf") };
        first_word(world, leaf.frame).store(POISON, Ordering::Relaxed);
        *world.generations.lock().unwrap().entry(leaf.frame.0).or_default() += 1;
        self.space.map(0, self.page, std::mem::replace(&mut *spare, leaf.frame), read_write());
    }
}

/// Four harts read and write pages of two spaces that each of them also swaps, shooting the others
/// while being shot at. Nobody ever sees a frame that was reused, and everybody finishes.
#[test]
fn many_shooters_never_deadlock_and_nobody_sees_a_frame_reused() {
    const HARTS: usize = 4;
    const ROUNDS: usize = 1_500;
    for (tlb, check) in
        [(TlbTraits::NORMAL, false), (TlbTraits::STICKY, false), (TlbTraits::STICKY, true)]
    {
        let config = Config { harts: HARTS, tlb, check, ids: 2, ..Config::default() };
        let world = World::<F>::new(config);
        // The locks of these tests are not the tables': say that all may be held.
        world.locked.store(true, Ordering::Release);
        let spaces: Vec<_> = (0..3).map(|id| world.space(id)).collect();
        let swapped: Vec<_> = spaces
            .iter()
            .flat_map(|space| (0..PAGES).map(move |page| (space, page)))
            .map(|(space, page)| {
                first_word(&world, space.map_fresh(page, read_write()))
                    .store(page, Ordering::Relaxed);
                Swapped { space, page, spare: Mutex::new(world.frame()) }
            })
            .collect();
        let seen = AtomicUsize::new(0);
        thread::scope(|scope| {
            for index in 0..HARTS {
                let (world, spaces, swapped, seen) = (&world, &spaces, &swapped, &seen);
                scope.spawn(move || {
                    let mut hart = HartContext::new(world, index).unwrap();
                    for round in 0..ROUNDS {
                        hart.load(&spaces[(round / 8 + index) % spaces.len()]);
                        let read = hart.inside(|_, mmu| read_pages(mmu, round)).unwrap();
                        seen.fetch_add(read, Ordering::Relaxed);
                        // Not every time, so that identifiers are also taken while in use.
                        if round % 3 == 0 {
                            swapped[(round * 7 + index) % swapped.len()].swap();
                        }
                    }
                });
            }
        });
        assert!(seen.load(Ordering::Relaxed) > 0);
        let statistics = world.machine.statistics();
        assert_eq!(statistics.shootdowns, (HARTS * ROUNDS / 3) as u64);
        assert!(statistics.harts.ids_recycled > 0);
    }
}

/// Reads the pages some times, answering in between; how often one was there.
fn read_pages(mmu: &mut Mmu<'_, World<F>>, round: usize) -> usize {
    let mut seen = 0;
    for turn in 0..20 {
        let page = (turn + round) as u64 % PAGES;
        let access = if turn % 3 == 0 { Access::Write } else { Access::Read };
        if let Ok(host) = mmu.translate(at::<F>(page), access) {
            // SAFETY: aligned, in the machine's memory, reached by all as an atomic; the pointer
            // is used before the next answer.
            let word = unsafe { &*host.cast::<AtomicU64>() };
            let found = word.load(Ordering::Relaxed);
            assert_eq!(found, page, "a frame that was reused is seen");
            seen += 1;
        }
        mmu.answer();
    }
    seen
}

#[test]
fn a_whole_space_is_dropped_and_others_stay() {
    let world = World::<F>::new(Config::default());
    let (space, other) = (world.space(1), world.space(2));
    let mut hart = HartContext::new(&world, 0).unwrap();
    for space in [&other, &space] {
        map_fresh(space, 0..3);
        hart.load(space);
        hart.inside(|_, mmu| assert!((0..3).all(|page| reads(mmu, page)))).unwrap();
    }
    space.shoot_all();
    hart.inside(|_, mmu| assert!((0..3).all(|page| reads(mmu, page)))).unwrap();
    assert_eq!(hart.counts().walks, 9);
    hart.load(&other);
    hart.inside(|_, mmu| assert!((0..3).all(|page| reads(mmu, page)))).unwrap();
    assert_eq!(hart.counts().walks, 9);
    assert_eq!(world.machine.statistics().shootdown_spaces, 1);
}

/// A space ends while a hart that is inside holds an identifier for it, and another that has run
/// it is outside: neither names it again, and a space of the same name begins with nothing cached.
#[test]
fn a_space_that_ended_is_never_named_again() {
    let world = World::<F>::new(Config { harts: 2, ids: 2, ..Config::default() });
    let (space, other) = (world.space(1), world.space(2));
    map_fresh(&space, 0..3);
    map_fresh(&other, 0..3);
    let (inside, done) = (Barrier::new(3), AtomicBool::new(false));
    thread::scope(|scope| {
        let harts = [vec![&space, &other], vec![&space]].into_iter().enumerate();
        for (index, spaces) in harts {
            let (world, inside, done) = (&world, &inside, &done);
            scope.spawn(move || {
                let mut hart = HartContext::new(world, index).unwrap();
                for space in spaces {
                    hart.load(space);
                    hart.inside(|_, mmu| assert!(reads(mmu, 0))).unwrap();
                }
                inside.wait();
                if index == 0 {
                    hart.inside(|_, mmu| linger(mmu, done)).unwrap();
                }
                inside.wait();
                let again = world.space(1);
                hart.load(&again);
                hart.inside(|_, mmu| assert!(!reads(mmu, 0))).unwrap();
            });
        }
        inside.wait();
        world.machine.forget_space(space.id);
        done.store(true, Ordering::Release);
        inside.wait();
    });
    // Only what lived at the end was left, when the harts ended.
    let mut left = world.left.lock().unwrap().clone();
    left.sort_by_key(|(space, hart)| (space.0, *hart));
    assert_eq!(left, [(SpaceId(1), 0), (SpaceId(1), 1), (SpaceId(2), 0)]);
}
