//! Pages that are stolen although somebody relies on them.

use super::orders::beside;
use super::{BASE, LEAF, PAGE, RW, SpaceOf, byte_at, frame_at, plant, with_space};
use crate::host::Host;
use crate::machine::{Machine, at_table, on_cpu, translation, when_waiting};
use crate::steps::Steps;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use vmspace::format::Sv48;
use vmspace::{Advice, Map, MaySleep, Space, Vm};

/// Memory is short: all that can go goes.
fn steal_all(space: &SpaceOf<'_>, ms: &mut MaySleep) {
    while space.vm().reclaim(ms, 1000) != 0 {}
}

fn with_swap(test: impl FnOnce(&SpaceOf<'_>, &mut MaySleep)) {
    with_space(|space, ms| {
        space.vm().swap_on(ms, 1, 1024, 0).unwrap();
        Machine::store(space, ms, 1, BASE, 7);
        test(space, ms);
    });
}

#[test]
fn stealing_without_shootdown_loses_what_is_stored_next() {
    with_swap(|space, ms| {
        space.advise(ms, BASE, PAGE, Advice::PageOut).unwrap();
        let stored = space.vm().platform().store_cached(1, space.id(), BASE, 9);
        assert_eq!(byte_at(space, ms, BASE), if stored { 9 } else { 7 }, "what was stored last");
    });
}

#[test]
fn a_locked_page_is_stolen() {
    with_swap(|space, ms| {
        space.lock(ms, BASE, PAGE, false).unwrap();
        steal_all(space, ms);
        assert!(translation(space, ms, BASE).is_some(), "mlock(2) has promised that it stays");
    });
}

#[test]
fn a_stolen_page_parts_its_space_from_a_device() {
    with_swap(|space, ms| {
        let pinned = space.pin(ms, BASE, true).unwrap();
        steal_all(space, ms);
        Machine::store(space, ms, 1, BASE, 8);
        assert_eq!(frame_at(space, ms, BASE), pinned.frame(), "the device has another page");
        assert_eq!(space.advise(ms, BASE, LEAF, Advice::PageOut), Ok(()));
        assert_eq!(byte_at(space, ms, BASE), 8);
    });
}

#[test]
fn a_page_that_is_not_written_comes_back_as_something_else() {
    with_swap(|space, ms| {
        space.advise(ms, BASE, PAGE, Advice::PageOut).unwrap();
        let mut byte = [0];
        assert_eq!((space.read(ms, BASE, &mut byte), byte), (1, [7]), "what was stored");
    });
}

/// CPU 0 forks: every lock of the space is held while CPU 1 has not acknowledged. CPU 2, short of
/// memory, steals from another space, which works on, and waits for nothing.
#[test]
fn who_steals_waits_for_the_locks_of_another_space() {
    with_swap(|space, ms| {
        let vm = space.vm();
        let other = Space::new(vm, ms).unwrap();
        other.map(ms, Map::anonymous(LEAF, RW).at(BASE)).unwrap();
        for page in 0..64 {
            other.write(ms, BASE + page * PAGE, &[1]);
        }
        let steps = Steps::default();
        let held = steps.clone();
        vm.platform().before_acknowledging(move |_| {
            held.done(1);
            held.after(2);
        });
        let on_cpu_2 = |ms: &mut MaySleep| {
            steps.after(1);
            when_waiting(|| panic!("who steals waits for a space that waits itself"));
            assert!(vm.reclaim(ms, 64) >= 64, "nothing is stolen");
            assert_eq!(other.write(ms, BASE, &[2]), 1);
            other.unmap(ms, BASE + PAGE, PAGE).unwrap();
            steps.done(2);
        };
        beside(2, on_cpu_2, || space.fork(ms).unwrap().exit(ms));
    });
}

/// All memory is full of pages that must be written before they go; a pager that is asked for a page
/// asks for memory itself.
#[test]
fn a_pager_that_needs_memory_meets_itself() {
    plant();
    let manager: Arc<OnceLock<&'static Vm<Host<Sv48>>>> = Arc::default();
    let busy = Arc::new(AtomicBool::new(false));
    let mut host = Host::<Sv48>::new(256, 1);
    let (known, at_work) = (manager.clone(), busy.clone());
    host.files.on_page_in = Some(Box::new(move |ms, _, _| {
        at_work.store(true, Ordering::Relaxed);
        let vm = known.get().unwrap();
        // There may be none: then it is told so.
        if let Ok(memory) = vm.object(ms, 64 * PAGE, 0) {
            let _ = memory.write(ms, 0, &[1; 64 * PAGE as usize]);
        }
        at_work.store(false, Ordering::Relaxed);
        Ok(7)
    }));
    let at_work = busy.clone();
    host.kept.on_write = Some(Box::new(move |_, _, _| {
        assert!(!at_work.load(Ordering::Relaxed), "a device is called while a pager is at work");
        Ok(())
    }));
    let vm: &'static Vm<Host<Sv48>> = Box::leak(Box::new(host.manager()));
    manager.set(vm).unwrap_or_else(|_| panic!("it is set once"));
    on_cpu(0, |ms| {
        vm.swap_on(ms, 1, 1024, 0).unwrap();
        let space = Space::new(vm, ms).unwrap();
        let at = space.map(ms, Map::anonymous(400 * PAGE, RW)).unwrap();
        (0..400).for_each(|page| _ = space.write(ms, at + page * PAGE, &[page as u8]));
        let file = vm.object(ms, PAGE, 1).unwrap();
        let mut byte = [0];
        assert_eq!((file.read(ms, 0, &mut byte), byte), (Ok(1), [7]));
    });
}

/// What a fork's child has must go too when it is wanted: else a space that fills memory never forks.
#[test]
fn what_the_child_has_cannot_be_stolen() {
    with_swap(|space, ms| {
        let child = space.fork(ms).unwrap();
        steal_all(space, ms);
        assert!(translation(&child, ms, BASE).is_none(), "the child's entry was not found");
        assert_eq!((byte_at(space, ms, BASE), byte_at(&child, ms, BASE)), (7, 7));
        space.vm().check(ms).unwrap();
    });
}

/// CPU 0 looks at a child's pages, and waits for CPU 1 to have dropped them; CPU 2 ends the child.
#[test]
fn a_space_that_is_looked_at_ends() {
    with_swap(|space, ms| {
        let vm = space.vm();
        let child = space.fork(ms).unwrap();
        vm.age(ms);
        child.enter(1);
        child.write(ms, BASE, &[8]);
        let (steps, looked) = (Steps::default(), Arc::new(AtomicBool::new(false)));
        let (held, seen) = (steps.clone(), looked.clone());
        vm.platform().before_acknowledging(move |_| {
            held.done(1);
            held.after(2);
            seen.store(true, Ordering::Relaxed);
        });
        thread::scope(|scope| {
            scope.spawn(|| {
                on_cpu(2, |ms| {
                    steps.after(1);
                    let waits = steps.clone();
                    when_waiting(move || waits.done(2));
                    child.exit(ms);
                    let over = looked.load(Ordering::Relaxed);
                    assert!(over, "a space has ended that somebody was at");
                    steps.done(2);
                });
            });
            vm.age(ms);
        });
    });
}

/// CPU 0 faults below a stack; while it looks, CPU 2 lets the stack grow half as far, and pushes.
#[test]
fn a_stack_that_grows_by_what_it_was_takes_away_what_was_pushed() {
    for look in 1..=8 {
        with_space(|space, ms| {
            let top = BASE - 64 * PAGE;
            let stack = Map { grows_down: true, ..Map::anonymous(PAGE, RW).at(top) };
            space.map(ms, stack).unwrap();
            space.write(ms, top, &[1]);
            let steps = Steps::default();
            let push = steps.clone();
            at_nth_look(space.root(), look, move || {
                push.done(1);
                push.after(2);
            });
            let on_cpu_2 = |ms: &mut MaySleep| {
                steps.after(1);
                let waits = steps.clone();
                when_waiting(move || waits.done(2));
                assert_eq!(space.write(ms, top - 2 * PAGE, &[5]), 1);
                steps.done(2);
            };
            beside(2, on_cpu_2, || {
                assert_eq!(space.write(ms, top - 4 * PAGE, &[6]), 1);
                steps.done(1);
                steps.done(2);
            });
            assert_eq!(byte_at(space, ms, top - 2 * PAGE), 5, "what was pushed, at look {look}");
        });
    }
}

/// Runs `action` when this thread looks into `table` the `n`-th time from now.
fn at_nth_look(table: vmspace::Frame, n: u32, action: impl FnOnce() + 'static) {
    at_table(table, move || match n {
        1 => action(),
        _ => at_nth_look(table, n - 1, action),
    });
}
