//! Pages that are stolen, and come back.

mod host;

use host::Host;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vmspace::format::{Rights, Sv48};
use vmspace::{Access, Advice, Error, FaultError, Map, MaySleep, PagerError, Space, Vm};

const PAGE: u64 = 4096;
const RW: Rights = Rights::READ.union(Rights::WRITE);

fn sleeper() -> MaySleep {
    // SAFETY: the test's own thread, which holds nothing of the library.
    unsafe { MaySleep::assume() }
}

fn manager(frames: u64) -> Vm<Host<Sv48>> {
    Host::<Sv48>::new(frames, 2).manager()
}

/// What a page is filled with.
fn word(page: u64, round: u64) -> u64 {
    (page << 8 | round).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn store(space: &Space<'_, Host<Sv48>>, ms: &mut MaySleep, at: u64, page: u64, round: u64) {
    let bytes = word(page, round).to_le_bytes();
    assert_eq!(space.write(ms, at + page * PAGE + 8 * (page % 500), &bytes), 8, "page {page}");
}

fn expect(space: &Space<'_, Host<Sv48>>, ms: &mut MaySleep, at: u64, page: u64, round: u64) {
    let mut bytes = [0; 8];
    assert_eq!(space.read(ms, at + page * PAGE + 8 * (page % 500), &mut bytes), 8, "page {page}");
    assert_eq!(u64::from_le_bytes(bytes), word(page, round), "page {page}, round {round}");
}

#[test]
fn pages_beyond_memory_are_lost() {
    let (vm, ms) = (manager(512), &mut sleeper());
    let free = vm.free_frames();
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(2000 * PAGE, RW)).unwrap();
    for round in 0..3 {
        for page in 0..2000 {
            store(&space, ms, at, page, round);
        }
        for page in (0..2000).rev() {
            expect(&space, ms, at, page, round);
        }
    }
    vm.check(ms).unwrap();
    let counted = vm.statistics();
    assert!(counted.pages_swapped_out > 1500 && counted.pages_swapped_in > 1500, "{counted:?}");
    space.exit(ms);
    assert_eq!(vm.swaps().next().unwrap().used, 0, "slots leaked");
    assert!(vm.platform().kept.pages.lock().unwrap().is_empty(), "a slot was not discarded");
    vm.swap_off(ms, 1, || Ok(())).unwrap();
    vm.synchronize(ms);
    assert_eq!(vm.free_frames(), free);
    assert_eq!(vm.slab_in_use(), 0);
}

