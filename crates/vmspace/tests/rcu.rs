//! Grace periods of the whole manager: what a reader without locks holds back, and what it does not.
//!
//! Guarantee: a table is not reused before every reader has left, whatever CPU it reads on (R20);
//! retiring needs no memory (R21); and readers who come and go hold back nothing for ever.

#![cfg(not(loom))]

#[macro_use]
mod host;

use host::{Host, be_cpu};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use vmspace::format::{Format, Geometry, Rights, Sv48};
use vmspace::rcu::{Epoch, Readers};
use vmspace::{Advice, Map, MaySleep, Space, Vm};

const RW: Rights = Rights::READ.union(Rights::WRITE);

/// The CPU of the reader: it never ran a space.
const ELSEWHERE: usize = 1;

fn token() -> MaySleep {
    // SAFETY: a test's own thread, which holds nothing.
    unsafe { MaySleep::assume() }
}

/// Bytes that a table of the leaf level spans.
fn table_bytes<F: Format>() -> u64 {
    F::table_pages(0) << F::PAGE_SHIFT
}

/// Maps a range that is a whole table, touches a page of it, and unmaps it: a table is retired.
fn retire_a_table<F: Format>(space: &Space<'_, Host<F>>, ms: &mut MaySleep) {
    let bytes = table_bytes::<F>();
    let map = Map { no_reserve: true, ..Map::anonymous(bytes, RW).at(8 * bytes) };
    let at = space.map(ms, map).unwrap();
    assert_eq!(space.write(ms, at, b"x"), 1);
    space.unmap(ms, at, bytes).unwrap();
}

/// Holds a guard on [`ELSEWHERE`] from the message on `entered` until one comes on `leave`.
fn read<F: Format>(vm: &Vm<Host<F>>, entered: Sender<()>, leave: Receiver<()>) {
    be_cpu(ELSEWHERE);
    let mut ms = token();
    let guard = vm.walk(&mut ms);
    entered.send(()).unwrap();
    // Or until whoever would send it has failed.
    let _ = leave.recv();
    drop(guard);
}

