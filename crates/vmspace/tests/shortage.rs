//! Where memory is short: who is told so, who waits, and what stays as it was.

mod host;

use host::Host;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use vmspace::backend::NoTable;
use vmspace::format::{Rights, Sv48};
use vmspace::{
    Access, Advice, Backend, Cell, Error, FaultError, Frame, Map, MaySleep, Native, PagerError,
    Platform, Slot, Space, Vm,
};

const PAGE: u64 = 4096;
const RW: Rights = Rights::READ.union(Rights::WRITE);

fn sleeper() -> MaySleep {
    // SAFETY: the test's own thread, which holds nothing of the library.
    unsafe { MaySleep::assume() }
}

type Small = Vm<Host<Sv48>>;

/// A space whose pages hold their numbers.
fn numbered<'v>(vm: &'v Small, ms: &mut MaySleep, pages: u64) -> (Space<'v, Host<Sv48>>, u64) {
    let space = Space::new(vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(pages * PAGE, RW)).unwrap();
    for page in 0..pages {
        assert_eq!(space.write(ms, at + page * PAGE, &page.to_le_bytes()), 8, "page {page}");
    }
    (space, at)
}

fn expect_numbers(space: &Space<'_, Host<Sv48>>, ms: &mut MaySleep, at: u64, pages: u64) {
    let mut bytes = [0; 8];
    for page in 0..pages {
        assert_eq!(space.read(ms, at + page * PAGE, &mut bytes), 8, "page {page}");
        assert_eq!(u64::from_le_bytes(bytes), page);
    }
}

#[test]
fn a_device_that_is_full_keeps_pages_from_the_others() {
    let mut host = Host::<Sv48>::new(512, 2);
    let asked = Arc::new(AtomicU64::new(0));
    let full = asked.clone();
    host.kept.on_write = Some(Box::new(move |_, device, _| match device {
        1 => {
            full.fetch_add(1, Ordering::Relaxed);
            Err(PagerError::Full)
        }
        _ => Ok(()),
    }));
    let (vm, ms) = (host.manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 1).unwrap();
    vm.swap_on(ms, 2, 4096, 0).unwrap();
    let (space, at) = numbered(&vm, ms, 1000);
    expect_numbers(&space, ms, at, 1000);
    let written = vm.statistics().pages_swapped_out;
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked != 0 && asked < written / 2, "{asked} times for {written} pages");
}

#[test]
fn a_swapoff_without_room_changes_something() {
    let (vm, ms) = (Host::<Sv48>::new(512, 2).manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 5).unwrap();
    let (space, at) = numbered(&vm, ms, 1000);
    assert_eq!(vm.swap_off(ms, 1, || Ok(())), Err(Error::OutOfMemory));
    let usage = vm.swaps().next().expect("the device is in use");
    assert_eq!((usage.device, usage.slots, usage.priority), (1, 4096, 5));
    // It gets pages as before.
    let before = vm.statistics().pages_swapped_out;
    expect_numbers(&space, ms, at, 1000);
    let (other, place) = numbered(&vm, ms, 1000);
    expect_numbers(&other, ms, place, 1000);
    assert!(vm.statistics().pages_swapped_out > before + 500);
    expect_numbers(&space, ms, at, 1000);
    vm.check(ms).unwrap();
}

