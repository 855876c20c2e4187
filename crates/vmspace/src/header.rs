//! A space's header: what is kept of a space beside its tree.
//!
//! It lies in the library's own memory, at the address that its [`SpaceId`] is, and lives as long
//! as the space. What operations on disjoint ranges would both write is a line for each CPU.

use crate::flush::{ActiveSet, SpaceId};
use crate::format::Format;
use crate::lock::SleepLock;
use crate::platform::Platform;
use crate::sync::{AtomicU64, Ordering};
use crate::vm::Vm;
use core::mem::size_of;

/// What one CPU has added to a space's totals (wrapping: another CPU may take away).
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Totals {
    pub resident: AtomicU64,
    /// Entries of pages on swap.
    pub swapped: AtomicU64,
    /// Frames of tables.
    pub tables: AtomicU64,
}

/// The part that is not per CPU.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Header {
    pub active: ActiveSet,
    pub root: AtomicU64,
    /// The registry's links (under its lock).
    pub next: AtomicU64,
    pub previous: AtomicU64,
    /// How many visitors of all spaces are at this one (under the registry's lock).
    pub visitors: AtomicU64,
    /// The next of those that were dropped.
    pub dropped: AtomicU64,
    /// The heap: its lock, its first address and its break, in bytes.
    pub heap_lock: SleepLock,
    pub heap_start: AtomicU64,
    pub heap_break: AtomicU64,
    /// Placement: see `space::place`.
    pub place: Place,
    /// How far a stack may grow, in pages.
    pub stack_limit: AtomicU64,
    /// How many pages are locked, and may be; the attributes that lock mappings to come, and whether
    /// there is a limit to them.
    pub locked: AtomicU64,
    pub lock_limit: AtomicU64,
    pub future: AtomicU64,
    /// How much may be mapped, in bytes; held by who maps more, where there is a limit.
    pub size_limit: AtomicU64,
    pub size_lock: SleepLock,
    /// Not 0: something was sealed.
    pub has_seals: AtomicU64,
}

/// Where the search for free ranges goes on. On a line of its own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Place {
    pub base: AtomicU64,
    pub hint: AtomicU64,
    pub hole: AtomicU64,
}

fn log2_bytes(cpus: usize) -> u32 {
    (size_of::<Header>() + cpus * size_of::<Totals>()).next_power_of_two().trailing_zeros()
}

/// Makes a header of zeros. None: no memory.
pub(crate) fn make<P: Platform>(vm: &Vm<P>) -> Option<SpaceId> {
    let log2 = log2_bytes(vm.platform().cpus());
    let address = vm.take_block(log2)?;
    for word in vm.words_at(address, 1 << (log2 - 3)) {
        word.store(0, Ordering::Relaxed);
    }
    Some(SpaceId(address))
}

/// Gives a header back when readers that hold a guard have left.
pub(crate) fn retire<P: Platform>(vm: &Vm<P>, space: SpaceId) {
    vm.retire_block(space.0, log2_bytes(vm.platform().cpus()));
}

impl<P: Platform> Vm<P> {
    /// The header of a space that lives, or that was alive when a guard was taken.
    #[inline]
    pub(crate) fn header(&self, space: SpaceId) -> &Header {
        let words = self.words_at(space.0, size_of::<Header>() / size_of::<u64>());
        // SAFETY: `make` put a header there: atomics alone, all valid as zeros, aligned to 64 as
        // blocks of at least 64 bytes are.
        unsafe { &*words.as_ptr().cast::<Header>() }
    }

    /// The running CPU's part of the space's totals.
    #[inline]
    pub(crate) fn totals(&self, space: SpaceId) -> &Totals {
        self.totals_of(space, self.cpu())
    }

    fn totals_of(&self, space: SpaceId, cpu: usize) -> &Totals {
        let at = space.0 + (size_of::<Header>() + cpu * size_of::<Totals>()) as u64;
        let words = self.words_at(at, size_of::<Totals>() / size_of::<u64>());
        // SAFETY: as for `header`; `make` made room for every CPU's.
        unsafe { &*words.as_ptr().cast::<Totals>() }
    }

    /// The space's resident pages: the sum over all CPUs.
    pub(crate) fn resident(&self, space: SpaceId) -> u64 {
        self.sum_of(space, |totals| &totals.resident)
    }

    /// The space's entries of pages on swap, likewise.
    pub(crate) fn swapped(&self, space: SpaceId) -> u64 {
        self.sum_of(space, |totals| &totals.swapped)
    }

    /// The frames of the space's tables, likewise.
    pub(crate) fn table_frames(&self, space: SpaceId) -> u64 {
        self.sum_of(space, |totals| &totals.tables)
    }

    fn sum_of(&self, space: SpaceId, part: impl Fn(&Totals) -> &AtomicU64) -> u64 {
        let cpus = 0..self.platform().cpus();
        cpus.fold(0, |sum: u64, cpu| {
            sum.wrapping_add(part(self.totals_of(space, cpu)).load(Ordering::Relaxed))
        })
    }

    /// `cpu` has dropped all that it cached of `space`, and has another root loaded. The space
    /// lives.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// space.enter(0); // then CPU 0 loads the root
    /// let at = space.map(&mut ms, Map::anonymous(4096, rw))?;
    /// space.fault(&mut ms, at, Access::Write).expect("it is mapped");
    /// vm.leave(space.id(), 0); // after it has loaded another and dropped what it cached
    /// space.unmap(&mut ms, at, 4096)?; // interrupts nobody
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn leave(&self, space: SpaceId, cpu: usize) {
        self.header(space).active.leave(cpu);
    }

    /// log2 of the format's page.
    pub(crate) const fn page_shift(&self) -> u32 {
        P::Format::PAGE_SHIFT
    }
}
