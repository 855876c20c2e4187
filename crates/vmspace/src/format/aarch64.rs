//! aarch64 with the 64 KiB granule: 48 bits in levels of 6, 13 and 13, leaves of 64 KiB and 512 MiB.
//!
//! Source: Arm ARM (DDI 0487), D8.3 "Translation table descriptor formats" (VMSAv8-64, 64KB
//! granule, stage 1, EL1&0), D8.4 "Memory access control" and D8.5 "Hardware updates to the
//! translation tables" (FEAT_HAFDBS, TCR_EL1.HA and HD set). Level 0 here is lookup level 3 there.
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
//! | 47:16 | frame                                   | leaf: frame; else [`soft`]       |
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

use super::{Entry, Format, Leaf, Rights, Soft, check_format, soft};
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
const ADDRESS: u64 = ((1 << 32) - 1) << 16;
const WRITABLE: u64 = 1 << 51;
const KERNEL_NO_EXECUTE: u64 = 1 << 53;
const USER_NO_EXECUTE: u64 = 1 << 54;
/// Dirty, where writing is denied. Ignored by hardware ("reserved for software use").
const SAVED_DIRTY: u64 = 1 << 55;

/// aarch64 with 64 KiB pages and 48 bits of virtual address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aarch64Granule64K;

impl Aarch64Granule64K {
    const fn table_word(table: Frame) -> u64 {
        VALID | PAGE_OR_TABLE | table.0 << 16 & ADDRESS
    }

    /// The frame that a leaf word at `level` names.
    const fn frame(level: usize, word: u64) -> Frame {
        Frame((word & ADDRESS) >> (16 + 13 * level) << (13 * level))
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

const _: () = {
    type Format64K = Aarch64Granule64K;
    let tables = [Format64K::table_word(Frame(0)), Format64K::table_word(Frame(!0))];
    check_format(&tables, Format64K::HARDWARE_WRITES);
    let mut i = 0;
    while i < soft::EXTREMES.len() {
        let word = soft::encode(soft::EXTREMES[i]);
        check_format(&[word], Format64K::HARDWARE_WRITES | VALID | NOT_GLOBAL);
        i += 1;
    }
};

impl Format for Aarch64Granule64K {
    type Cell = AtomicU64;

    const NAME: &'static str = "aarch64-64k";
    const PAGE_SHIFT: u32 = 16;
    const INDEX_BITS: &'static [u32] = &[13, 13, 6];
    const USER_BITS: u32 = 48;
    const FRAME_BITS: u32 = 32;
    const LEAF_LEVELS: u32 = 0b011;
    const KERNEL_SLOTS: core::ops::Range<usize> = 0..0;
    const BREAK_BEFORE_MAKE: bool = true;
    const ACCESSED: u64 = ACCESSED;
    const HARDWARE_WRITES: u64 = ACCESSED | READ_ONLY;

    #[inline]
    fn table(_: usize, table: Frame) -> u64 {
        Aarch64Granule64K::table_word(table)
    }

    #[inline]
    fn leaf(level: usize, leaf: Leaf) -> u64 {
        let address = leaf.frame.0 >> (13 * level) << (13 * level) << 16 & ADDRESS;
        let common =
            address | INNER_SHAREABLE | NOT_GLOBAL | if leaf.accessed { ACCESSED } else { 0 };
        if leaf.rights.intersects(Rights::READ | Rights::WRITE | Rights::EXECUTE) {
            let kind = if level == 0 { VALID | PAGE_OR_TABLE } else { VALID };
            common | kind | Aarch64Granule64K::access(leaf)
        } else {
            common | Aarch64Granule64K::access(Leaf { rights: Rights::empty(), ..leaf })
        }
    }

    #[inline]
    fn soft(soft: Soft) -> u64 {
        soft::encode(soft)
    }

    #[inline]
    fn decode(level: usize, word: u64) -> Entry {
        if word & (VALID | NOT_GLOBAL) == 0 {
            return soft::decode(word);
        }
        let leaf = |rights, dirty| {
            let frame = Aarch64Granule64K::frame(level, word);
            Entry::Leaf(Leaf { frame, rights, accessed: word & ACCESSED != 0, dirty })
        };
        if word & VALID == 0 {
            return leaf(Rights::empty(), word & SAVED_DIRTY != 0);
        }
        match (level, word & PAGE_OR_TABLE != 0) {
            (1.., true) => Entry::Table(Aarch64Granule64K::frame(0, word)),
            (0, true) | (1, false) => {
                let dirty = word & READ_ONLY == 0 || word & SAVED_DIRTY != 0;
                leaf(Aarch64Granule64K::rights(word), dirty)
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
