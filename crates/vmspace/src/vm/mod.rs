//! The manager: the platform's frames and everything that is shared by all spaces.
//!
//! Guarantee: all memory that the library uses comes from the frames given to [`Vm::new`]: the
//! metadata, the per-CPU blocks, tables, slabs. So every allocation can be made to fail, and every
//! leak can be counted. Nothing here is written by two CPUs' work on different things, but for the
//! registry of spaces (making and ending a space) and the epoch (once per grace period).
//!
//! Memory leaves use in two ways: frames nobody can reach are given back at once; what a reader
//! without locks may still see (tables, layouts, objects) is *retired*: pushed on its CPU's stack,
//! linked through its own metadata, and given back a grace period later, by whoever next retires
//! or runs short.

mod grace;
mod memory;

pub use grace::Guard;

use crate::addr::Frame;
use crate::counters::{Event, PerCpu, Statistics};
use crate::error::Error;
use crate::format::{Format, Geometry};
use crate::frame::alloc::Frames;
use crate::frame::meta::{Kind, Meta};
use crate::frame::slab::Slab;
use crate::platform::{MAX_CPUS, Platform};
use crate::rcu::Epoch;
use crate::reclaim::Reclaim;
use crate::region::OBJECT_BITS;
use crate::registry::{Dropped, Registry};
use crate::swap::Areas;
use crate::sync::AtomicU64;
use core::mem::size_of;
use core::ops::Range;

/// A manager of memory: made once, shared by all CPUs.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// let before = vm.free_frames();
/// let space = Space::new(&vm, &mut ms)?;
/// assert!(vm.free_frames() < before); // its root
///
/// space.exit(&mut ms);
/// vm.synchronize(&mut ms); // what readers might have seen is free now too
/// assert_eq!(vm.free_frames(), before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Vm<P: Platform> {
    platform: P,
    managed: Range<u64>,
    metas: *const Meta,
    blocks: *const PerCpu,
    cpus: usize,
    frames: Frames<'static>,
    slab: Slab<'static>,
    usable: u64,
    zero: Frame,
    epoch: Epoch,
    pub(crate) registry: Registry,
    pub(crate) dropped: Dropped,
    /// The objects whose last handle was dropped, linked.
    pub(crate) unused: AtomicU64,
    pub(crate) areas: Areas,
    pub(crate) reclaim: Reclaim,
    kernel_root: Frame,
}

// SAFETY: the raw pointers name memory of the platform that is only reached as `&Meta` and
// `&PerCpu`, whose fields are atomics; everything else is Sync by itself, and the platform is Sync.
unsafe impl<P: Platform> Sync for Vm<P> {}
// SAFETY: as above; nothing is bound to the thread that made it.
unsafe impl<P: Platform + Send> Send for Vm<P> {}

/// Sizes, in frames, of what the manager carves out for itself.
struct Carving {
    metas: u64,
    blocks: u64,
    words: u64,
    root: u64,
}

impl Carving {
    fn of<F: Format>(frames: u64, cpus: usize) -> Carving {
        let in_frames = |bytes: u64| bytes.div_ceil(F::PAGE_SIZE);
        Carving {
            metas: in_frames(frames * size_of::<Meta>() as u64),
            blocks: in_frames((cpus * size_of::<PerCpu>()) as u64),
            words: in_frames((Self::words_needed(frames, cpus) * size_of::<AtomicU64>()) as u64),
            root: root_pages::<F>(),
        }
    }

    /// The words of the two allocators.
    fn words_needed(frames: u64, cpus: usize) -> usize {
        Frames::words_needed(frames, cpus) + Slab::words_needed(cpus)
    }

    /// With the kernel's reference root and the zero page.
    fn total(&self) -> u64 {
        self.metas + self.blocks + self.words + self.root + 1
    }
}

/// The pages that a root takes.
fn root_pages<F: Format>() -> u64 {
    1 << F::table_order(F::ROOT_LEVEL)
}

