//! Concurrency is real: what the protocol says does not wait, does not wait; and threads that do
//! everything at once lose nothing of each other's.
//!
//! Threads meet through channels, never by sleeping. A test that gets stuck fails with the step it
//! is stuck in, after [`LIMIT`].

#[macro_use]
mod host;
#[path = "model/linux.rs"]
mod linux;
#[path = "model/ops.rs"]
mod ops;

use host::{Host, be_cpu};
use linux::{Access, Arch, Flags, Mm, Objects, READ, WRITE};
use ops::Random;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;
use vmspace::format::{Format, Geometry, Rights};
use vmspace::{Advice, Map, MaySleep, Remap, Space, Vm};

const LIMIT: Duration = Duration::from_secs(30);
const RW: Rights = Rights::READ.union(Rights::WRITE);

/// Where a test is, for who finds it stuck.
#[derive(Clone, Default)]
struct Step(Arc<Mutex<String>>);

impl Step {
    fn at(&self, what: impl Into<String>) {
        *self.0.lock().unwrap() = what.into();
    }
}

/// Runs a test on a thread of its own, and fails when it does not end.
fn watched(test: impl FnOnce(&Step) + Send + 'static) {
    let step = Step::default();
    let (done, when_done) = mpsc::channel();
    step.at("the beginning");
    let watched = step.clone();
    let thread = thread::spawn(move || {
        test(&watched);
        let _ = done.send(());
    });
    match when_done.recv_timeout(LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("stuck: {}", step.0.lock().unwrap()),
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

fn may_sleep() -> MaySleep {
    // SAFETY: called first on each of a test's threads, which hold nothing.
    unsafe { MaySleep::assume() }
}

/// Runs `test` with an empty space; afterwards all is consistent and nothing is left.
fn with_space<F: Format>(host: Host<F>, test: impl FnOnce(&Vm<Host<F>>, &Space<'_, Host<F>>)) {
    let vm = host.manager();
    let mut ms = may_sleep();
    let frames = vm.free_frames();
    let space = Space::new(&vm, &mut ms).unwrap();
    test(&vm, &space);
    vm.check(&mut ms).unwrap();
    space.exit(&mut ms);
    vm.synchronize(&mut ms);
    assert_eq!(vm.slab_in_use(), 0, "slab objects leaked");
    assert_eq!(vm.free_frames(), frames, "frames leaked");
}

/// The first address of the `n`-th leaf table.
fn leaf<F: Format>(n: u64) -> u64 {
    (n * F::table_pages(0)) << F::PAGE_SHIFT
}

/// Maps leaves `a` and `b` whole and touches a page in each, so that their tables exist.
fn map_leaves<F: Format>(space: &Space<'_, Host<F>>, ms: &mut MaySleep, leaves: [u64; 2]) {
    for n in leaves {
        let length = leaf::<F>(1);
        let map = Map { no_reserve: true, ..Map::anonymous(length, RW).at(leaf::<F>(n)) };
        space.map(ms, map).unwrap();
        assert_eq!(space.write(ms, leaf::<F>(n), b"here"), 4);
    }
}

/// Holds `length` bytes from `address` on, while `body` runs on another thread and CPU.
fn while_held<F: Format>(
    space: &Space<'_, Host<F>>,
    (address, length): (u64, u64),
    body: impl FnOnce(&mut MaySleep) + Send,
) {
    let (holds, when_held) = mpsc::channel();
    let (release, when_released) = mpsc::channel::<()>();
    thread::scope(|threads| {
        threads.spawn(move || {
            be_cpu(0);
            let held = space.transaction(&mut may_sleep(), address, length, |_| {
                holds.send(()).unwrap();
                // An error: the body has panicked, and the test fails by that.
                let _ = when_released.recv();
                Ok(())
            });
            held.unwrap();
        });
        threads.spawn(move || {
            be_cpu(1);
            when_held.recv().unwrap();
            body(&mut may_sleep());
            release.send(()).unwrap();
        });
    });
}

fn works_beside<F: Format>(step: &Step) {
    with_space(Host::<F>::new(1024, 3), |_, space| {
        map_leaves(space, &mut may_sleep(), [8, 9]);
        let (page, b) = (F::PAGE_SIZE, leaf::<F>(9));
        let released = AtomicBool::new(false);
        thread::scope(|threads| {
            while_held(space, (leaf::<F>(8), leaf::<F>(1)), |ms| {
                let released = &released;
                threads.spawn(move || {
                    be_cpu(2);
                    assert_eq!(space.write(&mut may_sleep(), leaf::<F>(8), b"late"), 4);
                    assert!(released.load(Ordering::SeqCst), "the held leaf was not held");
                });
                step.at("a fault in leaf B, while leaf A is held");
                space.fault(ms, b + 3 * page, vmspace::Access::Write).unwrap();
                space.fault(ms, b + 4 * page, vmspace::Access::Read).unwrap();
                step.at("unmap in leaf B, while leaf A is held");
                space.unmap(ms, b + page, 4 * page).unwrap();
                step.at("map in leaf B, while leaf A is held");
                space.map(ms, Map::anonymous(2 * page, RW).at(b + 2 * page)).unwrap();
                step.at("protect in leaf B, while leaf A is held");
                space.protect(ms, b, 4 * page, Rights::READ).unwrap_err();
                space.protect(ms, b, page, Rights::READ).unwrap();
                step.at("don't-need in leaf B, while leaf A is held");
                space.advise(ms, b + 2 * page, 2 * page, Advice::DontNeed).unwrap();
                step.at("a fault in a leaf that does not exist, while leaf A is held");
                let c = leaf::<F>(10);
                space.map(ms, Map::anonymous(page, RW).at(c)).unwrap();
                assert_eq!(space.write(ms, c, b"new"), 3);
                released.store(true, Ordering::SeqCst);
                step.at("the holder's end");
            });
        });
    });
}

fn work_in_one_leaf_waits_for_who_holds_another<F: Format>() {
    watched(works_beside::<F>);
}

fn reads_without_locks<F: Format>(step: &Step) {
    with_space(Host::<F>::new(1024, 2), |vm, space| {
        // Near, and as far as there are leaves.
        let far = 4000.min(F::USER_PAGES / F::table_pages(0) - 8);
        map_leaves(space, &mut may_sleep(), [8, far]);
        let user = F::USER_PAGES << F::PAGE_SHIFT;
        while_held(space, (0, user), |ms| {
            step.at("translate, while all locks are held");
            let guard = vm.walk(ms);
            for n in [8, far] {
                assert!(space.translate(&guard, leaf::<F>(n)).is_some());
                assert!(space.translate(&guard, leaf::<F>(n) - 1).is_none());
            }
            drop(guard);
            step.at("a listing, while all locks are held");
            let mut starts = Vec::new();
            space.for_each_region(ms, |region| starts.push(region.start));
            assert_eq!(starts, [leaf::<F>(8), leaf::<F>(far)]);
            step.at("usage, while all locks are held");
            assert_eq!(space.usage(ms).resident, 2);
            step.at("reading from outside, while all locks are held");
            let mut bytes = [0; 4];
            assert_eq!(space.read(ms, leaf::<F>(8), &mut bytes), 4);
            assert_eq!(&bytes, b"here");
        });
    });
}

fn readers_without_locks_wait_for_locks<F: Format>() {
    watched(reads_without_locks::<F>);
}

/// A host whose `nth` zeroing says so and then waits; the ends of the two channels.
fn slow_zeroing<F: Format>(nth: usize) -> (Host<F>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begins, when_begun) = mpsc::channel();
    let (release, when_released) = mpsc::channel();
    let (count, when_released) = (AtomicUsize::new(0), Mutex::new(when_released));
    let mut host = Host::<F>::new(1024, 2);
    host.on_zero = Some(Box::new(move || {
        if count.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            begins.send(()).unwrap();
            let _ = when_released.lock().unwrap().recv();
        }
    }));
    (host, when_begun, release)
}

/// `fresh`: the leaf's table does not exist before.
fn faults_beside<F: Format>(step: &Step, fresh: bool) {
    let (host, when_begun, release) = slow_zeroing::<F>(if fresh { 1 } else { 2 });
    with_space(host, |vm, space| {
        let (page, base) = (F::PAGE_SIZE, leaf::<F>(8));
        let mut ms = may_sleep();
        space.map(&mut ms, Map::anonymous(16 * page, RW).at(base)).unwrap();
        if !fresh {
            assert_eq!(space.write(&mut ms, base + 9 * page, b"there"), 5);
        }
        thread::scope(|threads| {
            threads.spawn(|| {
                be_cpu(0);
                space.fault(&mut may_sleep(), base, vmspace::Access::Write).unwrap();
            });
            threads.spawn(move || {
                be_cpu(1);
                let ms = &mut may_sleep();
                when_begun.recv().unwrap();
                step.at("a fault beside one that is zeroing");
                assert_eq!(space.write(ms, base + page, b"beside"), 6);
                step.at("a fault of the page that another fault is zeroing");
                assert_eq!(space.write(ms, base, b"first"), 5);
                step.at("protect, unmap and map beside a fault that is zeroing");
                space.protect(ms, base + page, page, Rights::READ).unwrap();
                space.unmap(ms, base + 2 * page, page).unwrap();
                space.map(ms, Map::anonymous(page, RW).at(base + 2 * page)).unwrap();
                release.send(()).unwrap();
                step.at("the end of the fault that was zeroing");
            });
        });
        let mut bytes = [0; 5];
        assert_eq!(space.read(&mut ms, base, &mut bytes), 5);
        assert_eq!(&bytes, b"first", "the late fault replaced the page");
        assert_eq!(vm.statistics().faults_anonymous, if fresh { 2 } else { 3 });
    });
}

fn a_fault_waits_for_another_that_is_zeroing<F: Format>() {
    for fresh in [true, false] {
        watched(move |step| faults_beside::<F>(step, fresh));
    }
}

const THREADS: usize = 4;

/// A page where tables of two levels meet, or of one where there are but two.
fn bound<F: Format>() -> u64 {
    if F::LEVELS == 2 { 8 * F::table_pages(0) } else { F::table_pages(1) }
}

fn moved(address: u64, length: u64, new_address: u64, keep_source: bool) -> Remap {
    Remap {
        address,
        old_length: length,
        new_length: length,
        may_move: true,
        fixed: true,
        keep_source,
        new_address,
    }
}

/// A thread that does everything to its own pages, which lie between those of the others in the
/// same leaves, and to ranges that all threads fight for.
struct Worker<'a, 'vm, F: Format> {
    space: &'a Space<'vm, Host<F>>,
    ms: MaySleep,
    number: u64,
    random: Random,
    /// What the thread's own pages must be: nobody else touches them.
    mm: Mm,
    objects: Objects,
}

impl<F: Format> Worker<'_, '_, F> {
    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.below(32) {
                0 => self.fork(),
                1..12 => self.fight(),
                _ => self.own(),
            }
        }
        self.check(self.space);
    }

    /// One of the thread's pages, on either side of the bound.
    fn own_page(&mut self) -> u64 {
        let n = self.random.below(16) * THREADS as u64 + self.number;
        bound::<F>() - 8 * THREADS as u64 + n
    }

    /// Does the same to the space and to the model, and compares.
    fn own(&mut self) {
        let (page, other) = (self.own_page(), self.own_page());
        let (at, length) = (page << F::PAGE_SHIFT, F::PAGE_SIZE);
        let Worker { space, ms, random, mm, objects, .. } = self;
        let kind = random.below(13);
        match kind {
            0 => {
                let shared = random.one_in(3);
                let flags = Flags { fixed: true, shared, ..Flags::default() };
                let map = Map::anonymous(length, RW).at(at);
                let map = if shared { map.shared() } else { map };
                mm.mmap(objects, None, at, length, READ | WRITE, flags).unwrap();
                assert_eq!(space.map(ms, map), Ok(at));
            }
            1 => {
                mm.munmap(at, length).unwrap();
                assert_eq!(space.unmap(ms, at, length), Ok(()));
            }
            2 | 3 => {
                let (prot, rights) =
                    if kind == 2 { (READ, Rights::READ) } else { (READ | WRITE, RW) };
                let wanted = mm.mprotect(at, length, prot);
                let found = space.protect(ms, at, length, rights).map_err(|e| e.errno());
                assert_eq!(found, wanted);
            }
            4 => {
                let wanted = mm.dont_need(at, length);
                let found = space.advise(ms, at, length, Advice::DontNeed).map_err(|e| e.errno());
                assert_eq!(found, wanted);
            }
            5 => {
                let wanted = mm.fault(objects, page, Access::Read).is_ok();
                assert_eq!(space.fault(ms, at, vmspace::Access::Read).is_ok(), wanted);
            }
            12 => {
                let to = other << F::PAGE_SHIFT;
                let (address, old, new) = (at, length, length);
                let keep_source = random.one_in(3);
                let remap = linux::Remap {
                    address,
                    old,
                    new,
                    may_move: true,
                    fixed: true,
                    keep_source,
                    to,
                };
                let found = space.remap(ms, moved(at, length, to, keep_source));
                assert_eq!(found.map_err(|e| e.errno()), mm.mremap(objects, remap));
            }
            6..9 => {
                let bytes = random.next().to_le_bytes();
                let wanted = mm.write(objects, at + 8, &bytes);
                assert_eq!(space.write(ms, at + 8, &bytes), wanted);
            }
            _ => {
                let mut found = [0; 24];
                let read = space.read(ms, at, &mut found);
                assert_eq!(found[..read], mm.read(objects, at, 24)[..], "page {page:#x}");
            }
        }
    }

    /// All of the thread's pages, in the space or in a fork of it.
    fn check(&mut self, space: &Space<'_, Host<F>>) {
        let start = bound::<F>() - 8 * THREADS as u64 + self.number;
        for page in (start..).step_by(THREADS).take(16) {
            let mut found = [0; 24];
            let read = space.read(&mut self.ms, page << F::PAGE_SHIFT, &mut found);
            let wanted = self.mm.read(&mut self.objects, page << F::PAGE_SHIFT, 24);
            assert_eq!(found[..read], wanted[..], "page {page:#x} of thread {}", self.number);
        }
    }

    /// A range that all fight for: beside the own pages, and up to whole tables.
    fn fight(&mut self) {
        let Worker { space, ms, random, .. } = self;
        let leaf = F::table_pages(0);
        let places = [bound::<F>() + 4 * leaf, bound::<F>() - 4 * leaf, 3 * leaf];
        let page = random.pick(&places) + random.below(12) - 6;
        let pages = if random.one_in(4) { leaf + random.below(12) } else { 1 + random.below(12) };
        let (at, length) = (page << F::PAGE_SHIFT, pages << F::PAGE_SHIFT);
        // What they answer depends on the others.
        match random.below(10) {
            8 | 9 => {
                // Often whole tables: those of one place to those of another.
                let to = (random.pick(&places) + page % leaf) << F::PAGE_SHIFT;
                let _ = space.remap(ms, moved(at, length, to, random.one_in(3)));
            }
            0 | 1 => {
                let map = Map { no_reserve: true, ..Map::anonymous(length, RW).at(at) };
                space.map(ms, if random.one_in(4) { map.shared() } else { map }).unwrap();
            }
            2 => space.unmap(ms, at, length).unwrap(),
            3 => drop(space.protect(ms, at, length, random.pick(&[RW, Rights::READ]))),
            4 => drop(space.advise(ms, at, length, Advice::DontNeed)),
            5 => drop(space.map(ms, Map::anonymous(1 + random.below(4 * F::PAGE_SIZE), RW))),
            6 => space.for_each_region(ms, |region| assert!(region.start < region.end)),
            _ => drop(space.write(ms, at, b"fight")),
        }
    }

    /// A fork has the thread's pages as they are; what is written there stays there.
    fn fork(&mut self) {
        let child = self.space.fork(&mut self.ms).unwrap();
        self.check(&child);
        let private = self.mm.clone();
        for _ in 0..4 {
            let at = self.own_page() << F::PAGE_SHIFT;
            if self.mm.prot(at >> F::PAGE_SHIFT) == Some(READ | WRITE) {
                let bytes = self.random.next().to_le_bytes();
                let wanted = self.mm.write(&mut self.objects, at, &bytes);
                assert_eq!(child.write(&mut self.ms, at, &bytes), wanted);
            }
        }
        self.check(&child);
        child.exit(&mut self.ms);
        // Shared objects keep what the child wrote; private pages are the parent's again.
        self.mm = private;
        self.check(self.space);
    }
}

