//! One operation after the other, with a look at what it did.

#[macro_use]
mod host;

use host::Host;
use vmspace::format::{Format, Geometry, Rights, Sv39x4, Sv48, X86_64};
use vmspace::{Access, Advice, Error, FaultError, Map, MaySleep, Place, Space, Vm};

in_every_format!(
    a_space_that_maps_faults_forks_and_unmaps_keeps_nothing,
    shared_memory_is_one_for_parent_and_child,
    a_layout_that_outgrows_the_slab_is_still_a_layout,
);

const RW: Rights = Rights::READ.union(Rights::WRITE);

fn with_space<F: Format>(test: impl Fn(&Vm<Host<F>>, &Space<'_, Host<F>>, &mut MaySleep)) {
    let vm = Host::<F>::new(4096, 2).manager();
    // SAFETY: a test's own thread, which holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let frames = vm.free_frames();
    let space = Space::new(&vm, &mut ms).unwrap();
    test(&vm, &space, &mut ms);
    vm.check(&mut ms).unwrap();
    space.exit(&mut ms);
    vm.synchronize(&mut ms);
    assert_eq!(vm.slab_in_use(), 0, "slab objects leaked");
    assert_eq!(vm.free_frames(), frames, "frames leaked");
}

fn page<F: Format>() -> u64 {
    F::PAGE_SIZE
}

fn maps_faults_forks<F: Format>(vm: &Vm<Host<F>>, space: &Space<'_, Host<F>>, ms: &mut MaySleep) {
    let at = space.map(ms, Map::anonymous(16 * page::<F>(), RW)).unwrap();
    assert_eq!(space.write(ms, at + 5, b"hello"), 5);
    space.fault(ms, at + page::<F>(), Access::Read).unwrap();
    let child = space.fork(ms).unwrap();
    assert_eq!(child.write(ms, at + 5, b"child"), 5);
    let mut seen = [0; 5];
    assert_eq!(space.read(ms, at + 5, &mut seen), 5);
    assert_eq!(&seen, b"hello");
    assert_eq!(child.read(ms, at + 5, &mut seen), 5);
    assert_eq!(&seen, b"child");
    child.exit(ms);
    assert_eq!(space.usage(ms).resident, 1);
    space.protect(ms, at, page::<F>(), Rights::READ).unwrap();
    assert_eq!(space.fault(ms, at, Access::Write), Err(FaultError::Denied));
    let region = space.next_region(ms, 0).unwrap();
    assert_eq!((region.start, region.end), (at, at + page::<F>()));
    space.advise(ms, at, 16 * page::<F>(), Advice::DontNeed).unwrap();
    assert_eq!(space.read(ms, at + 5, &mut seen), 5);
    assert_eq!(seen, [0; 5]);
    space.unmap(ms, at + page::<F>(), 3 * page::<F>()).unwrap();
    assert_eq!(space.fault(ms, at + page::<F>(), Access::Read), Err(FaultError::NotMapped));
    space.unmap(ms, at, 16 * page::<F>()).unwrap();
    assert!(space.next_region(ms, 0).is_none());
    assert_eq!(space.usage(ms).mapped, 0);
    assert!(vm.statistics().faults_cow_copy >= 1);
}

fn a_space_that_maps_faults_forks_and_unmaps_keeps_nothing<F: Format>() {
    with_space::<F>(maps_faults_forks);
}

fn shared<F: Format>(_: &Vm<Host<F>>, space: &Space<'_, Host<F>>, ms: &mut MaySleep) {
    let at = space.map(ms, Map::anonymous(600 * page::<F>(), RW).shared()).unwrap();
    let child = space.fork(ms).unwrap();
    assert_eq!(child.write(ms, at + 599 * page::<F>(), b"x"), 1);
    let mut seen = [0];
    assert_eq!(space.read(ms, at + 599 * page::<F>(), &mut seen), 1);
    assert_eq!(&seen, b"x");
    space.unmap(ms, at + page::<F>(), 598 * page::<F>()).unwrap();
    child.exit(ms);
    assert_eq!(space.read(ms, at + 599 * page::<F>(), &mut seen), 1);
    assert_eq!(&seen, b"x");
}

fn shared_memory_is_one_for_parent_and_child<F: Format>() {
    with_space::<F>(shared);
}

fn striped<F: Format>(_: &Vm<Host<F>>, space: &Space<'_, Host<F>>, ms: &mut MaySleep) {
    let (pages, at) = (500, 1 << 30);
    space.map(ms, Map::anonymous(pages * page::<F>(), RW).at(at)).unwrap();
    for n in (1..pages).step_by(2) {
        space.protect(ms, at + n * page::<F>(), page::<F>(), Rights::READ).unwrap();
    }
    for n in 0..pages {
        let region = space.next_region(ms, at + n * page::<F>()).unwrap();
        assert_eq!(region.end - region.start, page::<F>());
        assert_eq!(region.rights, if n % 2 == 0 { RW } else { Rights::READ });
    }
    space.protect(ms, at, pages * page::<F>(), Rights::READ).unwrap();
    let region = space.next_region(ms, 0).unwrap();
    assert_eq!((region.start, region.end), (at, at + pages * page::<F>()));
}

fn a_layout_that_outgrows_the_slab_is_still_a_layout<F: Format>() {
    with_space::<F>(striped);
}

#[test]
fn placement_is_top_down_and_reuses_the_highest_hole() {
    with_space::<Sv48>(|_, space, ms| {
        let a = space.map(ms, Map::anonymous(4096, RW)).unwrap();
        let b = space.map(ms, Map::anonymous(4096, RW)).unwrap();
        let c = space.map(ms, Map::anonymous(8192, RW)).unwrap();
        assert_eq!((b, c), (a - 4096, a - 3 * 4096));
        space.unmap(ms, b, 4096).unwrap();
        assert_eq!(space.map(ms, Map::anonymous(8192, RW)).unwrap(), c - 8192);
        assert_eq!(space.map(ms, Map::anonymous(4096, RW)).unwrap(), b);
    });
}

#[test]
fn brk_moves_and_refuses_as_linux_does() {
    with_space::<X86_64>(|_, space, ms| {
        space.set_break(0x10_0000);
        assert_eq!(space.brk(ms, 0), 0x10_0000);
        assert_eq!(space.brk(ms, 0x10_1234), 0x10_1234);
        assert_eq!(space.write(ms, 0x10_1fff, b"x"), 1);
        assert_eq!(space.brk(ms, 0x10_0100), 0x10_0100);
        assert_eq!(space.write(ms, 0x10_1fff, b"x"), 0);
        let wall = Map { place: Place::FixedNoReplace, ..Map::anonymous(4096, RW).at(0x20_0000) };
        space.map(ms, wall).unwrap();
        assert_eq!(space.map(ms, wall), Err(Error::Exists));
        assert_eq!(space.brk(ms, 0x30_0000), 0x10_0100);
    });
}

#[test]
fn a_stack_grows_to_its_limit_and_not_into_its_guard_gap() {
    with_space::<Sv48>(|_, space, ms| {
        let top = 0x7000_0000;
        let stack = Map { grows_down: true, ..Map::anonymous(4096, RW).at(top - 4096) };
        space.map(ms, stack).unwrap();
        space.fault(ms, top - 40 * 4096, Access::Write).unwrap();
        let region = space.next_region(ms, 0).unwrap();
        assert_eq!(region.start, top - 40 * 4096);
        assert_eq!(space.fault(ms, top - (9 << 20), Access::Write), Err(FaultError::NotMapped));
        space.map(ms, Map::anonymous(4096, RW).at(top - 400 * 4096)).unwrap();
        assert!(space.fault(ms, top - 100 * 4096, Access::Write).is_ok());
        assert!(space.fault(ms, top - 300 * 4096, Access::Write).is_err());
    });
}

#[test]
fn a_root_of_several_pages_shares_them_with_nobody() {
    // What is managed does not begin where such a root may.
    let host = Host::<Sv39x4>::new(1024, 1);
    let vm = Vm::new(host, 3..1024).unwrap();
    // SAFETY: a test's own thread, which holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let frames = vm.free_frames();
    let spaces = [0; 20].map(|_| Space::new(&vm, &mut ms).unwrap());
    let last = (1 << 41) - 4096;
    for (n, space) in (0u8..).zip(&spaces) {
        assert!(space.root().0.is_multiple_of(4), "{:?}", space.root());
        for at in [65_536, 1 << 39, 1 << 40, last] {
            space.map(&mut ms, Map::anonymous(4096, RW).at(at)).unwrap();
            assert_eq!(space.write(&mut ms, at, &[n; 64]), 64);
        }
    }
    for (n, space) in (0u8..).zip(&spaces) {
        for at in [65_536, 1 << 39, 1 << 40, last] {
            let mut seen = [!0; 64];
            assert_eq!(space.read(&mut ms, at, &mut seen), 64);
            assert_eq!(seen, [n; 64], "{at:#x}");
        }
    }
    vm.check(&mut ms).unwrap();
    spaces.into_iter().for_each(|space| space.exit(&mut ms));
    vm.synchronize(&mut ms);
    assert_eq!(vm.free_frames(), frames, "frames leaked");
}