/// The least frames that a space needs to be of any use.
const LEAST_USABLE: u64 = 16;

impl<P: Platform> Vm<P> {
    /// A manager of the frames numbered `managed`, of which it keeps the first ones for itself.
    ///
    /// # Errors
    /// [`Error::BadCpus`]; [`Error::TooHigh`] for frames that entries cannot name, or from 2^48 bytes on;
    /// [`Error::TooSmall`] when little or nothing would be left.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    ///
    /// use vmspace::{Error, Vm, format::Sv48};
    ///
    /// let vm = Vm::new(host::Host::<Sv48>::new(1024, 2), 0..1024)?;
    /// assert!(vm.total_frames() > 900); // the rest are the manager's own
    /// let few = Vm::new(host::Host::<Sv48>::new(1024, 2), 0..8).map(|_| ());
    /// assert!(matches!(few, Err(Error::TooSmall { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(platform: P, managed: Range<u64>) -> Result<Vm<P>, Error> {
        let cpus = platform.cpus();
        if cpus == 0 || cpus > MAX_CPUS {
            return Err(Error::BadCpus);
        }
        let end = 1 << P::Format::FRAME_BITS.min(OBJECT_BITS - P::Format::PAGE_SHIFT);
        if managed.end > end {
            return Err(Error::TooHigh { end });
        }
        // Where a root takes several pages it is aligned to them, and so is what is handed out.
        let left_out = managed.start.wrapping_neg() % root_pages::<P::Format>();
        let count = managed.end.saturating_sub(managed.start).saturating_sub(left_out);
        let carving = Carving::of::<P::Format>(count, cpus);
        let least = left_out + carving.total() + LEAST_USABLE;
        let managed = managed.end - count..managed.end;
        if count < least - left_out {
            return Err(Error::TooSmall { least });
        }
        let page = <P::Format as Geometry>::PAGE_SIZE as usize;
        let at = |frame: u64| platform.frame_ptr(Frame(managed.start + frame));
        for frame in 0..carving.total() {
            // SAFETY: the platform promises a writable page there that nothing else uses.
            unsafe { at(frame).write_bytes(0, page) };
        }
        let metas = at(0) as *const Meta;
        let blocks = at(carving.metas) as *const PerCpu;
        let words = Carving::words_needed(count, cpus);
        let base = at(carving.metas + carving.blocks) as *const AtomicU64;
        // SAFETY: zeroed, aligned, contiguous memory of the platform, used for nothing else as
        // long as the platform lives, which is as long as this manager, which owns it, lives.
        let words: &'static [AtomicU64] = unsafe { core::slice::from_raw_parts(base, words) };
        let (for_frames, for_slab) = words.split_at(Frames::words_needed(count, cpus));
        let frames = Frames::new(for_frames, count, cpus).ok_or(Error::TooSmall { least })?;
        // SAFETY: nothing else uses these words, and this manager is the only source.
        let slab = unsafe { Slab::new(for_slab, cpus) }.ok_or(Error::TooSmall { least })?;
        frames.free_range(carving.total(), count - carving.total());
        let usable = frames.free_count();
        let vm = Vm {
            managed: managed.clone(),
            metas,
            blocks,
            cpus,
            frames,
            slab,
            usable,
            zero: Frame(managed.start + carving.total() - 1),
            epoch: Epoch::default(),
            registry: Registry::default(),
            dropped: Dropped::default(),
            unused: AtomicU64::new(0),
            areas: Areas::default(),
            reclaim: Reclaim::default(),
            kernel_root: Frame(managed.start + carving.total() - 1 - carving.root),
            platform,
        };
        for frame in 0..carving.total() {
            vm.meta_of(Frame(managed.start + frame)).become_kind(Kind::Own);
        }
        Ok(vm)
    }

    /// The platform.
    #[inline(always)]
    pub fn platform(&self) -> &P {
        &self.platform
    }

    #[inline(always)]
    pub(crate) fn backend(&self) -> &P::Backend {
        self.platform.backend()
    }

    /// How many frames are free now.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let at = space.map(&mut ms, Map::anonymous(4096, rw))?;
    /// let before = vm.free_frames();
    /// space.fault(&mut ms, at, Access::Write).expect("it is mapped");
    /// assert!(vm.free_frames() < before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free_frames(&self) -> u64 {
        self.frames.free_count()
    }

    /// How many frames there were to use at the start.
    pub fn total_frames(&self) -> u64 {
        self.usable
    }

    /// How many objects of the library's slab are in use, for leak checks.
    pub fn slab_in_use(&self) -> u64 {
        self.slab.in_use()
    }

    /// Whether the frame is the one page of zeros that read faults map.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let at = space.map(&mut ms, Map::anonymous(0x4000, rw))?; // four pages
    ///
    /// space.fault(&mut ms, at, Access::Read).expect("it is mapped");
    /// let found = space.translate(&vm.walk(&mut ms), at).expect("it is there");
    /// assert!(vm.is_zero_frame(found.frame)); // until it is written
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn is_zero_frame(&self, frame: Frame) -> bool {
        frame == self.zero
    }

    /// The table whose kernel slots every root has a copy of. Never loaded: aligned to a page alone.
    pub(crate) fn kernel_root(&self) -> Frame {
        self.kernel_root
    }

    pub(crate) fn zero_frame(&self) -> Frame {
        self.zero
    }

    /// The frame's metadata; none when the frame is not the manager's (a device's).
    #[inline(always)]
    pub(crate) fn meta(&self, frame: Frame) -> Option<&Meta> {
        self.managed.contains(&frame.0).then(|| self.meta_of(frame))
    }

    /// The metadata of a frame known to be the manager's.
    #[inline(always)]
    pub(crate) fn meta_of(&self, frame: Frame) -> &Meta {
        let index = (frame.0 - self.managed.start) as usize;
        debug_assert!(self.managed.contains(&frame.0));
        // SAFETY: `new` made room for one `Meta` for each managed frame, and the callers pass
        // frames that came from the allocator or from an entry checked by `meta`.
        unsafe { &*self.metas.add(index) }
    }

    /// All frames that the manager was given.
    pub(crate) fn managed_frames(&self) -> impl Iterator<Item = Frame> + use<P> {
        self.managed.clone().map(Frame)
    }

    /// The first frame that the manager was given, and how many there are.
    pub(crate) fn managed_span(&self) -> (Frame, u64) {
        (Frame(self.managed.start), self.managed.end - self.managed.start)
    }

    /// Whether entries can name these frames, and none of them is the manager's.
    #[inline]
    pub(crate) fn is_foreign(&self, first: Frame, frames: u64) -> bool {
        let Some(end) = first.0.checked_add(frames) else { return false };
        let disjoint = end <= self.managed.start || self.managed.end <= first.0;
        disjoint && end <= 1 << (P::Format::FRAME_BITS)
    }

    /// How often the frame has changed hands; none when it is not the manager's.
    pub fn generation(&self, frame: Frame) -> Option<u64> {
        self.meta(frame).map(Meta::generation)
    }

    /// Whether the entries of the table in `frame` may be changing now: its lock is held, or it
    /// was detached. A frame that is no table is unsettled too.
    pub fn is_unsettled(&self, frame: Frame) -> bool {
        self.meta(frame)
            .is_none_or(|meta| meta.kind() != Kind::Table || crate::lock::is_unsettled(&meta.lock))
    }

    /// Where the memory at a physical address of the library's own begins.
    #[inline(always)]
    pub(crate) fn pointer_at(&self, address: u64) -> *const AtomicU64 {
        let offset = address & (<P::Format as Geometry>::PAGE_SIZE - 1);
        let frame = Frame(address >> P::Format::PAGE_SHIFT);
        self.platform.frame_ptr(frame).cast::<u8>().wrapping_add(offset as usize).cast()
    }

    /// The words of the memory at a physical address of the library's own.
    #[inline(always)]
    pub(crate) fn words_at(&self, address: u64, words: usize) -> &[AtomicU64] {
        // SAFETY: addresses that the library keeps name live slab objects, tables or contiguous
        // frames of at least `words` words; they are reached as atomics alone, or through `&mut`
        // while nobody else can reach them.
        unsafe { core::slice::from_raw_parts(self.pointer_at(address), words) }
    }

    /// The entries of a table.
    #[inline(always)]
    pub(crate) fn table_cells(
        &self,
        table: Frame,
        entries: usize,
    ) -> &[<P::Format as Format>::Cell] {
        // SAFETY: tables are whole pages of the platform that follow one another, reached as atomics
        // alone, or through `&mut` while nobody else can reach them; as many entries as their level
        // has fit, since as many pages were taken.
        unsafe { core::slice::from_raw_parts(self.platform.frame_ptr(table).cast(), entries) }
    }

    /// The running CPU's number, whatever the platform says, below the number of CPUs.
    #[inline(always)]
    pub(crate) fn cpu(&self) -> usize {
        let cpu = self.platform.cpu();
        if cpu < self.cpus { cpu } else { 0 }
    }

    #[inline(always)]
    fn block(&self, cpu: usize) -> &PerCpu {
        debug_assert!(cpu < self.cpus);
        // SAFETY: `new` made room for `cpus` blocks, and the callers' numbers are below that.
        unsafe { &*self.blocks.add(cpu) }
    }

    /// The running CPU's.
    #[inline(always)]
    pub(crate) fn running(&self) -> &PerCpu {
        self.block(self.cpu())
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &PerCpu> {
        (0..self.cpus).map(|cpu| self.block(cpu))
    }

    /// Counts an event on the running CPU.
    #[inline]
    pub(crate) fn count(&self, event: Event, n: u64) {
        self.running().count(event, n);
    }

    /// What has been counted so far.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let at = space.map(&mut ms, Map::anonymous(0x4000, rw))?; // four pages
    ///
    /// space.write(&mut ms, at, b"a page of zeros is made");
    /// assert_eq!(vm.statistics().faults_anonymous, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn statistics(&self) -> Statistics {
        let sum = |event| self.blocks().map(|block| block.counted(event)).sum::<u64>();
        let (made, freed) = (sum(Event::TableMade), sum(Event::TableFreed));
        Statistics {
            faults_anonymous: sum(Event::FaultAnonymous),
            faults_zero: sum(Event::FaultZero),
            faults_cow_copy: sum(Event::FaultCopy),
            faults_cow_reuse: sum(Event::FaultReuse),
            faults_shared: sum(Event::FaultShared),
            faults_swapped: sum(Event::FaultSwapped),
            faults_spurious: sum(Event::FaultSpurious),
            faults_stack: sum(Event::FaultStack),
            faults_refused: sum(Event::FaultRefused),
            pages_in: sum(Event::PageIn),
            pages_out: sum(Event::PageOut),
            pages_scanned: sum(Event::PageScanned),
            pages_aged: sum(Event::PageAged),
            pages_stolen: sum(Event::PageStolen),
            pages_swapped_out: sum(Event::SwapOut),
            pages_swapped_in: sum(Event::SwapIn),
            pages_refaulted: sum(Event::Refault),
            stalls: sum(Event::Stall),
            tables_made: made,
            tables_freed: freed,
            tables_alive: made.saturating_sub(freed),
            shootdowns: sum(Event::Shootdown),
            shootdown_pages: sum(Event::ShootdownPage),
            shootdown_spaces: sum(Event::ShootdownSpace),
        }
    }
}
