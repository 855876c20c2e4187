extern crate std;

use super::*;
use crate::frame::meta::Kind;
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::vec::Vec;

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

const PAGE: u64 = 4096;
const SIZES: [usize; CLASSES] = [32, 64, 128, 256, 512, 1024, 2048];

/// Frames out of the test's heap; the running CPU is whatever the thread says.
struct Source {
    memory: *mut u8,
    metas: Vec<Meta>,
    free: Mutex<Vec<Frame>>,
}

// SAFETY: the memory is the test's own, touched by who holds a frame only; the rest is shareable.
unsafe impl Sync for Source {}

impl Source {
    fn layout(frames: usize) -> Layout {
        Layout::from_size_align(frames * PAGE as usize, PAGE as usize).unwrap()
    }

    fn new(frames: usize) -> Source {
        // SAFETY: the layout is not empty.
        let memory = unsafe { std::alloc::alloc(Self::layout(frames)) };
        let free = (0..frames as u64).map(Frame).collect();
        let metas = (0..frames).map(|_| Meta::default()).collect();
        Source { memory, metas, free: Mutex::new(free) }
    }

    fn free_frames(&self) -> usize {
        self.free.lock().unwrap().len()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { std::alloc::dealloc(self.memory, Self::layout(self.metas.len())) };
    }
}

// SAFETY: each frame is a page of `memory` of its own and leaves `free` to one caller at a time.
unsafe impl FrameSource for Source {
    const PAGE_SHIFT: u32 = PAGE.trailing_zeros();

    fn cpu(&self) -> usize {
        CPU.get()
    }
    fn take(&self) -> Option<Frame> {
        self.free.lock().unwrap().pop()
    }
    fn give(&self, frame: Frame) {
        assert_eq!(self.meta(frame).kind(), Kind::Slab);
        assert_eq!(self.meta(frame).pins.load(Ordering::Relaxed), 0, "objects in use");
        self.meta(frame).become_kind(Kind::Free);
        self.free.lock().unwrap().push(frame);
    }
    fn meta(&self, frame: Frame) -> &Meta {
        &self.metas[frame.0 as usize]
    }
    fn ptr(&self, frame: Frame) -> *mut u8 {
        self.memory.wrapping_add((frame.0 * PAGE) as usize)
    }
}

/// A slab over a source, and what the test holds: address to bytes.
struct Bench<'a> {
    slab: &'a Slab<'a>,
    source: &'a Source,
    held: BTreeMap<u64, usize>,
}

impl Bench<'_> {
    /// Allocates, checks that nothing overlaps, and fills the object.
    fn allocate(&mut self, bytes: usize) -> Option<u64> {
        let address = self.slab.allocate(self.source, bytes)?;
        let end = address + bytes as u64;
        let below = self.held.range(..end).next_back();
        assert!(below.is_none_or(|(start, bytes)| start + *bytes as u64 <= address), "overlap");
        assert_eq!(address % bytes.next_power_of_two().max(32) as u64, 0, "alignment");
        assert_eq!(address / PAGE, (end - 1) / PAGE, "crosses a frame");
        self.held.insert(address, bytes);
        // SAFETY: the object is ours.
        unsafe { self.source.memory.add(address as usize).write_bytes(address as u8 >> 5, bytes) };
        Some(address)
    }

    /// Frees, after a look at what the object holds.
    fn free(&mut self, address: u64) {
        let bytes = self.held.remove(&address).unwrap();
        // SAFETY: the object is ours, and filled.
        unsafe {
            let object = self.source.memory.add(address as usize);
            let content = core::slice::from_raw_parts(object, bytes);
            assert_eq!(content, std::vec![address as u8 >> 5; bytes], "overwritten");
            self.slab.free(self.source, address);
        }
    }

    fn free_all(&mut self) {
        let held: Vec<_> = self.held.keys().copied().collect();
        held.into_iter().for_each(|address| self.free(address));
    }
}