#[test]
fn a_swapoff_cannot_be_interrupted() {
    let (vm, ms) = (Host::<Sv48>::new(512, 2).manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let (space, at) = numbered(&vm, ms, 40);
    let memory = vm.object(ms, 40 * PAGE, 0).unwrap();
    for page in 0..40 {
        assert_eq!(memory.write(ms, page * PAGE, &page.to_le_bytes()), Ok(8));
    }
    assert_eq!(vm.reclaim(ms, 80), 80);
    // Wherever it is told to stop: among the pages of spaces, or among those of memory.
    for turns in [0, 1, 20, 50] {
        let left = AtomicU32::new(turns);
        let go_on = || match left.load(Ordering::Relaxed) {
            0 => Err(Error::Interrupted),
            turns => {
                left.store(turns - 1, Ordering::Relaxed);
                Ok(())
            }
        };
        assert_eq!(vm.swap_off(ms, 1, go_on), Err(Error::Interrupted), "after {turns}");
        assert_eq!(left.load(Ordering::Relaxed), 0);
        vm.check(ms).unwrap();
        while vm.reclaim(ms, 80) != 0 {}
        assert_eq!(vm.swaps().next().unwrap().used, 80, "it gets no pages any more");
    }
    assert_eq!(vm.swap_off(ms, 1, || Ok(())), Ok(()));
    expect_numbers(&space, ms, at, 40);
    memory.close(ms);
}

/// Whenever a leaf's entry is taken away, those whose leaf is another come back to their pages.
#[derive(Default)]
struct ComesBack {
    come_back: OnceLock<Box<dyn Fn(Frame) + Send + Sync>>,
    /// The leaves, in the order in which they came to have entries.
    leaves: Mutex<Vec<Frame>>,
    coming: AtomicBool,
    times: AtomicU64,
}

impl ComesBack {
    fn note(&self, table: Frame, level: usize, new: u64) {
        let mut leaves = self.leaves.lock().unwrap();
        if level == 0 && new != 0 && !leaves.contains(&table) {
            leaves.push(table);
        }
    }
}

impl Backend for ComesBack {
    fn prepare_table(&self, _: Frame, _: usize) -> Result<(), NoTable> {
        Ok(())
    }

    fn release_table(&self, _: Frame) {}

    fn swap<C: Cell>(&self, slot: Slot<'_, C>, new: u64) -> u64 {
        let (old, table) = (Native.swap(slot, new), slot.table);
        self.note(table, slot.level, new);
        if let Some(come_back) = self.come_back.get()
            && new == 0
            && !self.coming.swap(true, Ordering::Relaxed)
        {
            assert!(self.times.fetch_add(1, Ordering::Relaxed) < 1000, "it is stolen for ever");
            come_back(table);
            self.coming.store(false, Ordering::Relaxed);
        }
        old
    }

    fn compare_exchange<C: Cell>(&self, slot: Slot<'_, C>, old: u64, new: u64) -> Result<(), u64> {
        let (table, level) = (slot.table, slot.level);
        Native.compare_exchange(slot, old, new).inspect(|()| self.note(table, level, new))
    }

    fn clear_accessed<C: Cell>(&self, slot: Slot<'_, C>, mask: u64) -> u64 {
        Native.clear_accessed(slot, mask)
    }

    fn close(&self, _: Frame) {}
}

#[test]
fn a_page_that_others_bring_back_behind_the_stealer_is_stolen_for_ever() {
    let host = Host::<Sv48, _>::with_backend(1024, 2, ComesBack::default());
    let (vm, ms): (&'static Vm<_>, _) = (Box::leak(Box::new(host.manager())), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let memory = vm.object(ms, PAGE, 0).unwrap();
    let map = Map::anonymous(PAGE, RW).shared();
    let sharers = [(); 2].map(|()| {
        let space = Space::new(vm, ms).unwrap();
        let at = space.map_object(ms, map, &memory, 0).unwrap();
        space.fault(ms, at, Access::Write).unwrap();
        (space, at)
    });
    let backend = vm.platform().backend();
    let come_back = move |table| {
        // SAFETY: it stands for other CPUs' faults, which wait for no lock that is held here: that of
        // the leaf whose entry goes.
        let ms = &mut unsafe { MaySleep::assume() };
        let leaves = backend.leaves.lock().unwrap().clone();
        for ((space, at), leaf) in sharers.iter().zip(leaves) {
            if leaf != table {
                space.fault(ms, *at, Access::Read).unwrap();
            }
        }
    };
    assert!(backend.come_back.set(Box::new(come_back)).is_ok());
    vm.reclaim(ms, 1);
    assert!(backend.times.load(Ordering::Relaxed) > 1, "nobody came back");
    vm.check(ms).unwrap();
}

/// Who waits for memory while the file's writer is with its pager waits for him.
#[test]
fn a_file_that_is_being_written_lets_memory_run_out() {
    let mut host = Host::<Sv48>::new(512, 2);
    let (started, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let scanned = Arc::new(OnceLock::<Box<dyn Fn() -> u64 + Send + Sync>>::new());
    let hook = (started.clone(), over.clone(), scanned.clone(), AtomicBool::new(false));
    host.files.on_store = Some(Box::new(move |_| {
        let (started, over, scanned, writing) = &hook;
        if let Some(scanned) = scanned.get()
            && !started.swap(true, Ordering::Relaxed)
        {
            // Until the other has looked for memory often enough to have despaired.
            let begin = scanned();
            writing.store(true, Ordering::Relaxed);
            while scanned() < begin + 48 * 512 && !over.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            writing.store(false, Ordering::Relaxed);
        } else {
            assert!(!writing.load(Ordering::Relaxed), "an older page overtakes what is written");
        }
        Ok(())
    }));
    let vm: &'static Small = Box::leak(Box::new(host.manager()));
    let ms = &mut sleeper();
    let (file, space) = (vm.object(ms, 1000 * PAGE, 1).unwrap(), Space::new(vm, ms).unwrap());
    let map = Map::anonymous(1000 * PAGE, RW).shared();
    let at = space.map_object(ms, map, &file, 0).unwrap();
    let mut page = 0;
    while vm.free_frames() > 8 {
        space.write(ms, at + page * PAGE, b"dirty");
        page += 1;
    }
    let _ = scanned.set(Box::new(|| vm.statistics().pages_scanned));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !started.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            host::be_cpu(1);
            let ms = &mut sleeper();
            let other = Space::new(vm, ms).unwrap();
            let at = other.map(ms, Map::anonymous(64 * PAGE, RW)).unwrap();
            let result =
                (0..64).try_for_each(|page| other.fault(ms, at + page * PAGE, Access::Write));
            over.store(true, Ordering::Relaxed);
            assert_eq!(result, Ok(()));
        });
        file.write(ms, 0, b"written").unwrap();
    });
}

