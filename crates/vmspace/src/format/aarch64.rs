//! aarch64 with 48 bits of virtual and physical address, by granule (the size of a page and of a
//! table): 4 KiB (9 bits a level; leaves of 4 KiB, 2 MiB, 1 GiB), 16 KiB (1, 11, 11, 11; 16 KiB,
//! 32 MiB) and 64 KiB (6, 13, 13; 64 KiB, 512 MiB).
//!
//! Source: Arm ARM (DDI 0487, issue K.a), D8.2 "Translation process" (geometry), D8.3 "Translation
//! table descriptor formats" (VMSAv8-64, stage 1, EL1&0, 48-bit OA), D8.4 "Memory access control"
//! and D8.5 "Hardware updates to the translation tables" (FEAT_HAFDBS, TCR_EL1.HA and HD set).
//! Level 0 here is lookup level 3 there.
//!
//! | bits  | leaf, valid (bit 0 = 1)                 | absent (bit 0 = 0)               |
//! |-------|-----------------------------------------|----------------------------------|
//! | 1:0   | 11 page, 01 block; table: 11            | 0, and leaf: 0; else [`soft`]    |
//! | 4:2   | AttrIndx 0: normal memory in MAIR_EL1   | leaf: as valid; else [`soft`]    |
//! | 6     | AP\[1\]: EL0 may load                   | leaf: as valid; else 0           |
//! | 7     | AP\[2\]: not writable **now**           | leaf: 1; else 0                  |
//! | 9:8   | SH: inner shareable                     | leaf: as valid; else 0           |
//! | 10    | AF                                      | leaf: AF; else 0                 |
//! | 11    | nG: always set in a leaf                | a leaf without rights            |
//! | 47:g  | frame (of granules of 2^g bytes)        | leaf: frame; else [`soft`]       |
//! | 51    | DBM: hardware may clear AP\[2\]         | leaf: 0; else [`soft`]           |
//! | 54:53 | UXN PXN                                 | leaf: 11; else [`soft`]          |
//! | 55    | dirty, where writing is denied          | leaf: dirty; else [`soft`]       |
//!
//! - A store through DBM = 1, AP\[2\] = 1 (writable and clean) makes hardware clear AP\[2\]
//!   (writable and dirty). It writes by *clearing*, so a zero there, in absent and table words, is
//!   a word that neither hardware nor a `fetch_and` of AF can change.
//! - A write-protected page has DBM = 0, AP\[2\] = 1, which has no room for its dirtiness: bit 55,
//!   which hardware ignores, keeps it.
//! - EL0 may fetch but not load where AP\[1\] = 0 and UXN = 0: execute-only.
//! - User addresses have TTBR0_EL1 for themselves, so no slot of the root is the kernel's.

use super::{Entry, Format, Leaf, Rights, Soft, Swap, check_format};
use crate::addr::Frame;
use crate::sync::AtomicU64;

const VALID: u64 = 1 << 0;
/// A page at level 0, a table above; clear for a block.
const PAGE_OR_TABLE: u64 = 1 << 1;
const EL0: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
/// Belongs to one address space. Marks a leaf without rights, where VALID is clear.
const NOT_GLOBAL: u64 = 1 << 11;
const WRITABLE: u64 = 1 << 51;
const KERNEL_NO_EXECUTE: u64 = 1 << 53;
const USER_NO_EXECUTE: u64 = 1 << 54;
/// Dirty, where writing is denied. Ignored by hardware ("reserved for software use").
const SAVED_DIRTY: u64 = 1 << 55;

/// Bits of an output address.
const ADDRESS_BITS: u32 = 48;
const SWAP: Swap = Swap::in_bytes(8);

/// aarch64 with granules of `1 << SHIFT` bytes and 48 bits of virtual address.
#[derive(Debug)]
pub struct Aarch64<const SHIFT: u32>;

/// aarch64 with 4 KiB pages.
pub type Aarch64Granule4K = Aarch64<12>;
/// aarch64 with 16 KiB pages.
pub type Aarch64Granule16K = Aarch64<14>;
/// aarch64 with 64 KiB pages.
pub type Aarch64Granule64K = Aarch64<16>;

const _: () = {
    Aarch64Granule4K::check();
    Aarch64Granule16K::check();
    Aarch64Granule64K::check();
};

impl<const SHIFT: u32> Aarch64<SHIFT> {
    /// Index bits of a table that is a granule.
    const BITS: u32 = SHIFT - 3;
    const ADDRESS: u64 = ((1 << (ADDRESS_BITS - SHIFT)) - 1) << SHIFT;

    /// Refuses words that set what they must not.
    const fn check() {
        let hardware = ACCESSED | READ_ONLY;
        check_format(&[Self::table_word(Frame(0)), Self::table_word(Frame(!0))], hardware);
        let absent = [SWAP.encode(Soft::InTransit), SWAP.encode(SWAP.last())];
        check_format(&absent, hardware | VALID | NOT_GLOBAL);
    }

    const fn table_word(table: Frame) -> u64 {
        VALID | PAGE_OR_TABLE | table.0 << SHIFT & Self::ADDRESS
    }

    /// log2 of the frames that a leaf at `level` maps.
    const fn leaf_shift(level: usize) -> u32 {
        Self::BITS * level as u32
    }