#[test]
fn forking_a_process_that_fills_two_thirds_of_memory_fails() {
    let (vm, ms) = (manager(1024), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let pages = vm.total_frames() * 2 / 3;
    let at = space.map(ms, Map::anonymous(pages * PAGE, RW)).unwrap();
    for page in 0..pages {
        store(&space, ms, at, page, 0);
    }
    let child = space.fork(ms).unwrap();
    for page in 0..pages {
        store(&child, ms, at, page, 1);
    }
    let grandchild = child.fork(ms).unwrap();
    for page in 0..pages {
        store(&grandchild, ms, at, page, 2);
        expect(&space, ms, at, page, 0);
        expect(&child, ms, at, page, 1);
    }
    for page in 0..pages {
        expect(&grandchild, ms, at, page, 2);
    }
    vm.check(ms).unwrap();
    child.exit(ms);
    for page in 0..pages {
        expect(&grandchild, ms, at, page, 2);
        expect(&space, ms, at, page, 0);
    }
    vm.check(ms).unwrap();
    space.exit(ms);
    grandchild.exit(ms);
    assert_eq!(vm.swaps().next().unwrap().used, 0, "slots leaked");
}

#[test]
fn shared_memory_is_lost_or_parted() {
    let (vm, ms) = (manager(512), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let pages = 1000;
    let memory = vm.object(ms, pages * PAGE, 0).unwrap();
    let (one, two) = (Space::new(&vm, ms).unwrap(), Space::new(&vm, ms).unwrap());
    let map = Map::anonymous(pages * PAGE, RW).shared();
    let at = one.map_object(ms, map, &memory, 0).unwrap();
    let other = two.map_object(ms, map, &memory, 0).unwrap();
    for round in 0..3 {
        for page in 0..pages {
            store(&one, ms, at, page, round);
        }
        for page in 0..pages {
            expect(&two, ms, other, page, round);
        }
    }
    vm.check(ms).unwrap();
    let swapped = vm.swaps().next().unwrap().used;
    assert!(swapped > 400, "{swapped} on swap");
    vm.swap_off(ms, 1, || Ok(())).expect_err("there is no room");
    memory.set_len(ms, 100 * PAGE).unwrap();
    vm.swap_off(ms, 1, || Ok(())).unwrap();
    for page in 0..100 {
        expect(&two, ms, other, page, 2);
    }
    one.exit(ms);
    two.exit(ms);
    memory.close(ms);
    vm.check(ms).unwrap();
}

#[test]
fn a_mapped_file_larger_than_memory_loses_what_was_stored() {
    let (vm, ms) = (manager(512), &mut sleeper());
    let pages = 1500;
    let file = vm.object(ms, pages * PAGE, 1).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map_object(ms, Map::anonymous(pages * PAGE, RW).shared(), &file, 0).unwrap();
    for round in 0..2 {
        for page in 0..pages {
            store(&space, ms, at, page, round);
        }
        for page in 0..pages {
            expect(&space, ms, at, page, round);
        }
    }
    file.sync(ms, 0..pages * PAGE).unwrap();
    let bytes = vm.platform().files.of(1);
    for page in 0..pages {
        let from = (page * PAGE + 8 * (page % 500)) as usize;
        assert_eq!(bytes[from..from + 8], word(page, 1).to_le_bytes(), "page {page}");
    }
    vm.check(ms).unwrap();
}

#[test]
fn swapoff_leaves_something_on_the_device() {
    let (vm, ms) = (manager(2048), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(500 * PAGE, RW)).unwrap();
    for page in 0..500 {
        store(&space, ms, at, page, 0);
    }
    space.advise(ms, at, 500 * PAGE, Advice::PageOut).unwrap();
    assert_eq!(space.swapped(), 500);
    let child = space.fork(ms).unwrap();
    child.protect(ms, at, 250 * PAGE, Rights::empty()).unwrap();
    vm.swap_off(ms, 1, || Ok(())).unwrap();
    assert_eq!((space.swapped(), child.swapped()), (0, 0));
    vm.check(ms).unwrap();
    child.protect(ms, at, 250 * PAGE, RW).unwrap();
    for page in 0..500 {
        expect(&space, ms, at, page, 0);
        expect(&child, ms, at, page, 0);
    }
}

#[test]
fn a_locked_page_goes() {
    let (vm, ms) = (manager(512), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(100 * PAGE, RW)).unwrap();
    for page in 0..100 {
        store(&space, ms, at, page, 0);
    }
    space.lock(ms, at, 100 * PAGE, false).unwrap();
    let more = space.map(ms, Map::anonymous(1000 * PAGE, RW)).unwrap();
    for page in 0..1000 {
        store(&space, ms, more, page, 0);
        let mut there = [0; 100];
        space.residency(ms, at, &mut there).unwrap();
        assert_eq!(there, [1; 100], "page {page}");
    }
}

#[test]
fn a_pinned_page_goes() {
    let (vm, ms) = (manager(512), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(PAGE, RW)).unwrap();
    store(&space, ms, at, 0, 0);
    let pinned = space.pin(ms, at, true).unwrap();
    let more = space.map(ms, Map::anonymous(1000 * PAGE, RW)).unwrap();
    for page in 0..1000 {
        store(&space, ms, more, page, 0);
    }
    assert_eq!(space.translate(&vm.walk(ms), at).unwrap().frame, pinned.frame());
    drop(pinned);
}

#[test]
fn a_page_that_cannot_be_written_is_lost() {
    let mut host = Host::<Sv48>::new(512, 2);
    host.kept.on_write =
        Some(Box::new(|_, _, slot| if slot % 3 == 0 { Err(PagerError::Full) } else { Ok(()) }));
    let (vm, ms) = (host.manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(600 * PAGE, RW)).unwrap();
    for page in 0..600 {
        store(&space, ms, at, page, 0);
    }
    for page in 0..600 {
        expect(&space, ms, at, page, 0);
    }
    vm.check(ms).unwrap();
}

/// A manager that counts what is read from its device, and a space whose pages are all there.
fn on_swap<R>(pages: u64, body: impl FnOnce(&mut dyn FnMut(u64, Access) -> u64) -> R) -> R {
    let reads = Arc::new(AtomicU64::new(0));
    let mut host = Host::<Sv48>::new(1024, 2);
    let counter = reads.clone();
    host.kept.on_read = Some(Box::new(move |_, _, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }));
    let (vm, ms) = (host.manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(pages * PAGE, RW)).unwrap();
    for page in 0..pages {
        store(&space, ms, at, page, 0);
    }
    space.advise(ms, at, pages * PAGE, Advice::PageOut).unwrap();
    assert_eq!(space.swapped(), pages);
    body(&mut |page, access| {
        let before = reads.load(Ordering::Relaxed);
        space.fault(ms, at + page * PAGE, access).unwrap();
        reads.load(Ordering::Relaxed) - before
    })
}

#[test]
fn who_reads_in_order_waits_for_every_page() {
    on_swap(400, |fault| {
        let reads: Vec<u64> = (0..400).map(|page| fault(page, Access::Read)).collect();
        assert_eq!(reads.iter().sum::<u64>(), 400);
        let waits = reads.iter().filter(|reads| **reads != 0).count();
        assert!(waits < 60, "{waits} waits");
    });
}

#[test]
fn who_faults_at_random_has_memory_filled_with_what_he_does_not_want() {
    on_swap(400, |fault| {
        // One page in five is written, so that its slot is gone; then the next ones are wanted.
        for first in [0, 1] {
            for turn in 0..80 {
                assert_eq!(fault(first + turn * 7 % 80 * 5, Access::Write), 1);
            }
        }
    });
}

#[test]
fn a_page_that_cannot_be_read_takes_others_along() {
    let mut host = Host::<Sv48>::new(1024, 2);
    host.kept.on_read = Some(Box::new(|_, _, slot| match slot {
        7 => Err(PagerError::Failed),
        _ => Ok(()),
    }));
    let (vm, ms) = (host.manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(20 * PAGE, RW)).unwrap();
    for page in 0..20 {
        store(&space, ms, at, page, 0);
    }
    space.advise(ms, at, 20 * PAGE, Advice::PageOut).unwrap();
    assert_eq!(space.swapped(), 20);
    assert_eq!(vm.swap_off(ms, 1, || Ok(())), Err(Error::Pager(PagerError::Failed)));
    let failed: Vec<u64> = (0..20)
        .filter(|page| {
            let result = space.fault(ms, at + page * PAGE, Access::Read);
            assert!(matches!(result, Ok(()) | Err(FaultError::NoPage)), "{result:?}");
            result.is_err()
        })
        .collect();
    assert_eq!(failed, [7]);
    for page in (0..20).filter(|page| *page != 7) {
        expect(&space, ms, at, page, 0);
    }
    space.exit(ms);
    assert_eq!(vm.swaps().next().unwrap().used, 0);
}

/// A device fails at its `k`-th request, once; two devices, so that the other takes over.
#[test]
fn a_request_that_fails_costs_more_than_its_page() {
    for k in (0..400).step_by(7) {
        let requests = Arc::new(AtomicU64::new(0));
        let mut host = Host::<Sv48>::new(256, 1);
        let hook = |requests: &Arc<AtomicU64>| {
            let requests = requests.clone();
            move |_: &mut MaySleep, _: u64, _: u64| match requests.fetch_add(1, Ordering::Relaxed) {
                n if n == k => Err(PagerError::Failed),
                _ => Ok(()),
            }
        };
        host.kept.on_read = Some(Box::new(hook(&requests)));
        host.kept.on_write = Some(Box::new(hook(&requests)));
        let (vm, ms) = (host.manager(), &mut sleeper());
        vm.swap_on(ms, 1, 400, 1).unwrap();
        vm.swap_on(ms, 2, 400, 0).unwrap();
        let space = Space::new(&vm, ms).unwrap();
        let at = space.map(ms, Map::anonymous(300 * PAGE, RW)).unwrap();
        let mut refused = 0;
        let mut touch = |ms: &mut MaySleep, page: u64, access| {
            while let Err(error) = space.fault(ms, at + page * PAGE, access) {
                assert_eq!(error, FaultError::NoPage, "page {page}, request {k}");
                refused += 1;
            }
        };
        for page in 0..300 {
            touch(ms, page, Access::Write);
            store(&space, ms, at, page, 0);
        }
        for page in 0..300 {
            touch(ms, page, Access::Read);
            expect(&space, ms, at, page, 0);
        }
        assert!(refused <= 1, "{refused} accesses were refused for one failing request");
        vm.check(ms).unwrap();
        space.exit(ms);
        assert_eq!(vm.swaps().map(|swap| swap.used).sum::<u64>(), 0, "slots leaked, request {k}");
    }
}

#[test]
fn paging_out_takes_what_lies_beside() {
    let (vm, ms) = (manager(1024), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(64 * PAGE, RW)).unwrap();
    (0..64).for_each(|page| store(&space, ms, at, page, 0));
    space.advise(ms, at + 8 * PAGE, 3 * PAGE, Advice::PageOut).unwrap();
    assert_eq!(space.swapped(), 3);
    for page in 0..64 {
        let there = space.translate(&vm.walk(ms), at + page * PAGE).is_some();
        assert_eq!(there, !(8..11).contains(&page), "page {page}");
    }
}

#[test]
fn of_two_equal_spaces_one_loses_more() {
    let (vm, ms) = (manager(2048), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let spaces = [Space::new(&vm, ms).unwrap(), Space::new(&vm, ms).unwrap()];
    let maps = spaces.each_ref().map(|s| s.map(ms, Map::anonymous(800 * PAGE, RW)).unwrap());
    for page in 0..800 {
        for (space, at) in spaces.iter().zip(maps) {
            store(space, ms, at, page, 0);
        }
    }
    for _ in 0..10 {
        vm.reclaim(ms, 80);
    }
    let [one, two] = spaces.each_ref().map(|space| space.swapped());
    assert!(one + two >= 800, "{one} and {two}");
    assert!(one.abs_diff(two) * 10 <= one.max(two), "{one} and {two}");
}

/// The pager refuses what the stealer hands over: it stays, and who syncs next is told, once.
#[test]
fn what_a_pager_refused_the_stealer_is_told_to_nobody() {
    let refuses = Arc::new(AtomicU64::new(1));
    let mut host = Host::<Sv48>::new(512, 2);
    let hook = refuses.clone();
    host.files.on_store = Some(Box::new(move |_| match hook.load(Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(PagerError::Full),
    }));
    let (vm, ms) = (host.manager(), &mut sleeper());
    let file = vm.object(ms, 8 * PAGE, 1).unwrap();
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map_object(ms, Map::anonymous(8 * PAGE, RW).shared(), &file, 0).unwrap();
    (0..8).for_each(|page| store(&space, ms, at, page, 0));
    assert_eq!(vm.reclaim(ms, 8), 0, "a page went that its pager has refused");
    assert_eq!(file.resident(), 8);
    refuses.store(0, Ordering::Relaxed);
    assert_eq!(file.sync(ms, 0..8 * PAGE), Err(Error::Pager(PagerError::Full)));
    assert_eq!(file.sync(ms, 0..8 * PAGE), Ok(()));
    (0..8).for_each(|page| expect(&space, ms, at, page, 0));
    let bytes = vm.platform().files.of(1);
    assert_eq!(bytes[..8], word(0, 0).to_le_bytes(), "what was refused was handed over again");
}
