//! Page-table formats: geometry and encoding, as constants and pure functions.
//!
//! Guarantee: a format executes no privileged instruction and touches no memory, so each one
//! compiles, and is tested bit for bit against its manual, on every host.
//!
//! Levels count from the leaf: level 0 tables map base pages, the root is level `LEVELS - 1`.
//! An entry is one word, of 64 bits or fewer. It is **absent** (zero, or software content: [`Soft`]), names a
//! **table**, or is a **leaf** ([`Leaf`]). The positions that hardware sets on its own (accessed,
//! dirty) are zero in every absent word and every non-leaf word that a format writes, so a late
//! `fetch_and` of a stealer can change neither (checked when the format is compiled:
//! [`check_format`]).

use crate::addr::Frame;
use crate::cell::Cell;
use bitflags::bitflags;
use core::ops::Range;

mod aarch64;
mod riscv;
mod soft;
mod x86;

pub use aarch64::{Aarch64, Aarch64Granule4K, Aarch64Granule16K, Aarch64Granule64K};
pub use riscv::{Riscv, Sv32, Sv39, Sv39x4, Sv48, Sv57};
pub use soft::Swap;
pub use x86::{I386, I386Pae, I386PaeSplit, X86, X86_64, X86_64La57};

bitflags! {
    /// What an entry lets an access do.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Rights: u8 {
        /// Loads.
        const READ = 1;
        /// Stores.
        const WRITE = 2;
        /// Instruction fetches.
        const EXECUTE = 4;
        /// Accesses from user mode.
        const USER = 8;
    }
}

impl Rights {
    /// With what they bring with them in every format: storing needs loading. An entry that is to
    /// lose WRITE keeps that.
    ///
    /// ```
    /// use vmspace::format::Rights;
    ///
    /// assert_eq!(Rights::WRITE.with_implied(), Rights::READ | Rights::WRITE);
    /// ```
    #[inline]
    pub const fn with_implied(self) -> Rights {
        if self.contains(Rights::WRITE) { self.union(Rights::READ) } else { self }
    }
}

/// A leaf entry, decoded.
///
/// ```
/// use vmspace::Frame;
/// use vmspace::format::{Entry, Format, Leaf, Rights, Sv48};
///
/// let rights = Rights::READ | Rights::USER;
/// let leaf = Leaf { frame: Frame(0x8_0000), rights, accessed: true, dirty: false };
/// let word = Sv48::leaf(0, leaf);
/// assert_eq!(Sv48::decode(0, word), Entry::Leaf(leaf));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The first frame that it maps.
    pub frame: Frame,
    /// What it allows, as hardware reads it: WRITE brings READ with it in every format, EXECUTE in
    /// those that cannot deny reading. Empty for a leaf that denies everything.
    pub rights: Rights,
    /// Something has accessed the page through it.
    pub accessed: bool,
    /// Something has written the page through it.
    pub dirty: bool,
}

/// An absent entry's software content.
///
/// ```
/// use vmspace::format::{Entry, Format, Soft, Sv48};
///
/// let place = Soft::Swap { device: 1, slot: 77 };
/// let word = Sv48::soft(place);
/// assert_eq!(word & 1, 0); // hardware faults on it
/// assert_eq!(Sv48::decode(0, word), Entry::Soft(place));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Soft {
    /// The entry is between two frames: whoever faults waits for the leaf's lock and looks again.
    InTransit,
    /// The page is on swap device `device`, in slot `slot`.
    Swap {
        /// The device's number, below what [`Swap::devices`] says.
        device: u8,
        /// The slot on it, below what [`Swap::slots`] says.
        slot: u64,
    },
}

/// An entry's word, decoded.
///
/// ```
/// use vmspace::Frame;
/// use vmspace::format::{Entry, Format, X86_64};
///
/// assert_eq!(X86_64::decode(1, 0), Entry::Empty);
/// let word = X86_64::table(1, Frame(0x1234));
/// assert_eq!(X86_64::decode(1, word), Entry::Table(Frame(0x1234)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing: zero, or a word that no format writes and that hardware faults on.
    Empty,
    /// Nothing that hardware sees; software content.
    Soft(Soft),
    /// The next table down.
    Table(Frame),
    /// A mapping.
    Leaf(Leaf),
}

