//! The pager contract: asked for a page of an object, with no lock held; what it was asked for may
//! be gone when it answers.

mod host;

use host::Host;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use vmspace::format::{Rights, Sv48};
use vmspace::{Access, FaultError, Map, MaySleep, Object, PagerError, Space};

const PAGER: u64 = 7;
const LENGTH: u64 = 16 << 12;

fn token() -> MaySleep {
    // SAFETY: a test's own thread, which holds nothing.
    unsafe { MaySleep::assume() }
}

/// A host whose pager fills a page with its index, tells that it was called, and waits.
fn host_with_waiting_pager(called: Sender<u64>, go_on: Receiver<()>) -> Host<Sv48> {
    let mut host = Host::new(1024, 2);
    let ends = Mutex::new((called, go_on));
    host.files.on_page_in = Some(Box::new(move |_, pager, index| {
        let (called, go_on) = &*ends.lock().unwrap();
        assert_eq!(pager, PAGER);
        called.send(index).unwrap();
        go_on.recv().map_err(|_| PagerError::Failed)?;
        Ok(index as u8)
    }));
    host
}

/// A shared mapping of a whole object, which nothing else refers to.
fn map_file(space: &Space<'_, Host<Sv48>>, pager: u64) -> u64 {
    let file = space.vm().object(&mut token(), LENGTH, pager).unwrap();
    let map = Map::anonymous(LENGTH, Rights::READ).shared();
    space.map_object(&mut token(), map, &file, 0).unwrap()
}

#[test]
fn a_pager_asked_under_a_lock_would_stop_the_whole_leaf() {
    let (called, calls) = channel();
    let (go_on, wait) = channel();
    let vm = host_with_waiting_pager(called, wait).manager();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = map_file(&space, PAGER);
    let beside =
        space.map(&mut token(), Map::anonymous(4096, Rights::READ | Rights::WRITE)).unwrap();
    std::thread::scope(|scope| {
        let fault = scope.spawn(|| {
            host::be_cpu(1);
            space.fault(&mut token(), at + 4096 * 3, Access::Read)
        });
        assert_eq!(calls.recv(), Ok(3));
        // The pager is running: everything else in the same leaf goes on.
        space.fault(&mut token(), beside, Access::Write).unwrap();
        space.protect(&mut token(), beside, 4096, Rights::READ).unwrap();
        space.unmap(&mut token(), beside, 4096).unwrap();
        go_on.send(()).unwrap();
        assert_eq!(fault.join().unwrap(), Ok(()));
    });
    let mut byte = [0];
    assert_eq!(space.read(&mut token(), at + 4096 * 3 + 17, &mut byte), 1);
    assert_eq!(byte, [3]);
}

#[test]
fn a_page_that_comes_after_its_region_is_gone_is_not_mapped() {
    let (called, calls) = channel();
    let (go_on, wait) = channel();
    let vm = host_with_waiting_pager(called, wait).manager();
    let free = vm.free_frames();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = map_file(&space, PAGER);
    std::thread::scope(|scope| {
        let fault = scope.spawn(|| {
            host::be_cpu(1);
            space.fault(&mut token(), at, Access::Read)
        });
        assert_eq!(calls.recv(), Ok(0));
        space.unmap(&mut token(), at, LENGTH).unwrap();
        go_on.send(()).unwrap();
        assert_eq!(fault.join().unwrap(), Err(FaultError::NotMapped));
    });
    space.exit(&mut token());
    vm.synchronize(&mut token());
    assert_eq!((vm.free_frames(), vm.slab_in_use()), (free, 0));
}

#[test]
fn a_pager_that_fails_is_a_bus_error_and_leaks_nothing() {
    let failing = AtomicBool::new(true);
    let mut host = Host::<Sv48>::new(1024, 1);
    host.files.on_page_in = Some(Box::new(move |_, _, _| {
        if failing.swap(false, Ordering::Relaxed) { Err(PagerError::Failed) } else { Ok(9) }
    }));
    let vm = host.manager();
    let free = vm.free_frames();
    let space = Space::new(&vm, &mut token()).unwrap();
    let at = map_file(&space, 1);
    assert_eq!(space.fault(&mut token(), at, Access::Read), Err(FaultError::NoPage));
    assert_eq!(space.fault(&mut token(), at, Access::Read), Ok(()));
    vm.check(&mut token()).unwrap();
    space.exit(&mut token());
    vm.synchronize(&mut token());
    assert_eq!((vm.free_frames(), vm.slab_in_use()), (free, 0));
}

