//! Pages held by their frames: what a fork, an unmap and a copy-on-write break must leave alone.

mod host;

use host::Host;
use vmspace::format::{Rights, Sv48};
use vmspace::{FaultError, Map, MaySleep, Platform, Space, Vm};

const RW: Rights = Rights::READ.union(Rights::WRITE);

fn token() -> MaySleep {
    // SAFETY: a test's own thread, which holds nothing.
    unsafe { MaySleep::assume() }
}

fn with_page(test: impl Fn(&Vm<Host<Sv48>>, Space<'_, Host<Sv48>>, u64)) {
    let vm = Host::<Sv48>::new(1024, 1).manager();
    let free = vm.free_frames();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = space.map(&mut token(), Map::anonymous(4096, RW)).unwrap();
    assert_eq!(space.write(&mut token(), at, b"mine"), 4);
    test(&vm, space, at);
    vm.synchronize(&mut token());
    assert_eq!((vm.free_frames(), vm.slab_in_use()), (free, 0), "something leaked");
}

/// What a device sees that reaches the page by its frame.
fn by_frame(vm: &Vm<Host<Sv48>>, pin: &vmspace::Pinned<'_, Host<Sv48>>) -> [u8; 4] {
    // SAFETY: the page is held, and no other thread runs.
    unsafe { vm.platform().frame_ptr(pin.frame()).cast::<[u8; 4]>().read_volatile() }
}

#[test]
fn a_held_page_is_not_reused_after_unmap() {
    with_page(|vm, space, at| {
        let pin = space.pin(&mut token(), at, false).unwrap();
        space.unmap(&mut token(), at, 4096).unwrap();
        let other = space.map(&mut token(), Map::anonymous(64 << 12, RW)).unwrap();
        for n in 0..64 {
            assert_eq!(space.write(&mut token(), other + n * 4096, b"else"), 4);
        }
        assert_eq!(&by_frame(vm, &pin), b"mine");
    });
}

#[test]
fn a_fork_does_not_part_a_held_page_from_its_space() {
    with_page(|vm, space, at| {
        let pin = space.pin(&mut token(), at, true).unwrap();
        let child = space.fork(&mut token()).unwrap();
        assert_eq!(space.write(&mut token(), at, b"more"), 4);
        assert_eq!(&by_frame(vm, &pin), b"more", "the space writes another page than the device");
        let mut seen = [0; 4];
        assert_eq!(child.read(&mut token(), at, &mut seen), 4);
        assert_eq!(&seen, b"mine", "the child saw a later write");
        vm.check(&mut token()).unwrap();
    });
}

#[test]
fn a_page_held_for_writing_is_the_holders_alone() {
    with_page(|vm, space, at| {
        let child = space.fork(&mut token()).unwrap();
        let pin = child.pin(&mut token(), at, true).unwrap();
        // SAFETY: the page is held, and no other thread runs.
        unsafe { vm.platform().frame_ptr(pin.frame()).cast::<[u8; 4]>().write_volatile(*b"dma!") };
        let mut seen = [0; 4];
        assert_eq!(space.read(&mut token(), at, &mut seen), 4);
        assert_eq!(&seen, b"mine", "a device wrote a page that the parent shares");
        assert_eq!(child.read(&mut token(), at, &mut seen), 4);
        assert_eq!(&seen, b"dma!");
    });
}

#[test]
fn what_cannot_be_reached_cannot_be_held() {
    with_page(|_, space, at| {
        assert!(matches!(space.pin(&mut token(), at + 4096, false), Err(FaultError::NotMapped)));
        space.protect(&mut token(), at, 4096, Rights::READ).unwrap();
        assert!(matches!(space.pin(&mut token(), at, true), Err(FaultError::Denied)));
        assert!(matches!(space.pin(&mut token(), u64::MAX, false), Err(FaultError::NotUser)));
    });
}

#[test]
fn a_right_that_comes_back_parts_a_held_page_from_its_space() {
    with_page(|vm, space, at| {
        let pin = space.pin(&mut token(), at, true).unwrap();
        space.protect(&mut token(), at, 4096, Rights::READ).unwrap();
        space.protect(&mut token(), at, 4096, RW).unwrap();
        assert_eq!(space.write(&mut token(), at, b"more"), 4);
        assert_eq!(&by_frame(vm, &pin), b"more", "the write went to a copy");
    });
}

#[test]
fn a_page_held_twice_is_given_up_with_the_first() {
    with_page(|vm, space, at| {
        let pins = [false, true].map(|write| space.pin(&mut token(), at, write).unwrap());
        let [first, second] = pins;
        assert_eq!(first.frame(), second.frame(), "one page, held twice, became two");
        drop(first);
        let child = space.fork(&mut token()).unwrap();
        assert_eq!(space.write(&mut token(), at, b"more"), 4);
        assert_eq!(&by_frame(vm, &second), b"more", "the fork parted the page from its space");
        drop(second);
        // Held no longer: shared by the next fork as any other.
        let copies = vm.statistics().faults_cow_copy;
        let other = space.fork(&mut token()).unwrap();
        assert_eq!(space.write(&mut token(), at, b"last"), 4);
        assert_eq!(vm.statistics().faults_cow_copy, copies + 1);
        for (space, expected) in [(&child, b"mine"), (&other, b"more"), (&space, b"last")] {
            let mut seen = [0; 4];
            assert_eq!(space.read(&mut token(), at, &mut seen), 4);
            assert_eq!(&seen, expected);
        }
        vm.check(&mut token()).unwrap();
    });
}
