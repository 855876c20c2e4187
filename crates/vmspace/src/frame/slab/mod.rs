//! The slab: small objects (layouts, reverse-map records, descriptors) cut out of frames.
//!
//! Guarantee: objects do not overlap, are aligned to their class's size, and never cross a frame.
//! Nobody waits, so any context may allocate and free. `None` means that the source had no frame
//! and no cache that could be looked into had an object. Empty frames go back to the source, one
//! for each CPU and class excepted, which [`Slab::trim`] returns. CPUs that free what they
//! allocated write no common cache line.
//!
//! Protocol: each CPU has a *cache* for each class: a list of its frames that have room. A frame
//! belongs to the cache that took it, until it is empty; its metadata hold the free list, the number
//! of objects in use and the owner. All this is guarded by the cache's lock, which is only ever
//! *tried*. Who finds it held (a remote free, an interrupt, a task that was moved) goes without:
//! he frees by pushing the object on the cache's *deferred* stack, and allocates from that
//! stack, or from a frame of his own making whose other objects he puts there. The next holder who
//! needs objects takes the stack in.
//!
//! Objects are named by physical address. A free object's first word links to the next one.

mod cache;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::addr::Frame;
use crate::frame::meta::Meta;
use crate::sync::{AtomicU64, Ordering};
use cache::{Cache, LINE, Line};

/// log2 of the smallest class's size.
const SMALLEST: u32 = 5;
/// How many classes there are: 32, 64, 128, 256, 512, 1024 and 2048 bytes.
pub const CLASSES: usize = 7;
/// log2 of the largest class's size.
pub const LARGEST: u32 = SMALLEST + CLASSES as u32 - 1;

/// Where the slab gets its frames.
///
/// # Safety
/// From [`take`](FrameSource::take) to [`give`](FrameSource::give), a frame and its metadata are the
/// slab's alone: `ptr` points at `1 << PAGE_SHIFT` bytes, aligned to that, valid for reads and
/// writes, the same at each call; `meta` is the same at each call. `PAGE_SHIFT` is 12 at least.
pub unsafe trait FrameSource {
    /// A frame is `1 << PAGE_SHIFT` bytes.
    const PAGE_SHIFT: u32;

    /// The running CPU, below the number given to [`Slab::new`]. A stale answer costs speed only.
    fn cpu(&self) -> usize;
    /// A frame, without reclaim or waiting. Called with a cache locked: must not use the slab.
    fn take(&self) -> Option<Frame>;
    /// Takes back an empty frame, of kind `Slab` still. Called as `take` is.
    fn give(&self, frame: Frame);
    /// A frame's metadata.
    fn meta(&self, frame: Frame) -> &Meta;
    /// A frame's bytes.
    fn ptr(&self, frame: Frame) -> *mut u8;
}

/// Objects of a few sizes, for any CPU.
#[derive(Debug)]
pub struct Slab<'m> {
    /// The line of each CPU's cache for each class, a CPU's together.
    lines: &'m [Line],
}

impl<'m> Slab<'m> {
    /// How many words [`new`](Slab::new) needs for so many CPUs.
    pub const fn words_needed(cpus: usize) -> usize {
        cpus * CLASSES * LINE
    }

    /// An empty slab that keeps its state in `words`, which should lie on a cache-line boundary.
    /// `None` when they are too few.
    ///
    /// # Safety
    /// Nothing else uses the words, and all calls pass one and the same source.
    pub unsafe fn new(words: &'m [AtomicU64], cpus: usize) -> Option<Slab<'m>> {
        let lines = words.get(..Self::words_needed(cpus))?.as_chunks().0;
        lines.iter().for_each(cache::reset);
        Some(Slab { lines })
    }

    /// An object of `bytes` bytes (2048 at most), for the source's running CPU: its physical
    /// address. What it holds is anything.
    #[inline]
    pub fn allocate<S: FrameSource>(&self, source: &S, bytes: usize) -> Option<u64> {
        let class = class_of(bytes)?;
        let cache = self.cache(source, source.cpu() * CLASSES + class);
        let object = match cache.try_lock() {
            Some(locked) => locked.allocate().or_else(|| locked.refill()),
            None => cache.allocate_unlocked(),
        };
        object.or_else(|| self.allocate_elsewhere(source, class))
    }

    /// Frees an object.
    ///
    /// # Safety
    /// `address` came from [`allocate`](Slab::allocate) and has not been freed since. Nobody
    /// uses the object any more, but for readers whose reads are atomic and who believe nothing
    /// that they read before they have made sure that the object is alive.
    #[inline]
    pub unsafe fn free<S: FrameSource>(&self, source: &S, address: u64) {
        let frame = Frame(address >> S::PAGE_SHIFT);
        // Whoever allocated the object handed its address over, and the owner with it.
        let owner = source.meta(frame).owner.load(Ordering::Relaxed);
        let cache = self.cache(source, owner as usize);
        match cache.try_lock() {
            Some(locked) => locked.free(address),
            None => cache.free_unlocked(address),
        }
    }

    /// How many objects are in use. Exact while nobody allocates or frees.
    pub fn in_use(&self) -> u64 {
        self.lines.iter().map(cache::in_use).fold(0, u64::wrapping_add)
    }

    /// How many objects are in use in the class that objects of `bytes` bytes come from.
    pub fn in_use_of(&self, bytes: usize) -> u64 {
        let Some(class) = class_of(bytes) else { return 0 };
        let lines = self.lines.iter().skip(class).step_by(CLASSES);
        lines.map(cache::in_use).fold(0, u64::wrapping_add)
    }

    /// Gives all empty frames back to the source; how many. Caches that are locked at this moment
    /// are left out.
    pub fn trim<S: FrameSource>(&self, source: &S) -> u64 {
        let caches = (0..self.lines.len()).map(|index| self.cache(source, index));
        caches.filter_map(|cache| Some(cache.try_lock()?.trim())).sum()
    }

    /// An object out of another CPU's cache: the source has no frame left.
    #[cold]
    fn allocate_elsewhere<S: FrameSource>(&self, source: &S, class: usize) -> Option<u64> {
        let indexes = (class..self.lines.len()).step_by(CLASSES);
        indexes.map(|index| self.cache(source, index)).find_map(|cache| {
            let locked = cache.try_lock()?;
            locked.take_in_deferred();
            locked.allocate()
        })
    }

    #[inline]
    fn cache<'a, S: FrameSource>(&'a self, source: &'a S, index: usize) -> Cache<'a, S> {
        Cache { line: &self.lines[index], source, index }
    }
}

/// The class of objects of `bytes` bytes.
#[inline]
const fn class_of(bytes: usize) -> Option<usize> {
    let least = 1 << SMALLEST;
    let bytes = if bytes < least { least } else { bytes };
    let class = (usize::BITS - (bytes - 1).leading_zeros() - SMALLEST) as usize;
    if class < CLASSES { Some(class) } else { None }
}