fn fights<F: Format>(step: &Step, seed: u64) {
    step.at(format!("threads, with seed {seed}"));
    with_space(Host::<F>::new(8192, THREADS), |vm, space| {
        (0..THREADS).for_each(|cpu| space.enter(cpu));
        thread::scope(|threads| {
            for number in 0..THREADS {
                threads.spawn(move || {
                    be_cpu(number);
                    let arch = Arch {
                        page_shift: F::PAGE_SHIFT,
                        user_pages: F::USER_PAGES,
                        map_base: F::USER_PAGES,
                        window: F::USER_PAGES,
                        memory: u64::MAX,
                        execute_reads: false,
                        read_executes: false,
                    };
                    let number = number as u64;
                    let mut worker = Worker {
                        space,
                        ms: may_sleep(),
                        number,
                        random: Random(seed << 8 | number),
                        mm: Mm::new(arch, 0),
                        objects: Objects::new(F::PAGE_SHIFT),
                    };
                    worker.run(1200);
                });
            }
        });
        (0..THREADS).for_each(|cpu| vm.leave(space.id(), cpu));
    });
}

fn threads_lose_each_others_pages_or_leak<F: Format>() {
    for seed in 0..4 {
        watched(move |step| fights::<F>(step, seed));
    }
}

in_typical_formats!(
    work_in_one_leaf_waits_for_who_holds_another,
    readers_without_locks_wait_for_locks,
    a_fault_waits_for_another_that_is_zeroing,
    threads_lose_each_others_pages_or_leak,
);