/// Runs `during` while a reader is inside; when it has left, all must come back.
fn beside_a_reader<F: Format>(
    frames: u64,
    during: impl FnOnce(&Vm<Host<F>>, &Space<'_, Host<F>>, &mut MaySleep),
) {
    let vm = Host::<F>::new(frames, 3).manager();
    let mut ms = token();
    let free = vm.free_frames();
    let space = Space::new(&vm, &mut ms).unwrap();
    let (has_entered, entered) = channel();
    thread::scope(|scope| {
        let (leave, may_leave) = channel();
        scope.spawn(|| read(&vm, has_entered, may_leave));
        entered.recv().unwrap();
        during(&vm, &space, &mut ms);
        leave.send(()).unwrap();
    });
    space.exit(&mut ms);
    vm.synchronize(&mut ms);
    assert_eq!((vm.free_frames(), vm.slab_in_use()), (free, 0), "something leaked");
    assert_eq!(vm.statistics().tables_alive, 0);
}

fn a_reader_on_a_cpu_that_never_ran_the_space_is_not_waited_for<F: Format>() {
    beside_a_reader::<F>(2048, |vm, space, ms| {
        // Many batches of retirements, each a look at the epoch.
        for _ in 0..400 {
            retire_a_table(space, ms);
        }
        let counted = vm.statistics();
        assert!(counted.tables_made >= 400, "no tables were made");
        assert_eq!(counted.tables_freed, 0, "a table was reused under a reader");
    });
}

#[test]
fn tables_are_never_reused_though_nobody_reads() {
    let vm = Host::<Sv48>::new(512, 3).manager();
    let mut ms = token();
    let space = Space::new(&vm, &mut ms).unwrap();
    // Far more tables than there are frames; nobody asks for a grace period but retiring itself.
    for _ in 0..2000 {
        retire_a_table(&space, &mut ms);
    }
    assert!(vm.statistics().tables_freed > 1500);
    assert!(vm.free_frames() > 256);
}

/// A space is dropped where nothing may sleep: the walk goes on, and what it was in ends later.
#[test]
fn dropping_a_space_in_a_walk_frees_what_is_walked() {
    let vm = Host::<Sv48>::new(512, 3).manager();
    let mut ms = token();
    let free = vm.free_frames();
    let space = Space::new(&vm, &mut ms).unwrap();
    let at = space.map(&mut ms, Map::anonymous(4096, RW)).unwrap();
    assert_eq!(space.write(&mut ms, at, b"x"), 1);
    let other = Space::new(&vm, &mut ms).unwrap();
    let used = vm.free_frames();
    let guard = vm.walk(&mut ms);
    drop(space);
    drop(other);
    assert_eq!(vm.free_frames(), used, "the end of a space was not put off");
    drop(guard);
    vm.reap(&mut ms);
    vm.synchronize(&mut ms);
    assert_eq!((vm.free_frames(), vm.slab_in_use()), (free, 0), "something leaked");
}

/// Memory that only the end of a dropped space can give is found when it is needed.
#[test]
fn a_dropped_space_keeps_memory_from_those_who_need_it() {
    let vm = Host::<Sv48>::new(512, 3).manager();
    let mut ms = token();
    let [full, other] = [(); 2].map(|()| Space::new(&vm, &mut ms).unwrap());
    let (_, _, pages) = fill(&full, &mut ms, || true);
    assert!(pages > 256 && vm.free_frames() == 0, "memory was not exhausted");
    drop(full);
    let at = other.map(&mut ms, Map::anonymous(4096, RW)).unwrap();
    assert_eq!(other.write(&mut ms, at, b"x"), 1);
}

/// While one CPU ends what was dropped, another that needs the memory waits for it.
#[test]
fn a_space_that_somebody_else_is_ending_looks_like_no_memory() {
    let waits = Arc::new(AtomicBool::new(false));
    let noted = waits.clone();
    let mut host = Host::<Sv48>::new(512, 3);
    host.on_relax = Some(Box::new(move || noted.store(true, Ordering::Relaxed)));
    let vm = host.manager();
    let mut ms = token();
    let [full, other] = [(); 2].map(|()| Space::new(&vm, &mut ms).unwrap());
    let at = other.map(&mut ms, Map::anonymous(4096, RW)).unwrap();
    full.enter(2); // so its end has to shoot
    let (_, _, pages) = fill(&full, &mut ms, || true);
    assert!(pages > 256 && vm.free_frames() == 0, "memory was not exhausted");
    let shot = vm.platform().shootdowns.load(Ordering::Relaxed);
    // Whoever shoots waits for this.
    let shooters_wait = vm.platform().sent.lock().unwrap();
    drop(full);
    thread::scope(|scope| {
        scope.spawn(|| {
            be_cpu(1);
            vm.reap(&mut token());
        });
        while vm.platform().shootdowns.load(Ordering::Relaxed) == shot {
            thread::yield_now();
        }
        waits.store(false, Ordering::Relaxed);
        let needy = scope.spawn(|| other.write(&mut token(), at, b"x"));
        while !needy.is_finished() && !waits.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        drop(shooters_wait);
        assert_eq!(needy.join().unwrap(), 1);
    });
}

#[test]
fn synchronize_returns_though_a_reader_is_inside() {
    let vm = Host::<Sv48>::new(512, 3).manager();
    let (has_entered, entered) = channel();
    let (is_done, done) = channel();
    thread::scope(|scope| {
        let (leave, may_leave) = channel();
        scope.spawn(|| read(&vm, has_entered, may_leave));
        entered.recv().unwrap();
        scope.spawn(|| {
            be_cpu(2);
            vm.synchronize(&mut token());
            is_done.send(()).unwrap();
        });
        for _ in 0..1000 {
            thread::yield_now();
            assert!(done.try_recv().is_err(), "the reader was not waited for");
        }
        leave.send(()).unwrap();
        done.recv().unwrap();
    });
}

#[test]
fn readers_who_come_and_go_hold_an_epoch_back_for_ever() {
    let epoch = Epoch::default();
    let readers = [Readers::default(), Readers::default()];
    let stamp = epoch.stamp();
    let mut inside = epoch.enter(&readers[0]);
    // Somebody is always inside, and nobody stays: each comes before the last one leaves.
    for cpu in [1, 0, 1, 0] {
        assert!(epoch.try_advance(readers.iter()), "a reader of the running epoch stops it");
        let next = epoch.enter(&readers[cpu]);
        readers[1 - cpu].exit(std::mem::replace(&mut inside, next));
    }
    assert!(epoch.is_past(stamp));
}

/// A mapping of several tables, more than there is memory for, with a page written in it for as
/// long as `goes_on`; its address and length, and how many were written.
fn fill<F: Format>(
    space: &Space<'_, Host<F>>,
    ms: &mut MaySleep,
    goes_on: impl Fn() -> bool,
) -> (u64, u64, u64) {
    let length = 4 * table_bytes::<F>();
    let map = Map { no_reserve: true, ..Map::anonymous(length, RW).at(8 * length) };
    let at = space.map(ms, map).unwrap();
    let mut pages = 0;
    while goes_on() && space.write(ms, at + (pages << F::PAGE_SHIFT), b"x") == 1 {
        pages += 1;
    }
    (at, length, pages)
}

fn pages_wait_for_readers_or_tables_do_not<F: Format>() {
    beside_a_reader::<F>(900, |vm, space, ms| {
        // Not to the last frame: who finds none waits for the reader.
        let (at, length, pages) = fill(space, ms, || vm.free_frames() >= 2);
        assert!(pages > 256 && vm.free_frames() < 2, "memory was not used up");
        space.advise(ms, at, length / 2, Advice::DontNeed).unwrap();
        space.unmap(ms, at, length).unwrap();
        assert!(vm.free_frames() >= pages, "pages wait for a reader of tables");
        assert_eq!(vm.statistics().tables_freed, 0, "a table was reused under a reader");
    });
}

fn retires_without_memory<F: Format>(end: fn(Space<'_, Host<F>>, &mut MaySleep, u64, u64)) {
    let vm = Host::<F>::new(900, 3).manager();
    let mut ms = token();
    let free = vm.free_frames();
    let space = Space::new(&vm, &mut ms).unwrap();
    let (at, length, pages) = fill(&space, &mut ms, || true);
    assert!(pages > 256 && vm.free_frames() == 0, "memory was not exhausted");
    end(space, &mut ms, at, length);
    vm.synchronize(&mut ms);
    assert_eq!((vm.free_frames(), vm.slab_in_use()), (free, 0), "something leaked");
}

/// The ends that have to succeed with no frame free.
fn giving_memory_back_needs_memory<F: Format>() {
    retires_without_memory::<F>(|space, ms, _, _| space.exit(ms));
    retires_without_memory::<F>(|space, ms, at, length| {
        space.unmap(ms, at, length).unwrap();
        space.exit(ms);
    });
    retires_without_memory::<F>(|space, ms, at, length| {
        space.advise(ms, at, length, Advice::DontNeed).unwrap();
        assert!(space.vm().free_frames() > 256, "nothing came back");
        assert_eq!(space.write(ms, at, b"again"), 5);
        space.exit(ms);
    });
}

in_typical_formats!(
    a_reader_on_a_cpu_that_never_ran_the_space_is_not_waited_for,
    pages_wait_for_readers_or_tables_do_not,
    giving_memory_back_needs_memory,
);