    /// The frame that a leaf word at `level` names.
    const fn frame(level: usize, word: u64) -> Frame {
        let shift = Self::leaf_shift(level);
        Frame((word & Self::ADDRESS) >> (SHIFT + shift) << shift)
    }

    /// The bits of a leaf that say who may do what.
    fn access(leaf: Leaf) -> u64 {
        let has = |right| leaf.rights.contains(right);
        let user = has(Rights::USER);
        let readable = leaf.rights.intersects(Rights::READ | Rights::WRITE);
        let write = match (has(Rights::WRITE), leaf.dirty) {
            (true, true) => WRITABLE,
            (true, false) => WRITABLE | READ_ONLY,
            (false, true) => READ_ONLY | SAVED_DIRTY,
            (false, false) => READ_ONLY,
        };
        let execute = match (has(Rights::EXECUTE), user) {
            (false, _) => KERNEL_NO_EXECUTE | USER_NO_EXECUTE,
            (true, true) => KERNEL_NO_EXECUTE,
            (true, false) => USER_NO_EXECUTE,
        };
        write | execute | if user && readable { EL0 } else { 0 }
    }

    /// What the bits of a valid leaf allow.
    fn rights(word: u64) -> Rights {
        let (el0, user_execute) = (word & EL0 != 0, word & USER_NO_EXECUTE == 0);
        if !el0 && user_execute {
            return Rights::EXECUTE | Rights::USER;
        }
        let user = if el0 { Rights::USER } else { Rights::empty() };
        let writable = word & READ_ONLY == 0 || word & WRITABLE != 0;
        let execute = if el0 { user_execute } else { word & KERNEL_NO_EXECUTE == 0 };
        Rights::READ
            | user
            | if writable { Rights::WRITE } else { Rights::empty() }
            | if execute { Rights::EXECUTE } else { Rights::empty() }
    }
}

impl<const SHIFT: u32> Format for Aarch64<SHIFT> {
    type Cell = AtomicU64;

    const NAME: &'static str = match SHIFT {
        12 => "aarch64-4k",
        14 => "aarch64-16k",
        16 => "aarch64-64k",
        _ => panic!("granules have 4, 16 or 64 KiB"),
    };
    const PAGE_SHIFT: u32 = SHIFT;
    const INDEX_BITS: &'static [u32] = match SHIFT {
        12 => &[9, 9, 9, 9],
        14 => &[11, 11, 11, 1],
        _ => &[13, 13, 6],
    };
    const USER_SLOTS: usize = 1 << Self::INDEX_BITS[Self::INDEX_BITS.len() - 1];
    const FRAME_BITS: u32 = ADDRESS_BITS - SHIFT;
    const LEAF_LEVELS: u32 = if SHIFT == 12 { 0b111 } else { 0b011 };
    const BREAK_BEFORE_MAKE: bool = true;
    const SWAP: Swap = SWAP;
    const ACCESSED: u64 = ACCESSED;
    const HARDWARE_WRITES: u64 = ACCESSED | READ_ONLY;

    #[inline]
    fn table(_: usize, table: Frame) -> u64 {
        Self::table_word(table)
    }

    #[inline]
    fn leaf(level: usize, leaf: Leaf) -> u64 {
        let shift = Self::leaf_shift(level);
        let address = leaf.frame.0 >> shift << shift << SHIFT & Self::ADDRESS;
        let common =
            address | INNER_SHAREABLE | NOT_GLOBAL | if leaf.accessed { ACCESSED } else { 0 };
        if leaf.rights.intersects(Rights::READ | Rights::WRITE | Rights::EXECUTE) {
            let kind = if level == 0 { VALID | PAGE_OR_TABLE } else { VALID };
            common | kind | Self::access(leaf)
        } else {
            common | Self::access(Leaf { rights: Rights::empty(), ..leaf })
        }
    }

    #[inline]
    fn soft(soft: Soft) -> u64 {
        SWAP.encode(soft)
    }

    #[inline]
    fn decode(level: usize, word: u64) -> Entry {
        if word & (VALID | NOT_GLOBAL) == 0 {
            return SWAP.decode(word);
        }
        let leaf = |rights, dirty| {
            let frame = Self::frame(level, word);
            Entry::Leaf(Leaf { frame, rights, accessed: word & ACCESSED != 0, dirty })
        };
        if word & VALID == 0 {
            return leaf(Rights::empty(), word & SAVED_DIRTY != 0);
        }
        match word & PAGE_OR_TABLE != 0 {
            true if level > 0 => Entry::Table(Self::frame(0, word)),
            page if page == (level == 0) && Self::LEAF_LEVELS >> level & 1 == 1 => {
                let dirty = word & READ_ONLY == 0 || word & SAVED_DIRTY != 0;
                leaf(Self::rights(word), dirty)
            }
            _ => Entry::Empty,
        }
    }

    #[inline]
    fn touched(level: usize, word: u64, write: bool) -> u64 {
        if level > 0 && word & PAGE_OR_TABLE != 0 {
            return word;
        }
        let dirtied = write && word & WRITABLE != 0;
        (word | ACCESSED) & if dirtied { !READ_ONLY } else { !0 }
    }
}
