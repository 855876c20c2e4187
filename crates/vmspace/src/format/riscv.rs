//! RISC-V: Sv32 (two levels of 1024 entries of 32 bits), Sv39, Sv48 and Sv57 (three, four and five
//! levels of 512 entries of 64 bits), and Sv39x4, which a hypervisor maps its guests' memory with: the
//! root has four times the entries, so it takes four pages. 4 KiB pages, a leaf at any level.
//!
//! Source: The RISC-V Instruction Set Manual, Volume II (privileged), "Sv32" and "Sv39" for the
//! entry and its algorithm, "Sv48" and "Sv57" for the geometry; "Two-Stage Address Translation" for
//! Sv39x4: all accesses count as the user's there.
//!
//! | bits  | present (V = 1)                  | absent (V = 0)              |
//! |-------|----------------------------------|-----------------------------|
//! | 0     | V                                | 0                           |
//! | 3:1   | X W R; all zero: next table      | leaf: 0; else [`soft`]      |
//! | 4     | U                                | leaf: 0; else [`soft`]      |
//! | 5     | G, never set                     | a leaf without rights       |
//! | 7:6   | D A                              | leaf: D A; else 0           |
//! | 9:8   | for software, unused             | leaf: 0; else [`soft`]      |
//! | 53:10 | frame (31:10 in Sv32)            | leaf: frame; else [`soft`]  |
//! | 63:54 | N, PBMT, reserved: zero          | leaf: 0; else [`soft`]      |
//!
//! With V set, R = W = X = 0 would name a table, so a leaf without rights has V clear. W without R
//! is reserved, so WRITE brings READ with it; EXECUTE alone is execute-only. Global entries are not
//! used: a flush of one address space then drops everything that came from its tables.

use super::{Entry, Format, Leaf, Rights, Soft, Swap, check_format};
use crate::addr::Frame;
use crate::cell::Cell;
use crate::sync::{AtomicU32, AtomicU64};
use core::marker::PhantomData;

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
/// Faults when set, without the extensions Svnapot and Svpbmt. Entries of 32 bits have none.
const RESERVED: u64 = !0 << 54;
/// Faults when set in a table word ("must be cleared by software").
const RESERVED_IN_TABLE: u64 = USER | ACCESSED | DIRTY;

/// RISC-V with `LEVELS` levels of tables whose entries lie in cells `C`; the root has `WIDER` index
/// bits more than the others.
#[derive(Debug)]
pub struct Riscv<const LEVELS: usize, C, const WIDER: u32 = 0>(PhantomData<C>);

/// RISC-V with 32 bits of virtual and 34 of physical address.
pub type Sv32 = Riscv<2, AtomicU32>;
/// RISC-V with 39 bits of virtual address.
pub type Sv39 = Riscv<3, AtomicU64>;
/// RISC-V with 48 bits of virtual address.
pub type Sv48 = Riscv<4, AtomicU64>;
/// RISC-V with 57 bits of virtual address.
pub type Sv57 = Riscv<5, AtomicU64>;
/// RISC-V's second stage with 41 bits of guest physical address (`hgatp`).
pub type Sv39x4 = Riscv<3, AtomicU64, 2>;

const _: () = {
    Sv32::check();
    Sv39::check();
    Sv48::check();
    Sv57::check();
    Sv39x4::check();
};

impl<const LEVELS: usize, C: Cell, const WIDER: u32> Riscv<LEVELS, C, WIDER> {
    /// Index bits of a level below the root: a table is a page.
    const BITS: u32 = 12 - C::BYTES.trailing_zeros();
    const INDEX_BITS: [u32; LEVELS] = {
        let mut bits = [Self::BITS; LEVELS];
        bits[LEVELS - 1] += WIDER;
        bits
    };
    const PPN_BITS: u32 = if C::BYTES == 4 { 22 } else { 44 };
    const PPN: u64 = ((1 << Self::PPN_BITS) - 1) << PPN_SHIFT;
    const SWAP: Swap = Swap::in_bytes(C::BYTES);

    /// Refuses words that set what they must not.
    const fn check() {
        let hardware = ACCESSED | DIRTY;
        let tables = [Self::table_word(Frame(0)), Self::table_word(Frame(!0))];
        check_format(&tables, hardware);
        let absent = [Self::SWAP.encode(Soft::InTransit), Self::SWAP.encode(Self::SWAP.last())];
        check_format(&absent, hardware | VALID | NONE);
    }

