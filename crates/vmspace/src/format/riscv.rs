//! RISC-V Sv48: four levels of 512 entries, 4 KiB pages, a leaf at any level.
//!
//! Source: The RISC-V Instruction Set Manual, Volume II (privileged), "Sv39" for the entry and
//! its algorithm, "Sv48" for the geometry.
//!
//! | bits  | present (V = 1)                  | absent (V = 0)              |
//! |-------|----------------------------------|-----------------------------|
//! | 0     | V                                | 0                           |
//! | 3:1   | X W R; all zero: next table      | leaf: 0; else [`soft`]      |
//! | 4     | U                                | 0                           |
//! | 5     | G, never set                     | a leaf without rights       |
//! | 7:6   | D A                              | leaf: D A; else 0           |
//! | 9:8   | for software, unused             | 0                           |
//! | 53:10 | frame                            | leaf: frame; else [`soft`]  |
//! | 63:54 | N, PBMT, reserved: zero          | leaf: 0; else [`soft`]      |
//!
//! With V set, R = W = X = 0 would name a table, so a leaf without rights has V clear. W without R
//! is reserved, so WRITE brings READ with it; EXECUTE alone is execute-only. Global entries are not
//! used: a flush of one address space then drops everything that came from its tables.

use super::{Entry, Format, Leaf, Rights, Soft, check_format, soft};
use crate::addr::Frame;
use crate::sync::AtomicU64;

const VALID: u64 = 1 << 0;
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 2;
const EXECUTE: u64 = 1 << 3;
const USER: u64 = 1 << 4;
/// Marks a leaf without rights, where VALID is clear.
const NONE: u64 = 1 << 5;
/// All that says what a leaf allows.
const KIND: u64 = VALID | READ | WRITE | EXECUTE | USER | NONE;
const ACCESSED: u64 = 1 << 6;
const DIRTY: u64 = 1 << 7;
const PPN_SHIFT: u32 = 10;
/// How far above their place in [`Rights`] the four rights stand in an entry.
const RIGHTS_SHIFT: u32 = 1;

const _: () = assert!(
    (Rights::READ.bits() as u64) << RIGHTS_SHIFT == READ
        && (Rights::WRITE.bits() as u64) << RIGHTS_SHIFT == WRITE
        && (Rights::EXECUTE.bits() as u64) << RIGHTS_SHIFT == EXECUTE
        && (Rights::USER.bits() as u64) << RIGHTS_SHIFT == USER
);
const PPN: u64 = ((1 << 44) - 1) << PPN_SHIFT;
/// Faults when set, without the extensions Svnapot and Svpbmt.
const RESERVED: u64 = !0 << 54;
/// Faults when set in a table word ("must be cleared by software").
const RESERVED_IN_TABLE: u64 = USER | ACCESSED | DIRTY;

/// RISC-V with 48 bits of virtual address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sv48;

impl Sv48 {
    const fn table_word(table: Frame) -> u64 {
        VALID | table.0 << PPN_SHIFT & PPN
    }

    /// The bits of a leaf that say what it allows.
    #[inline(always)]
    const fn rights_bits(rights: Rights) -> u64 {
        let rights = (rights.with_implied().bits() as u64) << RIGHTS_SHIFT;
        let none = rights & (READ | WRITE | EXECUTE) == 0;
        if none { NONE } else { VALID | rights & KIND }
    }

    /// The leaf that a word is.
    #[inline(always)]
    const fn leaf_of(word: u64) -> Leaf {
        Leaf {
            frame: Frame((word & PPN) >> PPN_SHIFT),
            rights: Rights::from_bits_truncate((word >> RIGHTS_SHIFT) as u8),
            accessed: word & ACCESSED != 0,
            dirty: word & DIRTY != 0,
        }
    }

    /// The bits of a leaf's frame field that must be zero at `level`.
    const fn misaligned(level: usize) -> u64 {
        ((1 << (9 * level)) - 1) << PPN_SHIFT
    }
}

const _: () = {
    check_format(&[Sv48::table_word(Frame(0)), Sv48::table_word(Frame(!0))], Sv48::HARDWARE_WRITES);
    let mut i = 0;
    while i < soft::EXTREMES.len() {
        check_format(&[soft::encode(soft::EXTREMES[i])], Sv48::HARDWARE_WRITES | VALID | NONE);
        i += 1;
    }
};

impl Format for Sv48 {
    type Cell = AtomicU64;

    const NAME: &'static str = "sv48";
    const PAGE_SHIFT: u32 = 12;
    const INDEX_BITS: &'static [u32] = &[9, 9, 9, 9];
    const USER_BITS: u32 = 47;
    const FRAME_BITS: u32 = 44;
    const LEAF_LEVELS: u32 = 0b1111;
    const KERNEL_SLOTS: core::ops::Range<usize> = 256..512;
    const BREAK_BEFORE_MAKE: bool = false;
    const ACCESSED: u64 = ACCESSED;
    const HARDWARE_WRITES: u64 = ACCESSED | DIRTY;

    #[inline]
    fn table(_: usize, table: Frame) -> u64 {
        Sv48::table_word(table)
    }

    #[inline]
    fn leaf(level: usize, leaf: Leaf) -> u64 {
        Sv48::rights_bits(leaf.rights)
            | if leaf.accessed { ACCESSED } else { 0 }
            | if leaf.dirty { DIRTY } else { 0 }
            | leaf.frame.0 << PPN_SHIFT & PPN & !Sv48::misaligned(level)
    }

    #[inline]
    fn soft(soft: Soft) -> u64 {
        soft::encode(soft)
    }

    #[inline]
    fn decode(level: usize, word: u64) -> Entry {
        if word == 0 {
            return Entry::Empty;
        }
        let frame = Frame((word & PPN) >> PPN_SHIFT);
        let access = word & (READ | WRITE | EXECUTE);
        if word & (VALID | NONE) == 0 {
            return soft::decode(word);
        }
        if word & VALID != 0 {
            if word & RESERVED != 0 || access & (READ | WRITE) == WRITE {
                return Entry::Empty;
            }
            if access == 0 {
                let faults = level == 0 || word & RESERVED_IN_TABLE != 0;
                return if faults { Entry::Empty } else { Entry::Table(frame) };
            }
            if word & Sv48::misaligned(level) != 0 {
                return Entry::Empty;
            }
        }
        Entry::Leaf(Sv48::leaf_of(word))
    }

    #[inline(always)]
    fn next_table(level: usize, word: u64) -> Option<Frame> {
        let table = word & (VALID | READ | WRITE | EXECUTE) == VALID && level > 0;
        table.then_some(Frame((word & PPN) >> PPN_SHIFT))
    }

    #[inline(always)]
    fn as_leaf(_: usize, word: u64) -> Option<Leaf> {
        let leaf = word & (READ | WRITE | EXECUTE | NONE) != 0 && word & (VALID | NONE) != 0;
        leaf.then(|| Sv48::leaf_of(word))
    }

    #[inline]
    fn with_rights(level: usize, word: u64, rights: Rights) -> u64 {
        match Sv48::as_leaf(level, word) {
            Some(_) => word & !KIND | Sv48::rights_bits(rights),
            None => word,
        }
    }

    #[inline]
    fn touched(_: usize, word: u64, write: bool) -> u64 {
        // Table words have no such bits.
        let leaf = word & (READ | WRITE | EXECUTE) != 0;
        word | if leaf { ACCESSED } else { 0 } | if leaf && write { DIRTY } else { 0 }
    }
}