#[test]
fn pages_that_come_back_for_writing_stay_shared() {
    let (vm, ms) = (Host::<Sv48>::new(512, 2).manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let (parent, at) = numbered(&vm, ms, 20);
    let child = parent.fork(ms).unwrap();
    assert_eq!(vm.reclaim(ms, 20), 20);
    parent.populate(ms, at, 20 * PAGE, true).unwrap();
    for page in 0..20 {
        let guard = vm.walk(ms);
        let entry = parent.translate(&guard, at + page * PAGE).expect("it was brought");
        assert!(entry.rights.contains(Rights::WRITE), "page {page}");
    }
    expect_numbers(&child, ms, at, 20);
}

#[test]
fn the_rights_of_a_reaped_space_are_given_back() {
    let (vm, ms) = (Host::<Sv48>::new(512, 2).manager(), &mut sleeper());
    let (space, at) = numbered(&vm, ms, 20);
    space.reap(ms);
    assert_eq!(space.protect(ms, at, 20 * PAGE, RW), Err(Error::Sealed));
    assert_eq!(space.unmap(ms, at, PAGE), Err(Error::Sealed));
    assert_eq!(space.fault(ms, at, Access::Write), Err(FaultError::Denied));
    space.exit(ms);
}

#[test]
fn a_heap_beyond_memory_is_refused_though_swap_has_room() {
    let (vm, ms) = (Host::<Sv48>::new(512, 2).manager(), &mut sleeper());
    let space = Space::new(&vm, ms).unwrap();
    space.set_break(0x10_0000);
    let (heap, more) = (space.brk(ms, 0), 1000 * PAGE);
    assert_eq!(space.brk(ms, heap + more), heap, "there is no swap");
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    assert_eq!(space.brk(ms, heap + more), heap + more);
}

#[test]
fn advice_is_followed_behind_a_mapping_that_refuses_it() {
    let (vm, ms) = (Host::<Sv48>::new(512, 2).manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let (space, at) = numbered(&vm, ms, 3);
    space.lock(ms, at + PAGE, PAGE, false).unwrap();
    assert_eq!(space.advise(ms, at, 3 * PAGE, Advice::PageOut), Err(Error::Invalid));
    assert_eq!(space.swapped(), 1);
    let mut there = [9; 3];
    space.residency(ms, at, &mut there).unwrap();
    assert_eq!(there, [0, 1, 1]);
}

#[test]
fn who_waits_for_memory_is_counted_more_than_once() {
    let (vm, ms) = (Host::<Sv48>::new(512, 2).manager(), &mut sleeper());
    let space = Space::new(&vm, ms).unwrap();
    let map = Map { no_reserve: true, ..Map::anonymous(510 * PAGE, RW) };
    let at = space.map(ms, map).unwrap();
    let failed = (0..510).find_map(|page| space.fault(ms, at + page * PAGE, Access::Write).err());
    assert_eq!(failed, Some(FaultError::OutOfMemory));
    assert_eq!(vm.statistics().stalls, 1);
}

/// Six pages on swap, their tables there, and so many frames for them, at most six.
fn six_pages_and(frames: u64, test: impl FnOnce(&Space<'_, Host<Sv48>>, &mut MaySleep, u64)) {
    let (vm, ms) = (Host::<Sv48>::new(256, 1).manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let (space, at) = numbered(&vm, ms, 6);
    let others = Space::new(&vm, ms).unwrap();
    let length = vm.total_frames() * PAGE;
    let start = others.map(ms, Map::anonymous(length, RW)).unwrap();
    others.lock(ms, start, length, true).unwrap();
    let mut pages = (start..).step_by(PAGE as usize);
    for free in [0, frames] {
        while vm.free_frames() > free {
            others.fault(ms, pages.next().unwrap(), Access::Write).unwrap();
        }
        vm.reclaim(ms, 6);
    }
    assert_eq!((vm.free_frames(), space.swapped()), (frames, 6));
    test(&space, ms, at);
}

/// What a processor does with an instruction that needs these pages at once: it faults for the first
/// that is not there, until all are. None: it never is told anything else than to try again.
fn run(
    space: &Space<'_, Host<Sv48>>,
    ms: &mut MaySleep,
    pages: &[u64],
) -> Option<Result<(), FaultError>> {
    (0..1000).find_map(|_| {
        let mut there = |page| space.translate(&space.vm().walk(ms), page).is_some();
        let Some(missing) = pages.iter().copied().find(|page| !there(*page)) else {
            return Some(Ok(()));
        };
        space.fault(ms, missing, Access::Read).err().map(Err)
    })
}

#[test]
fn pages_that_an_instruction_needs_at_once_would_drive_each_other_out_for_ever() {
    for frames in 1..6 {
        six_pages_and(frames, |space, ms, at| {
            let pages: Vec<u64> = (0..6).map(|page| at + page * PAGE).collect();
            for instruction in pages.windows(frames as usize) {
                assert_eq!(run(space, ms, instruction), Some(Ok(())), "{frames} frames");
            }
            for instruction in pages.windows(frames as usize + 1) {
                let told = run(space, ms, instruction);
                assert_eq!(told, Some(Err(FaultError::OutOfMemory)), "{frames} frames");
            }
        });
    }
}

#[test]
fn who_was_told_that_memory_is_over_would_never_be_served_again() {
    six_pages_and(1, |space, ms, at| {
        let both = [at, at + PAGE];
        assert_eq!(run(space, ms, &both), Some(Err(FaultError::OutOfMemory)));
        // One of them is there: the other alone is not more than there is room for.
        let served = both.map(|page| (0..100).any(|_| run(space, ms, &[page]) == Some(Ok(()))));
        assert_eq!(served, [true, true]);
        assert_eq!(run(space, ms, &[at + 2 * PAGE]), Some(Ok(())), "who wants another is, at once");
    });
}

/// Who takes an entry away stays at it, with its leaf locked, until somebody waits for him.
#[derive(Default)]
struct Stays {
    armed: AtomicBool,
    held: AtomicBool,
    told: AtomicBool,
    waited: Arc<AtomicU64>,
}

impl Stays {
    fn stay(&self) {
        self.held.store(true, Ordering::Relaxed);
        let before = self.waited.load(Ordering::Relaxed);
        let waited = || self.waited.load(Ordering::Relaxed) - before;
        while waited() < 100 && !self.told.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    }
}

impl Backend for Stays {
    fn prepare_table(&self, _: Frame, _: usize) -> Result<(), NoTable> {
        Ok(())
    }

    fn release_table(&self, _: Frame) {}

    fn swap<C: Cell>(&self, slot: Slot<'_, C>, new: u64) -> u64 {
        let old = Native.swap(slot, new);
        if new == 0 && self.armed.swap(false, Ordering::Relaxed) {
            self.stay();
        }
        old
    }

    fn compare_exchange<C: Cell>(&self, slot: Slot<'_, C>, old: u64, new: u64) -> Result<(), u64> {
        Native.compare_exchange(slot, old, new)
    }

    fn clear_accessed<C: Cell>(&self, slot: Slot<'_, C>, mask: u64) -> u64 {
        Native.clear_accessed(slot, mask)
    }

    fn close(&self, _: Frame) {}
}

#[test]
fn memory_would_be_over_while_one_who_has_locked_a_leaf_does_not_run() {
    let backend = Stays::default();
    let waited = backend.waited.clone();
    let mut host = Host::<Sv48, _>::with_backend(256, 2, backend);
    host.on_relax = Some(Box::new(move || _ = waited.fetch_add(1, Ordering::Relaxed)));
    let (vm, ms) = (&host.manager(), &mut sleeper());
    vm.swap_on(ms, 1, 4096, 0).unwrap();
    let spaces = [(); 2].map(|()| {
        let space = Space::new(vm, ms).unwrap();
        let at = space.map(ms, Map::anonymous(250 * PAGE, RW)).unwrap();
        space.fault(ms, at, Access::Write).unwrap();
        (space, at)
    });
    let [(one, at), (other, place)] = &spaces;
    other.lock(ms, *place, PAGE, false).unwrap();
    let mut pages = (*at..).step_by(PAGE as usize);
    while vm.free_frames() != 0 {
        one.fault(ms, pages.next().unwrap(), Access::Write).unwrap();
    }
    let stays = vm.platform().backend();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stays.held.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            host::be_cpu(1);
            let fault = other.fault(&mut sleeper(), place + PAGE, Access::Write);
            stays.told.store(true, Ordering::Relaxed);
            assert_eq!(fault, Ok(()));
        });
        stays.armed.store(true, Ordering::Relaxed);
        one.advise(ms, *at, PAGE, Advice::DontNeed).unwrap();
    });
    vm.check(ms).unwrap();
}
