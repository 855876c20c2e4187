//! The door between a hart and whoever shoots it down, in every interleaving and with every value
//! that weak memory allows. Run with `RUSTFLAGS="--cfg loom" cargo test --release --test loom_door`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use loom::thread;
use vmspace::SpaceId;
use vmspace_machine::shootdown::door::Door;
use vmspace_machine::tlb::ids::{IdTable, Ids};

/// A page that is mapped, and a frame that is in use as long as someone may reach it through the
/// page. `forget` is what posts ask for.
struct World {
    entry: AtomicU64,
    reused: AtomicBool,
    doors: Vec<Door<bool>>,
}

impl World {
    fn new(harts: usize) -> Arc<World> {
        Arc::new(World {
            entry: AtomicU64::new(1),
            reused: AtomicBool::new(false),
            doors: (0..harts).map(|_| Door::new(false)).collect(),
        })
    }

    /// Takes the entry away, waits for the harts in `shot`, and reuses the frame.
    fn unmap(&self, shot: std::ops::Range<usize>) {
        self.entry.store(0, Ordering::Relaxed);
        let tickets: Vec<_> =
            shot.map(|hart| (hart, self.doors[hart].post(|forget| *forget = true))).collect();
        for (hart, ticket) in tickets {
            while !self.doors[hart].is_answered(ticket) {
                thread::yield_now();
            }
        }
        self.reused.store(true, Ordering::Relaxed);
    }
}

/// A hart with a TLB of one entry.
struct Hart<'w> {
    world: &'w World,
    door: &'w Door<bool>,
    cached: bool,
}

impl<'w> Hart<'w> {
    fn new(world: &'w World, index: usize) -> Hart<'w> {
        Hart { world, door: &world.doors[index], cached: false }
    }

    fn answer(&mut self) {
        if self.door.is_pending() {
            let mut forget = false;
            let drained = self.door.drain(&mut forget);
            self.cached &= !forget;
            self.door.answer(drained);
        }
    }

    fn access(&mut self) {
        self.cached = self.cached || self.world.entry.load(Ordering::Acquire) == 1;
        if self.cached {
            assert!(!self.world.reused.load(Ordering::Relaxed), "a reused frame is seen");
        }
    }

    fn go_inside(&mut self) {
        self.door.go_inside();
        self.answer();
    }

    fn goes_in_and_out(&mut self) {
        self.go_inside();
        self.access();
        self.answer();
        self.access();
        self.door.go_outside();
    }
}

/// Somebody else, who unmaps what hart 0 may hold.
fn shooter(world: &Arc<World>) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || world.unmap(0..1))
}

fn bounded(check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(check);
}

#[test]
fn a_hart_that_goes_in_uses_polls_and_goes_out_never_sees_a_reused_frame() {
    bounded(|| {
        let world = World::new(1);
        let shooter = shooter(&world);
        let mut hart = Hart::new(&world, 0);
        hart.goes_in_and_out();
        hart.goes_in_and_out();
        shooter.join().unwrap();
    });
}

#[test]
fn a_post_that_comes_meanwhile_wipes_out_no_other() {
    bounded(|| {
        let world = World::new(1);
        let shooter = shooter(&world);
        let other = thread::spawn({
            let world = world.clone();
            move || {
                world.doors[0].post(|_| {});
            }
        });
        let mut hart = Hart::new(&world, 0);
        hart.goes_in_and_out();
        shooter.join().unwrap();
        other.join().unwrap();
        hart.go_inside();
        assert!(!hart.cached, "all that was posted is drained on the way in");
    });
}

#[test]
fn two_harts_that_shoot_each_other_both_finish() {
    bounded(|| {
        let world = World::new(2);
        let run = |world: &World, index: usize| {
            let mut hart = Hart::new(world, index);
            hart.go_inside();
            hart.access();
            hart.door.go_outside();
            world.unmap(0..2);
            hart.go_inside();
            hart.access();
            hart.door.go_outside();
        };
        let other = thread::spawn({
            let world = world.clone();
            move || run(&world, 1)
        });
        run(&world, 0);
        other.join().unwrap();
    });
}

/// A hart takes the identifier of a space that somebody ends meanwhile, and gives it to another: it
/// leaves the space while it lives, or not at all.
#[test]
fn a_space_that_has_ended_is_not_left() {
    bounded(|| {
        let (door, table) = (Door::new(()), IdTable::new(1));
        let shared = Arc::new((door, table, AtomicBool::new(false)));
        let mut ids = Ids::new(&shared.1);
        let first = ids.vacate().id;
        ids.give(first, SpaceId(1));
        let ender = thread::spawn({
            let shared = shared.clone();
            move || {
                let (door, table, ended) = &*shared;
                if table.strike_out(SpaceId(1)) {
                    let ticket = door.post(|()| ());
                    while !door.is_answered(ticket) {
                        thread::yield_now();
                    }
                }
                ended.store(true, Ordering::Relaxed);
            }
        });
        let (door, _, ended) = &*shared;
        door.go_inside();
        if door.is_pending() {
            let drained = door.drain(&mut ());
            door.answer(drained);
        }
        let vacant = ids.vacate();
        if vacant.space.is_some() {
            assert!(!ended.load(Ordering::Relaxed), "a space is left that has ended");
        }
        ids.give(vacant.id, SpaceId(2));
        door.go_outside();
        ender.join().unwrap();
    });
}

/// The same crossing without one of the fences: each side misses the other.
fn crossing(hart_fences: bool, shooter_fences: bool) {
    loom::model(move || {
        let words = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
        let shooter = thread::spawn({
            let words = words.clone();
            move || {
                words.0.store(true, Ordering::Relaxed); // pending
                if shooter_fences {
                    fence(Ordering::SeqCst);
                }
                words.1.load(Ordering::Acquire) // inside
            }
        });
        words.1.store(true, Ordering::Relaxed);
        if hart_fences {
            fence(Ordering::SeqCst);
        }
        let pending = words.0.load(Ordering::Relaxed);
        let inside = shooter.join().unwrap();
        assert!(pending || inside, "each has missed the other");
    });
}

#[test]
fn with_both_fences_one_sees_the_other() {
    crossing(true, true);
}

#[test]
#[should_panic(expected = "each has missed the other")]
fn without_the_harts_fence_both_may_miss() {
    crossing(false, true);
}

#[test]
#[should_panic(expected = "each has missed the other")]
fn without_the_shooters_fence_both_may_miss() {
    crossing(true, false);
}