    const fn table_word(table: Frame) -> u64 {
        VALID | table.0 << PPN_SHIFT & Self::PPN
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
            frame: Frame((word & Self::PPN) >> PPN_SHIFT),
            rights: Rights::from_bits_truncate((word >> RIGHTS_SHIFT) as u8),
            accessed: word & ACCESSED != 0,
            dirty: word & DIRTY != 0,
        }
    }

    /// The bits of a leaf's frame field that must be zero at `level`.
    const fn misaligned(level: usize) -> u64 {
        ((1 << (Self::BITS as usize * level)) - 1) << PPN_SHIFT
    }
}

impl<const LEVELS: usize, C: Cell, const WIDER: u32> Format for Riscv<LEVELS, C, WIDER> {
    type Cell = C;

    const NAME: &'static str = match (LEVELS, WIDER) {
        (2, 0) => "sv32",
        (3, 0) => "sv39",
        (4, 0) => "sv48",
        (5, 0) => "sv57",
        (3, 2) => "sv39x4",
        _ => panic!("RISC-V has two to five levels"),
    };
    const PAGE_SHIFT: u32 = 12;
    const INDEX_BITS: &'static [u32] = &Self::INDEX_BITS;
    // As Linux has it: 3 GiB of 4, else half; a guest has all.
    const USER_SLOTS: usize = match (LEVELS, WIDER) {
        (2, 0) => 768,
        (_, 0) => 256,
        _ => 1 << Self::INDEX_BITS[LEVELS - 1],
    };
    const FRAME_BITS: u32 = Self::PPN_BITS;
    const LEAF_LEVELS: u32 = (1 << LEVELS) - 1;
    const BREAK_BEFORE_MAKE: bool = false;
    const SWAP: Swap = Self::SWAP;
    const ACCESSED: u64 = ACCESSED;
    const HARDWARE_WRITES: u64 = ACCESSED | DIRTY;

    #[inline]
    fn table(_: usize, table: Frame) -> u64 {
        Self::table_word(table)
    }

    #[inline]
    fn leaf(level: usize, leaf: Leaf) -> u64 {
        Self::rights_bits(leaf.rights)
            | if leaf.accessed { ACCESSED } else { 0 }
            | if leaf.dirty { DIRTY } else { 0 }
            | leaf.frame.0 << PPN_SHIFT & Self::PPN & !Self::misaligned(level)
    }

    #[inline]
    fn soft(soft: Soft) -> u64 {
        Self::SWAP.encode(soft)
    }

    #[inline]
    fn decode(level: usize, word: u64) -> Entry {
        if word == 0 {
            return Entry::Empty;
        }
        let frame = Frame((word & Self::PPN) >> PPN_SHIFT);
        let access = word & (READ | WRITE | EXECUTE);
        if word & (VALID | NONE) == 0 {
            return Self::SWAP.decode(word);
        }
        if word & VALID != 0 {
            if word & RESERVED != 0 || access & (READ | WRITE) == WRITE {
                return Entry::Empty;
            }
            if access == 0 {
                let faults = level == 0 || word & RESERVED_IN_TABLE != 0;
                return if faults { Entry::Empty } else { Entry::Table(frame) };
            }
            if word & Self::misaligned(level) != 0 {
                return Entry::Empty;
            }
        }
        Entry::Leaf(Self::leaf_of(word))
    }

    #[inline(always)]
    fn next_table(level: usize, word: u64) -> Option<Frame> {
        let table = word & (VALID | READ | WRITE | EXECUTE) == VALID && level > 0;
        table.then_some(Frame((word & Self::PPN) >> PPN_SHIFT))
    }

    #[inline(always)]
    fn as_leaf(_: usize, word: u64) -> Option<Leaf> {
        let leaf = word & (READ | WRITE | EXECUTE | NONE) != 0 && word & (VALID | NONE) != 0;
        leaf.then(|| Self::leaf_of(word))
    }

    #[inline]
    fn with_rights(level: usize, word: u64, rights: Rights) -> u64 {
        match Self::as_leaf(level, word) {
            Some(_) => word & !KIND | Self::rights_bits(rights),
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
