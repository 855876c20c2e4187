//! What an attacker found once: each test failed on the code as it was.

mod host;

use host::Host;
use std::sync::Mutex;
use vmspace::backend::NoTable;
use vmspace::format::{Geometry, Rights, Sv48};
use vmspace::{
    Access, Advice, Backend, Cell, Error, FaultError, Frame, Map, MaySleep, Native, Platform, Slot,
    Space, Vm,
};

const RW: Rights = Rights::READ.union(Rights::WRITE);
const PAGE: u64 = 4096;
/// Where the tests put a device of one large leaf.
const AT: u64 = 1 << 30;
const LARGE: u64 = 2 << 20;
/// Frames beyond the manager's.
const DEVICE: Frame = Frame(1 << 30);

fn with_space(test: impl Fn(&Vm<Host<Sv48>>, &Space<'_, Host<Sv48>>, &mut MaySleep)) {
    let vm = Host::<Sv48>::new(4096, 2).manager();
    // SAFETY: a test's own thread, which holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let space = Space::new(&vm, &mut ms).unwrap();
    test(&vm, &space, &mut ms);
    vm.check(&mut ms).unwrap();
}

fn with_device(test: impl Fn(&Vm<Host<Sv48>>, &Space<'_, Host<Sv48>>, &mut MaySleep)) {
    with_space(|vm, space, ms| {
        space.map_device(ms, AT, LARGE, DEVICE, RW).unwrap();
        test(vm, space, ms);
    });
}

/// CVE-2020-29374: the parent must not take for its own a page that the child has pinned.
#[test]
fn a_child_reads_through_its_pin_what_the_parent_stores_later() {
    with_space(|vm, parent, ms| {
        let at = parent.map(ms, Map::anonymous(PAGE, RW)).unwrap();
        parent.write(ms, at, b"before");
        let child = parent.fork(ms).unwrap();
        let pin = child.pin(ms, at, false).unwrap();
        child.unmap(ms, at, PAGE).unwrap();
        parent.write(ms, at, b"SECRET");
        // SAFETY: the page is held, and no other thread runs.
        let seen = unsafe { vm.platform().frame_ptr(pin.frame()).cast::<[u8; 6]>().read() };
        assert_eq!(&seen, b"before");
    });
}

#[test]
fn memory_that_was_never_touched_cannot_be_pinned_for_reading() {
    with_space(|_, space, ms| {
        let at = space.map(ms, Map::anonymous(PAGE, RW)).unwrap();
        assert!(space.pin(ms, at, false).is_ok());
    });
}

#[test]
fn a_transaction_over_anonymous_memory_makes_the_zero_page_writable() {
    with_space(|vm, space, ms| {
        let at = space.map(ms, Map::anonymous(PAGE, RW)).unwrap();
        space.fault(ms, at, Access::Read).unwrap();
        let protected = space.transaction(ms, at, PAGE, |range| range.protect(at, RW));
        assert_eq!(protected, Err(Error::NotMapped));
        assert!(!space.translate(&vm.walk(ms), at).unwrap().rights.contains(Rights::WRITE));
    });
}

#[test]
fn one_page_set_in_a_large_leaf_loses_the_others_without_a_shootdown() {
    with_device(|vm, space, ms| {
        space.enter(0);
        vm.platform().take_sent();
        space.transaction(ms, AT, LARGE, |range| range.set(AT + PAGE, Frame(5), RW)).unwrap_err();
        let other = Frame(DEVICE.0 + 9999);
        space.transaction(ms, AT, LARGE, |range| range.set(AT + PAGE, other, RW)).unwrap();
        assert!(!vm.platform().take_sent().is_empty());
        assert_eq!(space.translate(&vm.walk(ms), AT).unwrap().frame, DEVICE);
        assert_eq!(space.translate(&vm.walk(ms), AT + PAGE).unwrap().frame, other);
    });
}

#[test]
fn one_page_cleared_in_a_large_leaf_is_not_or_takes_all() {
    with_device(|vm, space, ms| {
        let cleared = space.transaction(ms, AT, PAGE, |range| range.clear(AT)).unwrap();
        assert_eq!(cleared.unwrap().frame, DEVICE);
        space.transaction(ms, AT, LARGE, |range| range.clear_range(AT + 3 * PAGE, 1)).unwrap();
        let guard = vm.walk(ms);
        let there: Vec<bool> =
            (0..5).map(|n| space.translate(&guard, AT + n * PAGE).is_some()).collect();
        assert_eq!(there, [false, true, true, false, true]);
    });
}

#[test]
fn a_split_forgets_that_a_large_leaf_was_dirty() {
    with_device(|vm, space, ms| {
        space.protect(ms, AT, LARGE, Rights::READ).unwrap();
        space.unmap(ms, AT + PAGE, PAGE).unwrap();
        assert!(space.translate(&vm.walk(ms), AT).unwrap().dirty);
    });
}

#[test]
fn advice_for_one_page_takes_a_whole_device_away() {
    with_device(|vm, space, ms| {
        assert_eq!(space.advise(ms, AT, PAGE, Advice::DontNeed), Err(Error::Invalid));
        assert!(space.translate(&vm.walk(ms), AT + PAGE).is_some());
    });
}

#[test]
fn reading_a_device_from_outside_leaves_the_platforms_memory() {
    with_device(|_, space, ms| {
        assert_eq!(space.read(ms, AT, &mut [0; 4]), 0);
        assert_eq!(space.write(ms, AT, &[0; 4]), 0);
        assert!(space.load_u32(ms, AT).is_none());
        assert!(space.pin(ms, AT, true).is_err());
    });
}

#[test]
fn a_space_maps_its_own_root_as_a_device() {
    with_space(|vm, space, ms| {
        space.reserve(ms, AT, PAGE, RW).unwrap();
        let root = space.root();
        for frame in [root, Frame(1 << 44 | root.0), Frame(u64::MAX)] {
            let set = space.transaction(ms, AT, PAGE, |range| range.set(AT, frame, RW));
            assert_eq!(set, Err(Error::Invalid));
            assert_eq!(space.map_device(ms, AT, PAGE, frame, RW), Err(Error::Invalid));
        }
        assert!(space.translate(&vm.walk(ms), AT).is_none());
    });
}

#[test]
fn a_shared_object_outlives_its_last_page() {
    with_space(|vm, space, ms| {
        let middle = AT + 3 * LARGE + LARGE / 2;
        let beside = space.map(ms, Map::anonymous(PAGE, RW).at(AT)).unwrap();
        space.write(ms, beside, b"x");
        space.map(ms, Map::anonymous(LARGE + LARGE / 2, RW).shared().at(middle)).unwrap();
        space.write(ms, middle, b"x");
        vm.synchronize(ms);
        let before = vm.free_frames();
        space.unmap(ms, middle + LARGE / 2, LARGE).unwrap();
        space.unmap(ms, middle, LARGE / 2).unwrap();
        vm.synchronize(ms);
        assert!(vm.free_frames() > before);
    });
}

#[test]
fn software_that_sets_accessed_bits_by_faulting_faults_for_ever() {
    with_space(|vm, space, ms| {
        let at = space.map(ms, Map::anonymous(PAGE, RW)).unwrap();
        space.write(ms, at, b"x");
        let child = space.fork(ms).unwrap();
        child.fault(ms, at, Access::Read).unwrap();
        assert!(child.translate(&vm.walk(ms), at).unwrap().accessed);
    });
}

/// Two managers with the same tables at the same places: the walk of one is no walk of the other.
#[test]
fn a_guard_of_another_manager_lets_its_tables_be_walked() {
    let managers = [(); 2].map(|()| Host::<Sv48>::new(1024, 2).manager());
    // SAFETY: a test's own thread, which holds nothing, and plays a thread of each manager's.
    let [mut ms, mut other_ms] = [(); 2].map(|()| unsafe { MaySleep::assume() });
    let spaces = managers.each_ref().map(|vm| Space::new(vm, &mut ms).unwrap());
    let places = spaces.each_ref().map(|space| {
        let at = space.map(&mut ms, Map::anonymous(4096, Rights::READ)).unwrap();
        space.fault(&mut ms, at, Access::Read).unwrap();
        at
    });
    assert_eq!(places[0], places[1]);
    let own = managers[0].walk(&mut ms);
    assert_eq!(spaces[0].fault_atomic(&own, places[0], Access::Read), Ok(()));
    let foreign = managers[1].walk(&mut other_ms);
    let refused = spaces[0].fault_atomic(&foreign, places[0], Access::Read);
    assert_eq!(refused, Err(FaultError::MustSleep));
    assert!(spaces[0].translate(&foreign, places[0]).is_none());
    drop((own, foreign));
}

/// The native backend; once a table was attached to a root, something else is done.
#[derive(Default)]
struct Attaching {
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Backend for Attaching {
    fn prepare_table(&self, table: Frame, level: usize) -> Result<(), NoTable> {
        Native.prepare_table(table, level)
    }

    fn release_table(&self, table: Frame) {
        Native.release_table(table);
    }

    fn compare_exchange<C: Cell>(&self, slot: Slot<'_, C>, old: u64, new: u64) -> Result<(), u64> {
        Native.compare_exchange(slot, old, new)
    }

    fn swap<C: Cell>(&self, slot: Slot<'_, C>, new: u64) -> u64 {
        let old = Native.swap(slot, new);
        let attached = slot.level == Sv48::ROOT_LEVEL && new != 0;
        if let Some(then) = attached.then(|| self.then.lock().unwrap().take()).flatten() {
            then();
        }
        old
    }

    fn clear_accessed<C: Cell>(&self, slot: Slot<'_, C>, mask: u64) -> u64 {
        Native.clear_accessed(slot, mask)
    }

    fn close(&self, table: Frame) {
        Native.close(table);
    }
}

/// The first touch attaches tables to the root; another CPU goes down them at once, and unmaps
/// shared memory beside, while the first has not forgotten yet what the root said of that slot.
#[test]
fn an_object_unmapped_while_its_first_tables_are_attached_never_ends() {
    let host = Host::<Sv48, Attaching>::with_backend(4096, 2, Attaching::default());
    let vm: &'static Vm<_> = Box::leak(Box::new(host.manager()));
    // SAFETY: a test's own thread, which holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let free = vm.free_frames();
    let space: &'static Space<'_, _> = Box::leak(Box::new(Space::new(vm, &mut ms).unwrap()));
    let at = space.map(&mut ms, Map::anonymous(2 * PAGE, RW)).unwrap();
    space.map(&mut ms, Map::anonymous(PAGE, RW).shared().at(at + PAGE)).unwrap();
    let unmap = move || {
        host::be_cpu(1);
        // SAFETY: the thread has just begun, and holds nothing.
        space.unmap(&mut unsafe { MaySleep::assume() }, at + PAGE, PAGE).unwrap();
    };
    let meanwhile = move || std::thread::spawn(unmap).join().unwrap();
    *vm.platform().backend().then.lock().unwrap() = Some(Box::new(meanwhile));
    space.fault(&mut ms, at, Access::Write).unwrap();
    vm.check(&mut ms).unwrap();
    // SAFETY: leaked above, and used by nobody any more.
    unsafe { std::ptr::read(space) }.exit(&mut ms);
    vm.synchronize(&mut ms);
    assert_eq!((vm.free_frames(), vm.slab_in_use()), (free, 0));
}

/// `madvise_dontneed_free_valid_vma` of Linux's mm/madvise.c: what is locked stays, freed later too.
#[test]
fn locked_memory_is_said_to_be_free_to_go() {
    with_space(|_, space, ms| {
        let at = space.map(ms, Map::anonymous(2 * PAGE, RW)).unwrap();
        space.lock(ms, at + PAGE, PAGE, false).unwrap();
        assert_eq!(space.advise(ms, at, 2 * PAGE, Advice::Free), Err(Error::Invalid));
        space.unlock(ms, at, 2 * PAGE).unwrap();
        assert_eq!(space.advise(ms, at, 2 * PAGE, Advice::Free), Ok(()));
    });
}

/// Sv48's entries name 2^56 bytes; a piece of a layout has 48 bits for where its object lies.
#[test]
fn an_object_beyond_256_tebibytes_is_taken_for_another() {
    let end = 1 << 36;
    let made = Vm::new(Host::<Sv48>::new(1, 1), end - 4096..end + 1);
    assert_eq!(made.err(), Some(Error::TooHigh { end }));
}

/// The search for free memory goes on where the parent's had ended, below what the child lacks.
#[test]
fn a_child_never_uses_the_place_of_what_it_did_not_inherit() {
    with_space(|_, parent, ms| {
        let at = parent.map(ms, Map::anonymous(4 * PAGE, RW)).unwrap();
        parent.advise(ms, at, 4 * PAGE, Advice::DontFork).unwrap();
        let child = parent.fork(ms).unwrap();
        assert_eq!(child.map(ms, Map::anonymous(4 * PAGE, RW)), Ok(at));
    });
}