/// Runs `test` on a slab over `frames` frames; afterwards nothing may have leaked.
fn with_slab(frames: usize, cpus: usize, test: impl FnOnce(&mut Bench<'_>)) {
    CPU.set(0);
    let words: Vec<_> = (0..Slab::words_needed(cpus)).map(|_| AtomicU64::new(7)).collect();
    let source = &Source::new(frames);
    // SAFETY: the words are this slab's, and the source is the only one it meets.
    let slab = &unsafe { Slab::new(&words, cpus) }.unwrap();
    let mut bench = Bench { slab, source, held: BTreeMap::new() };
    test(&mut bench);
    bench.free_all();
    assert_eq!(slab.in_use(), 0);
    slab.trim(source);
    assert_eq!(source.free_frames(), frames, "frames leaked");
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn each_class_gets_what_just_fits() {
    for (class, size) in SIZES.into_iter().enumerate() {
        assert_eq!(class_of(size), Some(class));
        assert_eq!(class_of(size / 2 + 1), Some(class));
    }
    assert_eq!((class_of(0), class_of(1)), (Some(0), Some(0)));
    assert_eq!((class_of(2049), class_of(usize::MAX)), (None, None));
}

#[test]
fn too_few_words_are_refused() {
    let words: Vec<_> = (0..Slab::words_needed(2) - 1).map(|_| AtomicU64::new(0)).collect();
    // SAFETY: the words are nobody else's.
    assert!(unsafe { Slab::new(&words, 2) }.is_none());
}

#[test]
fn memory_is_used_to_the_last_byte_and_comes_back() {
    for size in SIZES {
        with_slab(3, 1, |bench| {
            let count = 3 * PAGE as usize / size;
            for _ in 0..2 {
                for _ in 0..count {
                    assert!(bench.allocate(size).is_some());
                }
                assert_eq!(
                    (bench.slab.in_use(), bench.slab.in_use_of(size)),
                    (count as u64, count as u64)
                );
                assert_eq!(bench.allocate(size), None);
                bench.free_all();
                assert_eq!(bench.source.free_frames(), 2, "one empty frame is kept, no more");
            }
        });
    }
}

#[test]
fn a_full_slab_takes_from_other_cpus() {
    with_slab(1, 3, |bench| {
        CPU.set(2);
        let objects = [(); 4].map(|()| bench.allocate(1024).unwrap());
        CPU.set(0);
        assert_eq!(bench.allocate(1024), None);
        bench.free(objects[1]);
        assert_eq!(bench.allocate(1024), Some(objects[1]));
        assert_eq!(bench.allocate(32), None, "the frame is another class's");
    });
}

#[test]
fn a_remote_free_reaches_the_owner() {
    with_slab(2, 2, |bench| {
        let objects = [(); 4].map(|()| bench.allocate(1024).unwrap());
        CPU.set(1);
        objects.into_iter().for_each(|object| bench.free(object));
        CPU.set(0);
        let again = [(); 4].map(|()| bench.allocate(1024).unwrap());
        assert!(again.iter().all(|object| objects.contains(object)));
    });
}

#[test]
fn whoever_finds_the_lock_held_goes_on_and_loses_nothing() {
    with_slab(3, 1, |bench| {
        let before = bench.allocate(512).unwrap();
        let cache = bench.slab.cache(bench.source, class_of(512).unwrap());
        let locked = cache.try_lock().unwrap();
        bench.free(before);
        assert_eq!(bench.allocate(512), Some(before), "deferred objects are used first");
        let rest: Vec<_> = (0..20).map_while(|_| bench.allocate(512)).collect();
        assert_eq!(rest.len(), 16, "all of two more frames");
        assert_eq!(bench.slab.in_use(), 17);
        assert_eq!(bench.slab.trim(bench.source), 0, "not while somebody holds it");
        rest[..9].iter().for_each(|object| bench.free(*object));
        drop(locked);
        let more: Vec<_> = (0..20).map_while(|_| bench.allocate(512)).collect();
        assert_eq!(more.len(), 7 + 9);
    });
}

#[test]
fn failing_the_kth_frame_loses_nothing() {
    for k in 0..6 {
        with_slab(k.max(1), 2, |bench| {
            let spare = (k == 0).then(|| bench.source.take().unwrap());
            let mut random = Random(k as u64 + 1);
            for _ in 0..200 {
                CPU.set(random.below(2));
                if bench.allocate(SIZES[random.below(CLASSES)]).is_none() && !bench.held.is_empty()
                {
                    let at = random.below(bench.held.len());
                    let address = *bench.held.keys().nth(at).unwrap();
                    bench.free(address);
                }
            }
            if let Some(frame) = spare {
                assert!(bench.held.is_empty());
                bench.source.free.lock().unwrap().push(frame);
            }
        });
    }
}

#[test]
fn random_operations_never_overlap_and_leak_nothing() {
    with_slab(64, 3, |bench| {
        let mut random = Random(3);
        for round in 0..if cfg!(miri) { 500 } else { 50_000 } {
            CPU.set(random.below(3));
            let wanted = if round / 2000 % 2 == 0 { 600 } else { 50 };
            if random.below(600) < wanted - wanted.min(bench.held.len()) {
                bench.allocate(1 + random.below(2048));
            } else if let Some((&address, _)) =
                bench.held.range(random.below(1 << 18) as u64..).next()
            {
                bench.free(address);
            }
            assert_eq!(bench.slab.in_use(), bench.held.len() as u64);
        }
    });
}

#[test]
fn threads_share_and_free_each_others_objects() {
    with_slab(256, 3, |bench| {
        let (slab, source) = (bench.slab, bench.source);
        let pool: &Mutex<Vec<(u64, usize)>> = &Mutex::new(Vec::new());
        let rounds = if cfg!(miri) { 60 } else { 30_000 };
        std::thread::scope(|scope| {
            // Two threads say that they run on CPU 1, as after a migration.
            for (thread, cpu) in [0, 1, 1, 2].into_iter().enumerate() {
                scope.spawn(move || {
                    CPU.set(cpu);
                    let mut random = Random(thread as u64 + 1);
                    for _ in 0..rounds {
                        let bytes = SIZES[random.below(3)];
                        if let Some(address) = slab.allocate(source, bytes) {
                            // SAFETY: the object is ours.
                            unsafe { source.memory.add(address as usize).write_bytes(1, bytes) };
                            pool.lock().unwrap().push((address, bytes));
                        }
                        let mut pool = pool.lock().unwrap();
                        if pool.len() > 200 || random.below(2) == 0 {
                            let at = random.below(pool.len().max(1));
                            let taken = (!pool.is_empty()).then(|| pool.swap_remove(at));
                            drop(pool);
                            if let Some((address, _)) = taken {
                                // SAFETY: the object left the pool to us.
                                unsafe { slab.free(source, address) };
                            }
                        }
                    }
                });
            }
        });
        let mut left = pool.lock().unwrap();
        assert_eq!(slab.in_use(), left.len() as u64);
        // SAFETY: the objects left the pool to us.
        left.drain(..).for_each(|(address, _)| unsafe { slab.free(source, address) });
    });
}
