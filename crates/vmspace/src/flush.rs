//! Who may hold a translation, and what a shootdown carries.
//!
//! Guarantee: a CPU that may hold a translation of a space is in the space's [`CpuSet`]. Entering
//! is: set the bit, `fence(SeqCst)`, load the root, only then walk. Shooting down is: change the
//! entries, `fence(SeqCst)`, read the set. One of the two fences comes first, so either the walker
//! sees the new entries or the shooter sees the walker's bit.

use crate::addr::Frame;
use crate::platform::MAX_CPUS;
use crate::sync::{AtomicU64, Ordering, fence};

/// The most pages that one batch names; beyond it a shootdown takes the whole space.
pub const BATCH_PAGES: usize = 64;

/// Names a space to the platform for as long as the space lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpaceId(pub u64);

/// One page of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shot {
    /// The virtual page number.
    pub page: u64,
    /// The frame that the entry named: a monitor that shadows tables invalidates by it.
    pub frame: Frame,
}

/// What a shootdown drops.
///
/// ```
/// use vmspace::{Batch, Frame, Shot};
///
/// /// What a platform sends to a CPU: one instruction a page, or one for the whole space.
/// fn instructions(batch: &Batch<'_>) -> usize {
///     batch.pages.map_or(1, <[Shot]>::len)
/// }
///
/// let pages = [Shot { page: 16, frame: Frame(3) }, Shot { page: 17, frame: Frame(9) }];
/// assert_eq!(instructions(&Batch { pages: Some(&pages), tables: false }), 2);
/// assert_eq!(instructions(&Batch { pages: None, tables: true }), 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The pages, at most [`BATCH_PAGES`]; `None` is the whole space.
    pub pages: Option<&'a [Shot]>,
    /// Tables were unlinked: cached non-leaf entries go too.
    pub tables: bool,
}

/// A snapshot of a set of CPUs.
///
/// ```
/// use vmspace::flush::ActiveSet;
///
/// let set = ActiveSet::default();
/// set.enter(1);
/// set.enter(70);
/// let cpus = set.snapshot(); // what a platform's `shootdown` gets
/// assert!(cpus.contains(70) && !cpus.contains(2));
/// assert_eq!(cpus.iter().collect::<Vec<_>>(), [1, 70]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuSet {
    words: [u64; MAX_CPUS / 64],
}

impl CpuSet {
    /// Whether no CPU is in it.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether `cpu` is in it.
    pub fn contains(&self, cpu: usize) -> bool {
        self.words.get(cpu / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1)
    }

    /// The CPUs in it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.words.len()).flat_map(|w| {
            let mut word = self.words[w];
            core::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                word &= word.wrapping_sub(1);
                (bit < 64).then_some(w * 64 + bit)
            })
        })
    }
}

/// The CPUs that may hold translations of a space.
///
/// ```
/// use vmspace::flush::ActiveSet;
///
/// let set = ActiveSet::default();
/// set.enter(3);
/// assert!(set.snapshot().iter().eq([3]));
/// set.leave(3);
/// assert!(set.snapshot().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct ActiveSet {
    words: [AtomicU64; MAX_CPUS / 64],
}

impl ActiveSet {
    /// `cpu` is about to load the root. Writes nothing when it is in the set already.
    pub fn enter(&self, cpu: usize) {
        if let Some(word) = self.words.get(cpu / 64) {
            let bit = 1 << (cpu % 64);
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        // Pairs with the fence in `snapshot`: see the module's head.
        fence(Ordering::SeqCst);
    }

    /// `cpu` has dropped all that it cached of the space, and has another root loaded.
    pub fn leave(&self, cpu: usize) {
        if let Some(word) = self.words.get(cpu / 64) {
            // Release: the invalidation comes before the bit goes (Acquire in `snapshot`).
            word.fetch_and(!(1 << (cpu % 64)), Ordering::Release);
        }
    }

    /// Who must be interrupted for entries changed before this call.
    pub fn snapshot(&self) -> CpuSet {
        // Pairs with the fence in `enter`: see the module's head.
        fence(Ordering::SeqCst);
        CpuSet { words: core::array::from_fn(|w| self.words[w].load(Ordering::Acquire)) }
    }
}
