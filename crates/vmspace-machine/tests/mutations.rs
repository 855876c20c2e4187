//! Each shootdown that the library leaves out is caught by a TLB that forgets nothing and a check
//! of each use. Run with `RUSTFLAGS="--cfg vmspace_mutations" cargo test --test mutations`.
#![cfg(vmspace_mutations)]

mod guest;

use guest::{Guest, RW, machine};
use std::sync::Barrier;
use std::thread;
use vmspace::format::{Format, Rights, Sv48};
use vmspace::mutation::{Mutation, plant};
use vmspace::{Access, Advice, Map, MaySleep, Remap, Space};
use vmspace_machine::check::Why;
use vmspace_machine::riscv::Bus;
use vmspace_machine::{MachinePlatform, TlbKind, Violation};

type F = Sv48;
type SpaceOf<'vm> = Space<'vm, MachinePlatform<F>>;
const PAGE: u64 = 1 << F::PAGE_SHIFT;

/// Plants a mutation for as long as it lives.
struct Planted;

impl Planted {
    fn new(mutation: Option<Mutation>) -> Planted {
        plant(mutation.map_or(0, Mutation::number));
        Planted
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        plant(0);
    }
}

/// A hart writes a page; `operate` does something to it; the hart reads the page.
fn after(
    mutation: Option<Mutation>,
    operate: impl Fn(&SpaceOf<'_>, &mut MaySleep, &mut Guest<'_, F>, u64),
) -> Result<Option<u64>, Box<Violation>> {
    let vm = machine::<F>(1, TlbKind::Sticky, true);
    let mut guest = Guest::new(&vm, 0);
    // SAFETY: the test's own thread, outside, holding nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let space = Space::new(&vm, &mut ms).unwrap();
    let at = space.map(&mut ms, Map::anonymous(4 * PAGE, RW)).unwrap();
    assert!(guest.store(&space, at, 1)?);
    let planted = Planted::new(mutation);
    operate(&space, &mut ms, &mut guest, at);
    let found = guest.load(&space, at);
    drop(planted);
    vm.platform().forget_space(space.id());
    found
}

/// The mutation is caught, and without it nothing is.
fn caught(
    mutation: Mutation,
    operate: impl Fn(&SpaceOf<'_>, &mut MaySleep, &mut Guest<'_, F>, u64),
) -> Why {
    after(None, &operate).expect("no alarm without the mutation");
    let violation = after(Some(mutation), &operate).expect_err("caught");
    violation.why
}

/// The frame has been given back since it was cached.
fn was_freed(why: Why) -> bool {
    matches!(why, Why::Generation { .. })
}

/// What a hart finds that is inside, and does not answer, while another thread unmaps a page that
/// it has cached; it looks for as long as it takes the other to post, and some time more.
fn while_unmapping(mutation: Option<Mutation>) -> Result<(), Box<Violation>> {
    let vm = machine::<F>(1, TlbKind::Sticky, true);
    // SAFETY: the test's own thread, holding nothing; the guest's thread has its own token.
    let mut ms = unsafe { MaySleep::assume() };
    let space = Space::new(&vm, &mut ms).unwrap();
    let at = space.map(&mut ms, Map::anonymous(4 * PAGE, RW)).unwrap();
    let cached = Barrier::new(2);
    let _planted = Planted::new(mutation);
    let result = thread::scope(|scope| {
        let hart = scope.spawn(|| {
            let mut guest = Guest::new(&vm, 0);
            guest.store(&space, at, 1)?;
            guest.hart.inside(|_, mmu| {
                cached.wait();
                let mut tries = 0;
                while tries < 100_000 && mmu.translate(at, Access::Read).is_ok() {
                    tries += u32::from(mmu.pending());
                    thread::yield_now();
                }
            })
        });
        cached.wait();
        space.unmap(&mut ms, at, PAGE).unwrap();
        hart.join().unwrap()
    });
    vm.platform().forget_space(space.id());
    result
}

/// One test: a mutation is planted for the whole process.
#[test]
fn each_is_caught() {
    let unmap = |space: &SpaceOf<'_>, ms: &mut MaySleep, _: &mut Guest<'_, F>, at| {
        space.unmap(ms, at, PAGE).unwrap();
    };
    assert!(was_freed(caught(Mutation::NoShootdownAtUnmap, unmap)));
    let protect = |space: &SpaceOf<'_>, ms: &mut MaySleep, _: &mut Guest<'_, F>, at| {
        space.protect(ms, at, PAGE, Rights::READ).unwrap();
    };
    assert_eq!(caught(Mutation::NoShootdownAtProtect, protect), Why::Rights);
    let discard = |space: &SpaceOf<'_>, ms: &mut MaySleep, _: &mut Guest<'_, F>, at| {
        space.advise(ms, at, PAGE, Advice::DontNeed).unwrap();
    };
    assert!(was_freed(caught(Mutation::NoShootdownAtDontNeed, discard)));
    let remap = |space: &SpaceOf<'_>, ms: &mut MaySleep, _: &mut Guest<'_, F>, at| {
        let moved = Remap {
            address: at,
            old_length: PAGE,
            new_length: PAGE,
            may_move: true,
            keep_source: true,
            ..Remap::default()
        };
        space.remap(ms, moved).unwrap();
    };
    assert_eq!(caught(Mutation::NoShootdownAtRemap, remap), Why::Absent);
    let fork = |space: &SpaceOf<'_>, ms: &mut MaySleep, _: &mut Guest<'_, F>, _| {
        space.fork(ms).unwrap().exit(ms);
    };
    assert_eq!(caught(Mutation::NoShootdownAtFork, fork), Why::Rights);
    let copy = |space: &SpaceOf<'_>, ms: &mut MaySleep, guest: &mut Guest<'_, F>, at| {
        let child = space.fork(ms).unwrap();
        // Cached read-only; then another CPU breaks the sharing.
        guest.load(space, at).unwrap();
        assert_eq!(space.write(ms, at, &[2]), 1);
        child.exit(ms);
    };
    assert!(was_freed(caught(Mutation::NoShootdownAtCopy, copy)));
    while_unmapping(None).expect("no alarm without a mutation");
    let early = while_unmapping(Some(Mutation::UnlockBeforeAcknowledgement)).expect_err("caught");
    assert_eq!(early.why, Why::Absent);
    let freed = while_unmapping(Some(Mutation::FreeBeforeFlush)).expect_err("caught");
    assert!(was_freed(freed.why), "{freed}");
}
