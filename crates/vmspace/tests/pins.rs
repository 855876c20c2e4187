//! Pages held by their frames: what a fork, an unmap and a copy-on-write break must leave alone.

mod host;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use host::Host;
use vmspace::format::{Rights, Sv48};
use vmspace::{FaultError, Frame, Map, MaySleep, Pinned, Platform, Space, Vm};

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

fn fast<'vm>(
    space: &Space<'vm, Host<Sv48>>,
    at: u64,
    write: bool,
) -> Option<Pinned<'vm, Host<Sv48>>> {
    let mut ms = token();
    space.pin_fast(&space.vm().walk(&mut ms), at, write)
}

#[test]
fn a_fork_does_not_part_a_page_held_without_locks_from_its_space() {
    for write in [false, true] {
        with_page(|vm, space, at| {
            let pin = fast(&space, at, write).unwrap();
            let child = space.fork(&mut token()).unwrap();
            assert_eq!(space.write(&mut token(), at, b"more"), 4);
            assert_eq!(&by_frame(vm, &pin), b"more", "the space writes another page");
            let mut seen = [0; 4];
            assert_eq!(child.read(&mut token(), at, &mut seen), 4);
            assert_eq!(&seen, b"mine", "the child saw a later write");
            vm.check(&mut token()).unwrap();
        });
    }
}

#[test]
fn a_page_that_a_fork_shares_is_held_without_a_copy() {
    with_page(|vm, space, at| {
        let child = space.fork(&mut token()).unwrap();
        for write in [false, true] {
            assert!(fast(&space, at, write).is_none(), "shared with the child");
            assert!(fast(&child, at, write).is_none(), "shared with the parent");
        }
        child.exit(&mut token());
        // The slow way finds that it is alone again; from then on the fast one does.
        drop(space.pin(&mut token(), at, true).unwrap());
        assert!(fast(&space, at, true).is_some());
        vm.check(&mut token()).unwrap();
    });
}

#[test]
fn what_the_entry_does_not_allow_is_held_without_a_fault() {
    with_page(|vm, space, at| {
        let zero = space.map(&mut token(), Map::anonymous(8192, RW)).unwrap();
        assert_eq!(space.read(&mut token(), zero, &mut [0]), 1);
        assert!(fast(&space, zero, false).is_none(), "the zero page");
        assert!(fast(&space, zero + 4096, false).is_none(), "no page");
        assert!(fast(&space, u64::MAX, false).is_none());
        space.protect(&mut token(), at, 4096, Rights::READ).unwrap();
        assert!(fast(&space, at, true).is_none(), "not writable");
        assert!(fast(&space, at, false).is_some());
        let device = 1 << 30;
        space.reserve(&mut token(), device, 4096, RW).unwrap();
        let set = |range: &mut vmspace::Transaction<'_, '_, '_, Host<Sv48>>| {
            range.set(device, Frame(1 << 30), RW)
        };
        space.transaction(&mut token(), device, 4096, set).unwrap();
        assert!(fast(&space, device, true).is_none(), "a device's frame");
        let other = Host::<Sv48>::new(1024, 1).manager();
        let mut ms = token();
        assert!(space.pin_fast(&other.walk(&mut ms), at, false).is_none(), "another's guard");
        vm.check(&mut token()).unwrap();
    });
}

#[test]
fn a_page_of_an_object_is_held_as_private_memory() {
    with_page(|vm, space, _| {
        let object = vm.object(&mut token(), 4096, 0).unwrap();
        let map = |map: Map| space.map_object(&mut token(), map, &object, 0).unwrap();
        let (shared, private) =
            (map(Map::anonymous(4096, RW).shared()), map(Map::anonymous(4096, RW)));
        for at in [shared, private] {
            assert_eq!(space.read(&mut token(), at, &mut [0]), 1);
        }
        assert!(fast(&space, private, false).is_none(), "the object's page, held as the space's");
        let pin = fast(&space, shared, true).unwrap();
        assert!(space.translate(&vm.walk(&mut token()), shared).unwrap().dirty);
        let child = space.fork(&mut token()).unwrap();
        assert_eq!(child.write(&mut token(), shared, b"both"), 4);
        assert_eq!(&by_frame(vm, &pin), b"both", "shared memory was parted by a fork");
        assert_eq!(child.write(&mut token(), private, b"hers"), 4);
        assert_eq!(&by_frame(vm, &pin), b"both", "a private write reached the object");
        vm.check(&mut token()).unwrap();
    });
}

/// A thread pins and writes by the frame while another forks: no child sees its page change.
#[test]
fn a_page_pinned_during_a_fork_is_the_childs_too() {
    let vm = Host::<Sv48>::new(1024, 2).manager();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = space.map(&mut token(), Map::anonymous(4096, RW)).unwrap();
    let word = |frame: Frame| {
        // SAFETY: the page is held; its words are reached as atomics alone.
        unsafe { AtomicU32::from_ptr(vm.platform().frame_ptr(frame).cast()) }
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            host::be_cpu(1);
            while !done.load(Ordering::Acquire) {
                match fast(&space, at, true) {
                    Some(pin) => {
                        word(pin.frame()).fetch_add(1, Ordering::Relaxed);
                    }
                    // Make it the space's own again.
                    None => drop(space.pin(&mut token(), at, true).unwrap()),
                }
            }
        });
        let changed = (0..300).find(|_| {
            let child = space.fork(&mut token()).unwrap();
            let first = child.load_u32(&mut token(), at);
            std::thread::yield_now();
            let again = child.load_u32(&mut token(), at);
            child.exit(&mut token());
            first != again
        });
        // Before the verdict: the other thread ends by it.
        done.store(true, Ordering::Release);
        assert_eq!(changed, None, "the child's page changed");
    });
    vm.check(&mut token()).unwrap();
}
