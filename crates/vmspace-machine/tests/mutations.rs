//! Each shootdown that the library leaves out is caught by a TLB that forgets nothing and a check
//! of each use. Run with `RUSTFLAGS="--cfg vmspace_mutations" cargo test --test mutations`.
#![cfg(vmspace_mutations)]

mod guest;

use guest::{Guest, RW, machine};
use std::sync::Barrier;
use std::thread;
use vmspace::format::{Aarch64Granule64K, Geometry, Rights, Sv48};
use vmspace::mutation::{Mutation, plant};
use vmspace::{Access, Advice, Map, MaySleep, Remap, Space, Vm};
use vmspace_machine::check::Why;
use vmspace_machine::riscv::Bus;
use vmspace_machine::{Config, MachinePlatform, TlbTraits, Violation};

type F = Sv48;
type SpaceOf<'vm, F> = Space<'vm, MachinePlatform<F>>;
const PAGE: u64 = F::PAGE_SIZE;
/// What a leaf table spans.
const LEAF: u64 = 512 * PAGE;

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
    operate: impl Fn(&SpaceOf<'_, F>, &mut MaySleep, &mut Guest<'_, F>, u64),
) -> Result<Option<u64>, Box<Violation>> {
    let vm = machine::<F>(1, TlbTraits::STICKY | TlbTraits::NONLEAF, true);
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
    operate: impl Fn(&SpaceOf<'_, F>, &mut MaySleep, &mut Guest<'_, F>, u64),
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
    let vm = machine::<F>(1, TlbTraits::STICKY, true);
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

/// A format that demands break-before-make.
type B = Aarch64Granule64K;

/// 1 GiB, of which the manager has the lower half.
fn half_a_machine() -> Vm<MachinePlatform<B>> {
    let tlb = TlbTraits::STICKY;
    let config = Config { memory: 1 << 30, harts: 2, tlb, check: true, ..Config::default() };
    let machine = MachinePlatform::new(config).unwrap();
    let frames = machine.frames();
    Vm::new(machine, frames.start..(frames.start + frames.end) / 2).unwrap()
}

/// `prepare` maps something. Hart 0 reads it, and stays inside while `change` makes its entry name
/// another frame or size. When hart 0 is asked to forget, hart 1 looks at the same page.
fn looked_at_during(
    mutation: Option<Mutation>,
    prepare: impl Fn(&SpaceOf<'_, B>, &mut MaySleep) -> u64,
    change: impl Fn(&SpaceOf<'_, B>, &mut MaySleep, u64),
) -> Result<(), Box<Violation>> {
    let vm = half_a_machine();
    // SAFETY: the test's own thread, holding nothing; the guests' threads have their own tokens.
    let mut ms = unsafe { MaySleep::assume() };
    let space = Space::new(&vm, &mut ms).unwrap();
    let at = prepare(&space, &mut ms);
    let (cached, asked, looked) = (Barrier::new(2), Barrier::new(2), Barrier::new(2));
    let _planted = Planted::new(mutation);
    let result = thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let mut guest = Guest::<B>::new(&vm, 0);
            guest.load(&space, at)?.expect("the page is there");
            guest.hart.inside(|_, mmu| {
                cached.wait();
                while !mmu.pending() {
                    thread::yield_now();
                }
                asked.wait();
                looked.wait();
            })
        });
        let looker = scope.spawn(|| {
            let mut guest = Guest::<B>::new(&vm, 1);
            asked.wait();
            guest.hart.load(&space);
            // Refused, where the entry is in transit: a fault would wait.
            let found = guest.hart.inside(|_, mmu| mmu.translate(at, Access::Read).is_ok());
            looked.wait();
            found.map(|found| assert!(!found, "a translation during the flush"))
        });
        cached.wait();
        change(&space, &mut ms, at);
        holder.join().unwrap().expect("it used what it held");
        looker.join().unwrap()
    });
    vm.platform().forget_space(space.id());
    result
}