/// A file of 16 pages, mapped whole; its pager fills a page with the call's number, and stops the
/// first time that it is asked for page `stop`. Somebody on CPU 1 faults at page `page`, which
/// follows one that is there; `meanwhile` runs; the pager goes on. `afterwards` is given the fault's
/// answer, and the page's byte, if there is one.
fn fault_around(
    stop: u64,
    page: u64,
    meanwhile: impl FnOnce(&Object<'_, Host<Sv48>>),
    afterwards: impl FnOnce(&Object<'_, Host<Sv48>>, Result<(), FaultError>, Option<u8>),
) {
    let (called, calls) = channel();
    let (go_on, wait) = channel::<()>();
    let mut host = Host::<Sv48>::new(1024, 2);
    let (number, ends) = (AtomicU8::new(0), Mutex::new(Some((called, wait))));
    host.files.on_page_in = Some(Box::new(move |_, _, index| {
        let number = number.fetch_add(1, Ordering::Relaxed) + 1;
        let first = (index == stop).then(|| ends.lock().unwrap().take()).flatten();
        if let Some((called, wait)) = first {
            called.send(()).unwrap();
            wait.recv().unwrap();
        }
        Ok(number)
    }));
    let vm = host.manager();
    let file = vm.object(&mut token(), LENGTH, PAGER).unwrap();
    let space = Space::new(&vm, &mut token()).unwrap();
    let map = Map::anonymous(LENGTH, Rights::READ).shared();
    let at = space.map_object(&mut token(), map, &file, 0).unwrap();
    space.fault(&mut token(), at + (page - 1) * 4096, Access::Read).unwrap();
    let at = at + page * 4096;
    std::thread::scope(|scope| {
        let fault = scope.spawn(|| {
            host::be_cpu(1);
            space.fault(&mut token(), at, Access::Read)
        });
        calls.recv().unwrap();
        meanwhile(&file);
        go_on.send(()).unwrap();
        let answer = fault.join().unwrap();
        let mapped = space.translate(&vm.walk(&mut token()), at).is_some();
        assert_eq!(mapped, answer.is_ok());
        let mut byte = [0];
        let read = space.read(&mut token(), at, &mut byte) == 1;
        afterwards(&file, answer, read.then_some(byte[0]));
    });
    vm.check(&mut token()).unwrap();
}

#[test]
fn a_page_that_comes_after_it_was_cut_off_is_kept() {
    let cut = |file: &Object<'_, _>| file.set_len(&mut token(), 3 * 4096).unwrap();
    fault_around(5, 5, cut, |file, answer, _| {
        assert_eq!((answer, file.resident()), (Err(FaultError::NoPage), 0));
    });
}

#[test]
fn a_page_got_before_it_was_cut_off_is_mapped() {
    // The fault has page 5 when the pager is asked for page 6, ahead.
    let cut = |file: &Object<'_, _>| {
        assert!(file.holds(5 * 4096));
        file.set_len(&mut token(), 5 * 4096).unwrap();
    };
    fault_around(6, 5, cut, |file, answer, _| {
        assert_eq!((answer, file.resident()), (Err(FaultError::NoPage), 1));
    });
}

#[test]
fn a_page_that_comes_after_it_was_written_brings_the_old_bytes_back() {
    // The pager is asked for page 4, for page 5 before the write, and for page 5 again.
    let write = |file: &Object<'_, _>| assert_eq!(file.write(&mut token(), 5 * 4096, b"x"), Ok(1));
    fault_around(5, 5, write, |_, answer, byte| assert_eq!((answer, byte), (Ok(()), Some(3))));
}

/// Lets memory run short, so that all pages of objects go which nobody holds.
fn starve(file: &Object<'_, Host<Sv48>>) {
    let greedy = Space::new(file.vm(), &mut token()).unwrap();
    let map = Map::anonymous(1024 << 12, Rights::READ | Rights::WRITE);
    let at = greedy.map(&mut token(), Map { no_reserve: true, ..map }).unwrap();
    assert!((0..1024).any(|page| greedy.write(&mut token(), at + page * 4096, b"x") == 0));
    greedy.exit(&mut token());
}

fn read_page(file: &Object<'_, Host<Sv48>>, page: u64) {
    assert_eq!(file.read(&mut token(), page * 4096, &mut [0]), Ok(1));
    assert!(file.holds(page * 4096));
}

#[test]
fn a_page_is_filled_again_because_another_was_given_up_or_written() {
    // The pager is asked for page 4, for page 5, and meanwhile for page 10.
    let others = |file: &Object<'_, _>| {
        read_page(file, 10);
        starve(file);
        assert!(!file.holds(10 * 4096), "page 10 was to be given up");
        assert_eq!(file.write(&mut token(), 12 * 4096, b"x"), Ok(1));
    };
    fault_around(5, 5, others, |_, answer, byte| assert_eq!((answer, byte), (Ok(()), Some(2))));
}

#[test]
fn a_page_that_came_and_went_while_it_was_being_filled_is_as_it_was_before() {
    // Asked for page 5 once more, and those that follow, the pager gives 3 to 11; then 12.
    let same = |file: &Object<'_, _>| {
        read_page(file, 5);
        starve(file);
        assert!(!file.holds(5 * 4096), "page 5 was to be given up");
    };
    fault_around(5, 5, same, |_, answer, byte| assert_eq!((answer, byte), (Ok(()), Some(12))));
}
