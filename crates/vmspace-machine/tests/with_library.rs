//! The library's own spaces on harts, in checking mode with a TLB that forgets nothing: while one
//! thread protects, forks and discards, others use the pages and see what they wrote.
#![cfg(not(loom))]

mod guest;

use guest::{Guest, RW, machine};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use vmspace::format::{Format, Geometry, Rights};
use vmspace::{Advice, Map, MaySleep, Platform, Space, Vm};
use vmspace_machine::{MachinePlatform, TlbTraits};

/// Runs a test's own `run` in every format.
macro_rules! run_in {
    ([$tlb:ident $check:ident] $($format:ident $module:ident,)*) => {
        $(run::<vmspace::format::$format>($tlb, $check);)*
    };
}

const PAGES: u64 = 48;
const HARTS: usize = 2;

#[test]
fn a_guest_reads_what_it_wrote_in_every_format_and_mode() {
    fn run<F: Format>(tlb: TlbTraits, check: bool) {
        let vm = machine::<F>(1, tlb, check);
        let mut guest = Guest::new(&vm, 0);
        // SAFETY: the test's own thread, outside, holding nothing.
        let mut ms = unsafe { MaySleep::assume() };
        let space = Space::new(&vm, &mut ms).unwrap();
        let at = space.map(&mut ms, Map::anonymous(PAGES * F::PAGE_SIZE, RW)).unwrap();
        let address = |page: u64| at + page * F::PAGE_SIZE + 8 * page;
        for page in 0..PAGES {
            assert_eq!(guest.load(&space, address(page)).unwrap(), Some(0));
            assert!(guest.store(&space, address(page), page).unwrap());
        }
        let child = space.fork(&mut ms).unwrap();
        assert!(guest.store(&child, address(3), 333).unwrap());
        assert!(guest.store(&space, address(4), 444).unwrap());
        assert_eq!(guest.load(&space, address(3)).unwrap(), Some(3));
        assert_eq!(guest.load(&child, address(4)).unwrap(), Some(4));
        assert_eq!(guest.load(&child, address(3)).unwrap(), Some(333));
        vm.platform().forget_space(child.id());
        child.exit(&mut ms);
        space.protect(&mut ms, at, F::PAGE_SIZE, Rights::READ).unwrap();
        assert_eq!(guest.load(&space, address(0)).unwrap(), Some(0));
        assert!(!guest.store(&space, address(0), 1).unwrap());
        space.advise(&mut ms, at, PAGES * F::PAGE_SIZE, Advice::DontNeed).unwrap();
        assert_eq!(guest.load(&space, address(4)).unwrap(), Some(0));
        space.unmap(&mut ms, at, F::PAGE_SIZE).unwrap();
        assert_eq!(guest.load(&space, address(0)).unwrap(), None);
        vm.platform().forget_space(space.id());
        space.exit(&mut ms);
    }
    for (tlb, check) in [
        (TlbTraits::NORMAL, false),
        (TlbTraits::NORMAL, true),
        (TlbTraits::STICKY, true),
        (TlbTraits::ADVERSARIAL, false),
        (TlbTraits::ADVERSARIAL, true),
    ] {
        vmspace::every_format!(run_in, tlb, check);
    }
}

/// Adds to its own words until told otherwise; what it finds is what it left there.
fn add<F: Format>(
    vm: &Vm<MachinePlatform<F>>,
    space: &Space<'_, MachinePlatform<F>>,
    (index, at): (usize, u64),
    (started, done): (&Barrier, &AtomicBool),
) -> u64 {
    let mut guest = Guest::new(vm, index);
    started.wait();
    let mut sums = [0; PAGES as usize];
    let mut turn = 0;
    loop {
        turn += 1;
        let page = turn * 7 % PAGES;
        let address = at + page * F::PAGE_SIZE + 64 * index as u64;
        let found = guest.load(space, address).expect("no stale translation");
        assert_eq!(found, Some(sums[page as usize]), "{}: page {page} at turn {turn}", F::NAME);
        // Refused while the page is write-protected.
        if guest.store(space, address, turn).expect("no stale translation") {
            sums[page as usize] = turn;
        }
        if done.load(Ordering::Relaxed) {
            return turn;
        }
    }
}

#[test]
fn protect_fork_and_discard_while_harts_use_the_pages() {
    fn run<F: Format>(tlb: TlbTraits, check: bool) {
        const ROUNDS: u64 = 60;
        let vm = machine::<F>(HARTS, tlb, check);
        // SAFETY: the test's own thread, which is no hart, holding nothing.
        let mut ms = unsafe { MaySleep::assume() };
        let space = Space::new(&vm, &mut ms).unwrap();
        let at = space.map(&mut ms, Map::anonymous(PAGES * F::PAGE_SIZE, RW)).unwrap();
        let other = space.map(&mut ms, Map::anonymous(PAGES * F::PAGE_SIZE, RW)).unwrap();
        let (started, done) = (Barrier::new(HARTS + 1), AtomicBool::new(false));
        thread::scope(|scope| {
            let adders: Vec<_> = (0..HARTS)
                .map(|index| {
                    let (vm, space, phases) = (&vm, &space, (&started, &done));
                    scope.spawn(move || add(vm, space, (index, at), phases))
                })
                .collect();
            started.wait();
            for round in 0..ROUNDS {
                let start = at + round % PAGES * F::PAGE_SIZE;
                let length = (round * 5 % 8 + 1).min(PAGES - round % PAGES) * F::PAGE_SIZE;
                space.protect(&mut ms, start, length, Rights::READ).unwrap();
                space.protect(&mut ms, start, length, RW).unwrap();
                let child = space.fork(&mut ms).unwrap();
                space.write(&mut ms, other + round * 8, &[1; 8]);
                space.advise(&mut ms, other, length, Advice::DontNeed).unwrap();
                vm.platform().forget_space(child.id());
                child.exit(&mut ms);
            }
            done.store(true, Ordering::Relaxed);
            for adder in adders {
                assert!(adder.join().unwrap() > 0);
            }
        });
        vm.platform().forget_space(space.id());
        space.exit(&mut ms);
        assert!(vm.platform().statistics().shootdowns > 0);
        assert_eq!(vm.platform().cpus(), HARTS + 8);
    }
    for (tlb, check) in [
        (TlbTraits::NORMAL, false),
        (TlbTraits::STICKY, false),
        (TlbTraits::STICKY, true),
        (TlbTraits::ADVERSARIAL, false),
        (TlbTraits::ADVERSARIAL, true),
    ] {
        vmspace::every_format!(run_in, tlb, check);
    }
}