/// The zero page is written.
fn copy(mutation: Option<Mutation>) -> Result<(), Box<Violation>> {
    let prepare = |space: &SpaceOf<'_, B>, ms: &mut MaySleep| {
        let at = space.map(ms, Map::anonymous(B::PAGE_SIZE, RW)).unwrap();
        space.fault(ms, at, Access::Read).unwrap();
        at
    };
    looked_at_during(mutation, prepare, |space, ms, at| assert_eq!(space.write(ms, at, &[2]), 1))
}

/// A page of a large leaf gets other rights.
fn split(mutation: Option<Mutation>) -> Result<(), Box<Violation>> {
    let length = B::slot_pages(1) * B::PAGE_SIZE;
    let prepare = |space: &SpaceOf<'_, B>, ms: &mut MaySleep| {
        let first = vmspace::Frame(space.vm().platform().frames().end - B::slot_pages(1));
        space.map_device(ms, length, length, first, RW).unwrap();
        length
    };
    looked_at_during(mutation, prepare, |space, ms, at| {
        space.protect(ms, at + B::PAGE_SIZE, B::PAGE_SIZE, Rights::READ).unwrap();
    })
}

/// One test: a mutation is planted for the whole process.
#[test]
fn each_is_caught() {
    let unmap = |space: &SpaceOf<'_, F>, ms: &mut MaySleep, _: &mut Guest<'_, F>, at| {
        space.unmap(ms, at, PAGE).unwrap();
    };
    assert!(was_freed(caught(Mutation::NoShootdownAtUnmap, unmap)));
    let protect = |space: &SpaceOf<'_, F>, ms: &mut MaySleep, _: &mut Guest<'_, F>, at| {
        space.protect(ms, at, PAGE, Rights::READ).unwrap();
    };
    assert_eq!(caught(Mutation::NoShootdownAtProtect, protect), Why::Rights);
    let discard = |space: &SpaceOf<'_, F>, ms: &mut MaySleep, _: &mut Guest<'_, F>, at| {
        space.advise(ms, at, PAGE, Advice::DontNeed).unwrap();
    };
    assert!(was_freed(caught(Mutation::NoShootdownAtDontNeed, discard)));
    let remap = |space: &SpaceOf<'_, F>, ms: &mut MaySleep, _: &mut Guest<'_, F>, at| {
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
    let fork = |space: &SpaceOf<'_, F>, ms: &mut MaySleep, _: &mut Guest<'_, F>, _| {
        space.fork(ms).unwrap().exit(ms);
    };
    assert_eq!(caught(Mutation::NoShootdownAtFork, fork), Why::Rights);
    let shared = |space: &SpaceOf<'_, F>, ms: &mut MaySleep, guest: &mut Guest<'_, F>, at| {
        let child = space.fork(ms).unwrap();
        // Cached read-only; then another CPU breaks the sharing.
        guest.load(space, at).unwrap();
        assert_eq!(space.write(ms, at, &[2]), 1);
        child.exit(ms);
    };
    assert!(was_freed(caught(Mutation::NoShootdownAtCopy, shared)));
    while_unmapping(None).expect("no alarm without a mutation");
    let early = while_unmapping(Some(Mutation::UnlockBeforeAcknowledgement)).expect_err("caught");
    assert_eq!(early.why, Why::Absent);
    let freed = while_unmapping(Some(Mutation::FreeBeforeFlush)).expect_err("caught");
    assert!(was_freed(freed.why), "{freed}");
    let anew = |space: &SpaceOf<'_, F>, ms: &mut MaySleep, _: &mut Guest<'_, F>, at: u64| {
        space.unmap(ms, at & !(LEAF - 1), LEAF).unwrap();
        space.map(ms, Map::anonymous(4 * PAGE, RW).at(at)).unwrap();
    };
    assert_eq!(caught(Mutation::NoTablesInShootdown, anew), Why::Unlinked);
    for change in [copy, split] {
        change(None).expect("no alarm without a mutation");
        let unbroken = change(Some(Mutation::NoBreakBeforeMake)).expect_err("caught");
        assert_eq!(unbroken.why, Why::Unbroken { holder: 0 }, "{unbroken}");
    }
}