/// Geometry and encoding of a page-table format. Pure: constants and functions of their arguments.
///
/// ```
/// use vmspace::format::*;
/// use vmspace::Frame;
///
/// let rights = Rights::READ | Rights::USER;
/// let leaf = Leaf { frame: Frame(7), rights, accessed: true, dirty: false };
/// assert_eq!(Sv48::decode(0, Sv48::leaf(0, leaf)), Entry::Leaf(leaf));
/// assert_eq!(Sv48::decode(1, Sv48::table(1, Frame(9))), Entry::Table(Frame(9)));
/// assert_eq!(Sv48::decode(0, 0), Entry::Empty);
/// ```
pub trait Format: Send + Sync + 'static {
    /// How an entry lies in a table. Its width is the format's; words are handled as 64 bits.
    type Cell: Cell;

    /// The name that the command line uses.
    const NAME: &'static str;
    /// The base page is `1 << PAGE_SHIFT` bytes.
    const PAGE_SHIFT: u32;
    /// Index bits of each level, the leaf's first. Its length is the number of levels. A table may
    /// be smaller than a page (it begins with one then) or larger (it takes pages that follow one
    /// another, aligned to its size).
    const INDEX_BITS: &'static [u32];
    /// How many slots of the root are the user's. Those above are the kernel's and the same in
    /// every root; there are none where the kernel has a root of its own.
    const USER_SLOTS: usize;
    /// Frames that an entry can name lie below `1 << FRAME_BITS`.
    const FRAME_BITS: u32;
    /// Bit `l` is set when a leaf entry may stand at level `l`.
    const LEAF_LEVELS: u32;
    /// Whether a present entry must go through absent and a shootdown when its frame or size
    /// changes. (vmspace always does so; the machine checks it where the architecture demands it.)
    const BREAK_BEFORE_MAKE: bool;
    /// How absent entries name a place on swap.
    const SWAP: Swap;

    /// The bits that hardware sets to say "accessed"; clearing them makes the entry old.
    const ACCESSED: u64;
    /// The bits that an entry-wide `fetch_and`/`fetch_or` could disturb: wherever hardware writes.
    const HARDWARE_WRITES: u64;

    /// The word that names `table` as the next table down, from level `level` (at least 1).
    fn table(level: usize, table: Frame) -> u64;
    /// The word of a leaf at `level`, one of `LEAF_LEVELS`. `rights` with none of READ, WRITE and
    /// EXECUTE make an entry that denies everything but stays a leaf (PROT_NONE), in every format;
    /// it keeps accessed where a present entry has it, so clearing that works on both.
    fn leaf(level: usize, leaf: Leaf) -> u64;
    /// The word of an absent entry with content; never zero.
    fn soft(soft: Soft) -> u64;
    /// What a word found at `level` means.
    fn decode(level: usize, word: u64) -> Entry;
    /// The word that hardware leaves in an entry after an access that it allows: accessed, and
    /// dirty when it was a write. For a table word: after a walk through it.
    fn touched(level: usize, word: u64, write: bool) -> u64;

    /// The next table down, if the word names one: [`decode`](Format::decode) for who walks, and
    /// reads only words that vmspace wrote.
    #[inline(always)]
    fn next_table(level: usize, word: u64) -> Option<Frame> {
        match Self::decode(level, word) {
            Entry::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The leaf, if the word is one: as [`next_table`](Format::next_table) for tables.
    #[inline(always)]
    fn as_leaf(level: usize, word: u64) -> Option<Leaf> {
        match Self::decode(level, word) {
            Entry::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }

    /// The same leaf with other rights, accessed and dirty kept.
    fn with_rights(level: usize, word: u64, rights: Rights) -> u64 {
        match Self::decode(level, word) {
            Entry::Leaf(leaf) => Self::leaf(level, Leaf { rights, ..leaf }),
            _ => word,
        }
    }
}

/// Geometry that follows from a format's constants.
///
/// ```
/// use vmspace::format::*;
///
/// assert_eq!((Sv48::LEVELS, Sv48::entries(0), Sv48::slot_pages(1)), (4, 512, 512));
/// assert_eq!(I386Pae::entries(I386Pae::ROOT_LEVEL), 4); // 32 bytes
/// assert_eq!(Aarch64Granule64K::PAGE_SIZE, 64 << 10);
/// ```
pub trait Geometry: Format {
    /// How many levels of tables there are.
    const LEVELS: usize = Self::INDEX_BITS.len();
    /// The root's level.
    const ROOT_LEVEL: usize = Self::INDEX_BITS.len() - 1;
    /// Bytes of a base page.
    const PAGE_SIZE: u64 = 1 << Self::PAGE_SHIFT;
    /// Base pages that user addresses span, from 0 on.
    const USER_PAGES: u64 =
        (Self::USER_SLOTS as u64) << slot_shifts(Self::INDEX_BITS)[Self::INDEX_BITS.len() - 1];
    /// The root's slots that are the kernel's.
    const KERNEL_SLOTS: Range<usize> =
        Self::USER_SLOTS..1 << Self::INDEX_BITS[Self::INDEX_BITS.len() - 1];

    /// log2 of the base pages that one slot spans, by level; a table's slots span together what
    /// one slot of the level above does. Two more places than any format has levels.
    const SLOT_SHIFTS: [u32; 8] = slot_shifts(Self::INDEX_BITS);

    /// Entries of a table, less one, by level.
    const INDEX_MASKS: [usize; 8] = index_masks(Self::INDEX_BITS);

    /// Entries of a table at `level`.
    #[inline(always)]
    fn entries(level: usize) -> usize {
        Self::INDEX_MASKS[level & 7] + 1
    }

    /// log2 of the base pages that one slot at `level` spans.
    #[inline(always)]
    fn slot_shift(level: usize) -> u32 {
        Self::SLOT_SHIFTS[level & 7]
    }

    /// Base pages that one slot at `level` spans.
    #[inline(always)]
    fn slot_pages(level: usize) -> u64 {
        1 << Self::slot_shift(level)
    }

    /// Base pages that a whole table at `level` spans.
    #[inline(always)]
    fn table_pages(level: usize) -> u64 {
        1 << Self::slot_shift(level + 1)
    }

    /// log2 of the base pages that a table at `level` takes.
    #[inline]
    fn table_order(level: usize) -> u32 {
        let bytes = Self::entries(level) * Self::Cell::BYTES;
        bytes.trailing_zeros().saturating_sub(Self::PAGE_SHIFT)
    }

    /// The slot of `page` in a table at `level`.
    #[inline(always)]
    fn index(level: usize, page: u64) -> usize {
        (page >> Self::slot_shift(level)) as usize & Self::INDEX_MASKS[level & 7]
    }
}

const fn index_masks(index_bits: &[u32]) -> [usize; 8] {
    let mut masks = [0; 8];
    let mut level = 0;
    while level < index_bits.len() {
        masks[level] = (1 << index_bits[level]) - 1;
        level += 1;
    }
    masks
}

const fn slot_shifts(index_bits: &[u32]) -> [u32; 8] {
    let mut shifts = [0; 8];
    let mut level = 0;
    while level < index_bits.len() {
        shifts[level + 1] = shifts[level] + index_bits[level];
        level += 1;
    }
    shifts
}

impl<F: Format> Geometry for F {}

/// Refuses a format of which a word sets one of `forbidden`: the positions that hardware writes,
/// in words that it must never write. For use in a constant, where refusing stops the compiler.
///
/// ```
/// use vmspace::addr::Frame;
/// use vmspace::format::{Format, Sv48, check_format};
///
/// const _: () = check_format(&[0b1], Sv48::HARDWARE_WRITES);
/// ```
pub const fn check_format(words: &[u64], forbidden: u64) {
    let mut i = 0;
    while i < words.len() {
        assert!(words[i] & forbidden == 0, "an absent or table word sets a bit of hardware's");
        i += 1;
    }
}

/// Calls a macro with all formats (a type of [`format`](crate::format), and a name for a module),
/// and before them, in brackets, with what else it is given: how one goes from a name that is known
/// at run time to a type, or tests them all.
///
/// ```
/// use vmspace::format::{Format, Geometry};
///
/// macro_rules! page_size {
///     ([$name:expr] $($format:ident $module:ident,)*) => {
///         match $name {
///             $(name if name == vmspace::format::$format::NAME => {
///                 Some(vmspace::format::$format::PAGE_SIZE)
///             })*
///             _ => None,
///         }
///     };
/// }
///
/// assert_eq!(vmspace::every_format!(page_size, "aarch64-16k"), Some(16_384));
/// assert_eq!(vmspace::every_format!(page_size, "vax"), None);
/// ```
#[macro_export]
macro_rules! every_format {
    ($macro:ident $(, $argument:tt)*) => {
        $macro! {
            [$($argument)*]
            Sv32 sv32,
            Sv39 sv39,
            Sv48 sv48,
            Sv57 sv57,
            Sv39x4 sv39x4,
            I386 i386,
            I386Pae i386_pae,
            I386PaeSplit i386_pae_split,
            X86_64 x86_64,
            X86_64La57 x86_64_la57,
            Aarch64Granule4K aarch64_4k,
            Aarch64Granule16K aarch64_16k,
            Aarch64Granule64K aarch64_64k,
        }
    };
}

macro_rules! names {
    ([] $($format:ident $module:ident,)*) => {
        /// The names of all formats, in the order of the documentation.
        pub const NAMES: &[&str] = &[$($format::NAME),*];
    };
}
every_format!(names);

/// A format's geometry as a value.
///
/// ```
/// use vmspace::format::{Sv39x4, describe};
///
/// let format = describe::<Sv39x4>();
/// assert_eq!((format.name, format.page_size, format.levels), ("sv39x4", 4096, &[9, 9, 11][..]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Description {
    /// The name that the command line uses.
    pub name: &'static str,
    /// Bytes of a base page.
    pub page_size: u64,
    /// Index bits of each level, the leaf's first.
    pub levels: &'static [u32],
    /// User addresses lie below this.
    pub user_bytes: u64,
    /// How many slots of the root are the kernel's.
    pub kernel_slots: usize,
    /// Whether an entry must go through absent when its frame or size changes.
    pub break_before_make: bool,
    leaf_levels: u32,
}

impl Description {
    /// The sizes in bytes that a leaf may have, the smallest first.
    ///
    /// ```
    /// use vmspace::format::{X86_64, describe};
    ///
    /// assert!(describe::<X86_64>().leaf_sizes().eq([4 << 10, 2 << 20, 1 << 30]));
    /// ```
    pub fn leaf_sizes(self) -> impl Iterator<Item = u64> {
        self.levels
            .iter()
            .scan(self.page_size, |size, bits| {
                let this = *size;
                *size <<= bits;
                Some(this)
            })
            .enumerate()
            .filter_map(move |(level, size)| (self.leaf_levels >> level & 1 == 1).then_some(size))
    }
}

/// The geometry of `F` as a value.
///
/// ```
/// use vmspace::format::{I386Pae, describe};
///
/// let pae = describe::<I386Pae>();
/// assert_eq!((pae.levels, pae.user_bytes), (&[9, 9, 2][..], 3 << 30));
/// ```
pub const fn describe<F: Format>() -> Description {
    Description {
        name: F::NAME,
        page_size: F::PAGE_SIZE,
        levels: F::INDEX_BITS,
        user_bytes: F::USER_PAGES * F::PAGE_SIZE,
        kernel_slots: F::KERNEL_SLOTS.end - F::KERNEL_SLOTS.start,
        break_before_make: F::BREAK_BEFORE_MAKE,
        leaf_levels: F::LEAF_LEVELS,
    }
}
