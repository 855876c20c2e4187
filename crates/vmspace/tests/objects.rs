//! Objects: what mappings, read and write share.

mod host;

use host::Host;
use vmspace::format::{Rights, Sv48};
use vmspace::{Access, Error, FaultError, Map, MaySleep, Object, PagerError, Space, Vm};

const PAGE: u64 = 4096;
const FILE: u64 = 3;
const RW: Rights = Rights::READ.union(Rights::WRITE);

type World = Vm<Host<Sv48>>;

fn token() -> MaySleep {
    // SAFETY: a test's own thread, which holds nothing.
    unsafe { MaySleep::assume() }
}

/// A manager with an object over a file of so many pages, each full of its index plus one.
fn with_file(frames: u64, pages: u64, test: impl FnOnce(&World, Object<'_, Host<Sv48>>)) {
    let host = Host::new(frames, 2);
    let bytes = (0..pages * PAGE).map(|at| ((at / PAGE) as u8).wrapping_add(1)).collect();
    host.files.bytes.lock().unwrap().insert(FILE, bytes);
    let vm = host.manager();
    let free = vm.free_frames();
    let file = vm.object(&mut token(), pages * PAGE, FILE).unwrap();
    test(&vm, file);
    vm.check(&mut token()).unwrap();
    vm.synchronize(&mut token());
    assert_eq!((vm.free_frames(), vm.slab_in_use()), (free, 0), "frames or objects leaked");
    assert_eq!(*vm.platform().files.ended.lock().unwrap(), [FILE], "the pager was not told");
}

fn map(space: &Space<'_, Host<Sv48>>, file: &Object<'_, Host<Sv48>>, map: Map) -> u64 {
    space.map_object(&mut token(), map, file, 0).unwrap()
}

fn whole(file: &Object<'_, Host<Sv48>>) -> Map {
    Map::anonymous(file.len(), RW)
}

fn byte(space: &Space<'_, Host<Sv48>>, at: u64) -> Option<u8> {
    let mut byte = [0];
    (space.read(&mut token(), at, &mut byte) == 1).then_some(byte[0])
}

fn file_byte(file: &Object<'_, Host<Sv48>>, at: u64) -> Option<u8> {
    let mut byte = [0];
    (file.read(&mut token(), at, &mut byte).unwrap() == 1).then_some(byte[0])
}

#[test]
fn a_mapping_that_did_not_share_pages_with_read_and_write_would_show_old_bytes() {
    with_file(256, 4, |vm, file| {
        let space = Space::new(vm, &mut token()).unwrap();
        let at = map(&space, &file, whole(&file).shared());
        assert_eq!(byte(&space, at + PAGE), Some(2));
        assert_eq!(file.write(&mut token(), PAGE - 1, b"abc"), Ok(3));
        assert_eq!(
            (byte(&space, at + PAGE - 1), byte(&space, at + PAGE)),
            (Some(b'a'), Some(b'b'))
        );
        assert_eq!(space.write(&mut token(), at + 2 * PAGE, b"z"), 1);
        assert_eq!(file_byte(&file, 2 * PAGE), Some(b'z'));
        assert_eq!(
            vm.platform().files.of(FILE)[PAGE as usize - 1..][..3],
            *b"abc",
            "written through"
        );
        space.exit(&mut token());
    });
}

#[test]
fn a_private_copy_that_reached_the_object_would_be_seen_by_all() {
    with_file(256, 4, |vm, file| {
        let space = Space::new(vm, &mut token()).unwrap();
        let at = map(&space, &file, whole(&file));
        assert_eq!(byte(&space, at), Some(1));
        // One page by a write fault over the cache's page, one by a write fault on nothing.
        assert_eq!(space.write(&mut token(), at, b"x"), 1);
        assert_eq!(space.write(&mut token(), at + PAGE, b"y"), 1);
        assert_eq!((byte(&space, at), byte(&space, at + PAGE + 1)), (Some(b'x'), Some(2)));
        assert_eq!((file_byte(&file, 0), file_byte(&file, PAGE)), (Some(1), Some(2)));
        // What is written to the file is seen where no copy was made.
        assert_eq!(byte(&space, at + 2 * PAGE), Some(3));
        file.write(&mut token(), 2 * PAGE, b"w").unwrap();
        assert_eq!(byte(&space, at + 2 * PAGE), Some(b'w'));
        let child = space.fork(&mut token()).unwrap();
        child.write(&mut token(), at, b"c");
        assert_eq!((byte(&child, at), byte(&space, at)), (Some(b'c'), Some(b'x')));
        child.exit(&mut token());
        space.exit(&mut token());
        file.sync(&mut token(), 0..u64::MAX).unwrap();
        assert!(vm.platform().files.stored.lock().unwrap().is_empty(), "a copy was stored");
    });
}

#[test]
fn a_pinned_page_of_a_private_mapping_is_not_taken_for_its_own() {
    with_file(256, 4, |vm, file| {
        let (one, two) =
            (Space::new(vm, &mut token()).unwrap(), Space::new(vm, &mut token()).unwrap());
        let shared = map(&one, &file, whole(&file).shared());
        let private = map(&two, &file, whole(&file));
        assert_eq!(byte(&two, private), Some(1));
        let pinned = one.pin(&mut token(), shared, true).unwrap();
        assert_eq!(two.write(&mut token(), private, b"x"), 1);
        assert_eq!(byte(&one, shared), Some(1), "a private store reached the object");
        drop(pinned);
        let pinned = two.pin(&mut token(), private + PAGE, true).unwrap();
        assert!(file.holds(PAGE));
        drop(pinned);
        assert_eq!(file_byte(&file, PAGE), Some(2));
        one.exit(&mut token());
        two.exit(&mut token());
    });
}

#[test]
fn a_page_cut_off_under_a_mapping_stays_reachable() {
    with_file(256, 8, |vm, file| {
        let space = Space::new(vm, &mut token()).unwrap();
        let at = map(&space, &file, whole(&file).shared());
        let private = map(&space, &file, whole(&file));
        for page in 0..8 {
            byte(&space, at + page * PAGE);
            byte(&space, private + page * PAGE);
        }
        let child = space.fork(&mut token()).unwrap();
        file.set_len(&mut token(), 2 * PAGE + 100).unwrap();
        for space in [&space, &child] {
            for page in 3..8 {
                for at in [at, private] {
                    let fault = space.fault(&mut token(), at + page * PAGE, Access::Read);
                    assert_eq!(fault, Err(FaultError::NoPage), "page {page}");
                    assert!(space.translate(&vm.walk(&mut token()), at + page * PAGE).is_none());
                }
            }
            assert_eq!(byte(space, at + 2 * PAGE + 99), Some(3));
            assert_eq!(byte(space, at + 2 * PAGE + 100), Some(0), "beyond the end are zeros");
        }
        assert_eq!(file.resident(), 3);
        // Stores beyond the end do not come back when the object grows.
        space.write(&mut token(), at + 2 * PAGE + 100, b"junk");
        file.set_len(&mut token(), 8 * PAGE).unwrap();
        assert_eq!(file_byte(&file, 2 * PAGE + 100), Some(0));
        assert_eq!(byte(&space, at + 5 * PAGE), Some(0));
        space.write(&mut token(), at + 5 * PAGE, b"new");
        assert_eq!(file_byte(&file, 5 * PAGE), Some(b'n'));
        child.exit(&mut token());
        space.exit(&mut token());
    });
}

#[test]
fn a_private_copy_outlives_the_page_that_it_was_copied_from() {
    with_file(256, 8, |vm, file| {
        let space = Space::new(vm, &mut token()).unwrap();
        let at = map(&space, &file, whole(&file));
        let other = map(&space, &file, whole(&file));
        for page in 0..6 {
            space.write(&mut token(), at + page * PAGE, b"copy");
        }
        let child = space.fork(&mut token()).unwrap();
        // A copy of a copy, one of each that both have, and one that has moved.
        child.write(&mut token(), at + 4 * PAGE, b"again");
        let away = vmspace::Remap {
            address: at + 5 * PAGE,
            old_length: PAGE,
            new_length: PAGE,
            may_move: true,
            fixed: true,
            new_address: at + 64 * PAGE,
            ..Default::default()
        };
        child.remap(&mut token(), away).unwrap();
        let pinned = space.pin(&mut token(), at + 3 * PAGE, true).unwrap();
        file.set_len(&mut token(), 2 * PAGE + 100).unwrap();
        for space in [&space, &child] {
            // That of the last page is all the space's, beyond the end too (mmap(2)).
            assert_eq!(byte(space, at + 2 * PAGE), Some(b'c'));
            for page in [3, 4, 5, 64] {
                let at = at + page * PAGE;
                assert!(space.translate(&vm.walk(&mut token()), at).is_none(), "page {page}");
                assert_eq!(byte(space, at), None, "page {page}");
                assert_eq!(space.write(&mut token(), at, b"no"), 0, "page {page}");
            }
            assert_eq!(space.usage(&mut token()).resident, 3, "what is gone is counted");
        }
        drop(pinned);
        file.set_len(&mut token(), 8 * PAGE).unwrap();
        assert_eq!(byte(&space, at + 3 * PAGE), Some(0));
        assert_eq!(
            (byte(&child, at + 64 * PAGE), byte(&space, other + 4 * PAGE)),
            (Some(0), Some(0))
        );
        assert_eq!(byte(&space, at), Some(b'c'), "what is before the end stays");
        child.exit(&mut token());
        space.exit(&mut token());
    });
}

#[test]
fn stores_between_two_syncs_are_lost() {
    with_file(256, 4, |vm, file| {
        let space = Space::new(vm, &mut token()).unwrap();
        let at = map(&space, &file, whole(&file).shared());
        let files = &vm.platform().files;
        for (store, wanted) in [(b"1", vec![1]), (b"2", vec![1, 1])] {
            space.write(&mut token(), at + PAGE, store);
            file.sync(&mut token(), 0..u64::MAX).unwrap();
            assert_eq!(*files.stored.lock().unwrap(), wanted);
            assert_eq!(files.of(FILE)[PAGE as usize], store[0]);
        }
        file.sync(&mut token(), 0..u64::MAX).unwrap();
        assert_eq!(files.stored.lock().unwrap().len(), 2, "a clean page was stored");
        // A dirty bit outlives its entry, and the mapping the handle.
        space.write(&mut token(), at + 3 * PAGE, b"3");
        space.unmap(&mut token(), at + 3 * PAGE, PAGE).unwrap();
        file.sync(&mut token(), 3 * PAGE..3 * PAGE + 1).unwrap();
        assert_eq!(files.of(FILE)[3 * PAGE as usize], b'3');
        space.write(&mut token(), at + 2 * PAGE, b"4");
        drop(file);
        space.exit(&mut token());
        assert_eq!(files.of(FILE)[2 * PAGE as usize], b'4', "the last unmap lost a dirty page");
    });
}

#[test]
fn a_page_that_its_pager_refused_is_forgotten_or_the_error_is() {
    let mut host = Host::<Sv48>::new(256, 1);
    host.files.on_store = Some(Box::new(|at| match at {
        1 => Err(PagerError::Full),
        _ => Ok(()),
    }));
    let vm = host.manager();
    let file = vm.object(&mut token(), 4 * PAGE, FILE).unwrap();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = map(&space, &file, whole(&file).shared());
    for page in 0..3 {
        space.write(&mut token(), at + page * PAGE, b"x");
    }
    let full = Err(Error::Pager(PagerError::Full));
    assert_eq!(file.sync(&mut token(), 0..u64::MAX), full);
    assert_eq!(*vm.platform().files.stored.lock().unwrap(), [0, 2], "the others are stored");
    assert_eq!(file.sync(&mut token(), 0..u64::MAX), full, "it is still dirty");
    assert_eq!(file.sync(&mut token(), 2 * PAGE..3 * PAGE), Ok(()));
    // A full disk is known when it is written to, and nothing has changed.
    assert_eq!(file.write(&mut token(), 1, b"no"), full.map(|()| 0));
    assert_eq!(file_byte(&file, 1), Some(0));
    space.exit(&mut token());
}

#[test]
fn a_file_larger_than_memory_cannot_be_read() {
    with_file(200, 1000, |vm, file| {
        let mut buffer = vec![0; 3 * PAGE as usize];
        let mut at = 0;
        while at < file.len() {
            let done = file.read(&mut token(), at, &mut buffer).unwrap();
            let wanted = (0..done as u64).map(|i| (((at + i) / PAGE) as u8).wrapping_add(1));
            assert!(wanted.eq(buffer[..done].iter().copied()), "at {at}");
            at += done as u64;
        }
        assert!(vm.statistics().pages_stolen > 800);
    });
}

#[test]
fn a_page_that_is_held_is_given_up_or_a_dirty_one_forgotten() {
    with_file(200, 1000, |vm, file| {
        let space = Space::new(vm, &mut token()).unwrap();
        let at = map(&space, &file, whole(&file).shared());
        byte(&space, at + 7 * PAGE);
        space.write(&mut token(), at + 9 * PAGE, b"dirty");
        space.unmap(&mut token(), at + 9 * PAGE, PAGE).unwrap();
        let pinned = space.pin(&mut token(), at + 11 * PAGE, false).unwrap();
        space.unmap(&mut token(), at + 11 * PAGE, PAGE).unwrap();
        let mut buffer = vec![0; 16 * PAGE as usize];
        for from in (0..file.len()).step_by(buffer.len()) {
            file.read(&mut token(), from, &mut buffer).unwrap();
        }
        assert!(vm.statistics().pages_stolen > 0);
        assert!(file.holds(11 * PAGE), "somebody holds it");
        let stored = vm.platform().files.stored.lock().unwrap().contains(&9);
        assert!(stored || file_byte(&file, 9 * PAGE) == Some(b'd'), "what was stored is nowhere");
        drop(pinned);
        space.exit(&mut token());
    });
}

#[test]
fn a_large_mapping_touched_once_takes_more_than_its_page() {
    let vm = Host::<Sv48>::new(256, 1).manager();
    let file = vm.object(&mut token(), 1 << 30, FILE).unwrap();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = map(&space, &file, whole(&file).shared());
    assert_eq!(byte(&space, at + (1 << 29)), Some(0));
    assert_eq!((file.resident(), vm.statistics().pages_in), (1, 1));
    // The next page brings those that follow.
    assert_eq!(byte(&space, at + (1 << 29) + PAGE), Some(0));
    assert!((3..=16).contains(&file.resident()), "{}", file.resident());
    space.exit(&mut token());
}

#[test]
fn memory_reads_as_zeros_where_it_was_never_written_and_takes_none_there() {
    let vm = Host::<Sv48>::new(256, 1).manager();
    let memory = vm.object(&mut token(), 0, 0).unwrap();
    assert_eq!(memory.write(&mut token(), 1 << 40, b"far"), Ok(3));
    assert_eq!((memory.len(), memory.resident()), ((1 << 40) + 3, 1));
    let mut bytes = [7; 8];
    assert_eq!(memory.read(&mut token(), (1 << 40) - 2, &mut bytes), Ok(5));
    assert_eq!(&bytes, b"\0\0far\x07\x07\x07");
    assert_eq!(memory.write(&mut token(), i64::MAX as u64, b"x"), Err(Error::TooLarge));
    memory.set_len(&mut token(), 0).unwrap();
    assert_eq!((memory.len(), memory.resident()), (0, 0));
}

#[test]
fn a_mapping_that_hid_its_object_could_not_be_named() {
    with_file(256, 4, |vm, file| {
        assert!(file.is_unshared(), "a new object");
        let space = Space::new(vm, &mut token()).unwrap();
        let half = Map::anonymous(2 * PAGE, RW);
        let at = space.map_object(&mut token(), half, &file, 2 * PAGE).unwrap();
        let region = space.next_region(&mut token(), at + PAGE).unwrap();
        assert_eq!((region.object, region.offset), (Some(file.id()), 3 * PAGE), "{region:?}");
        assert!(!file.is_unshared(), "it is mapped");
        space.unmap(&mut token(), at, PAGE).unwrap();
        let region = space.next_region(&mut token(), at).unwrap();
        assert_eq!((region.start, region.offset), (at + PAGE, 3 * PAGE), "{region:?}");
        let alone = space.map(&mut token(), Map::anonymous(PAGE, RW).at(at)).unwrap();
        let region = space.next_region(&mut token(), alone).unwrap();
        assert_eq!((region.object, region.offset), (None, 0), "{region:?}");
        space.exit(&mut token());
        assert!(file.is_unshared(), "nothing maps it any more");
    });
}

#[test]
fn a_right_that_a_file_was_not_opened_for_could_be_had_later() {
    with_file(256, 4, |vm, file| {
        let space = Space::new(vm, &mut token()).unwrap();
        let writable = map(&space, &file, whole(&file).shared());
        let reads = Map { never_write: true, ..Map::anonymous(2 * PAGE, Rights::READ).shared() };
        let last = space.map_object(&mut token(), reads.at(writable + 2 * PAGE), &file, 0).unwrap();
        let protect = |at, length, rights| space.protect(&mut token(), at, length, rights);
        assert_eq!(protect(writable, 4 * PAGE, Rights::READ), Ok(()));
        assert_eq!(protect(last, PAGE, RW), Err(Error::Denied));
        assert_eq!(protect(writable, 4 * PAGE, RW), Err(Error::Denied));
        assert_eq!(space.write(&mut token(), last - 1, b"ab"), 1, "what comes before is changed");
        space.exit(&mut token());
    });
}

#[test]
fn advice_that_brought_nothing_would_leave_each_touch_to_wait() {
    with_file(1024, 600, |vm, file| {
        let space = Space::new(vm, &mut token()).unwrap();
        let at = map(&space, &file, whole(&file).shared());
        space.unmap(&mut token(), at + 2 * PAGE, PAGE).unwrap();
        let advise = |at, length| space.advise(&mut token(), at, length, vmspace::Advice::WillNeed);
        assert_eq!(advise(at + PAGE, 3 * PAGE), Err(Error::NotMapped), "a hole is told of");
        let there = |page| file.holds(page * PAGE);
        assert_eq!([0, 1, 2, 3, 4].map(there), [false, true, false, true, false]);
        assert!(space.translate(&vm.walk(&mut token()), at + PAGE).is_none(), "not mapped");
        assert_eq!(advise(at + 3 * PAGE, 597 * PAGE), Ok(()));
        assert!(there(3 + 511) && !there(3 + 512), "no more than 512 pages");
        file.will_need(&mut token(), 598 * PAGE + 5..u64::MAX);
        assert!(there(598) && there(599) && !there(597));
        assert_eq!(byte(&space, at + 599 * PAGE), Some(600u64 as u8));
        space.exit(&mut token());
        file.close(&mut token());
    });
}
