//! x86: 32-bit paging (`i386`), PAE paging (`i386-pae`), 4-level and 5-level paging. 4 KiB pages;
//! leaves of 4 MiB in 32-bit paging, else of 2 MiB, and of 1 GiB in 4-level and 5-level paging.
//!
//! Source: Intel SDM volume 3A, chapter 5 (4 in older editions): 5.3 "32-bit paging", 5.4 "PAE
//! paging", 5.5 "4-level paging and 5-level paging"; AMD APM volume 2, chapter 5, agrees.
//!
//! | bits  | present (P = 1)                    | absent (P = 0)                        |
//! |-------|------------------------------------|---------------------------------------|
//! | 2:0   | U/S R/W P                          | P = 0; leaf: 0; else [`soft`]         |
//! | 4:3   | PCD PWT: zero (write-back)         | leaf: 0; else [`soft`]                |
//! | 6:5   | D A                                | leaf: A; else 0                       |
//! | 7     | PS: a leaf above level 0           | 0                                     |
//! | 8     | G, never set                       | a leaf without rights                 |
//! | 9     | dirty, where writing is denied     | leaf: dirty; else [`soft`]            |
//! | 51:12 | frame (31:12 in 32-bit paging)     | leaf: frame, else slot; **inverted**  |
//! | 63    | XD (there is none in 32-bit paging)| 0                                     |
//!
//! - Reading cannot be denied: WRITE and EXECUTE bring READ with them; in 32-bit paging READ brings
//!   EXECUTE too.
//! - D is set only together with R/W: a word with D but not R/W is a shadow-stack page to a
//!   processor with CET (SDM 5.6, "shadow-stack pages"), which would be writable behind a
//!   write-protection. The dirtiness of a write-protected page moves to a software bit.
//! - The address bits of absent words are inverted: processors with L1TF speculate through the
//!   address of a non-present entry, and an inverted one lies above any memory (but for 32-bit
//!   paging, which has no such addresses).
//! - The processor also sets A in table words that it walks through. Clearing it there is harmless.
//! - PAE's root is 32 bytes, at the start of a frame of its own; its four words have P and the
//!   address alone. A processor reads them when CR3 is loaded: whoever ports to one loads CR3 again
//!   where a shootdown says `tables`, and after a fault that was resolved.

use super::{Entry, Format, Leaf, Rights, Soft, Swap, check_format};
use crate::addr::Frame;
use crate::cell::{Cell, SplitCell};
use crate::sync::{AtomicU32, AtomicU64};
use core::marker::PhantomData;

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
/// Marks a leaf without rights, where PRESENT is clear.
const NONE: u64 = 1 << 8;
/// Dirty, where WRITE is clear. Ignored by hardware.
const SAVED_DIRTY: u64 = 1 << 9;
/// In a large leaf: the lowest address bit is a memory type's.
const PAT_OF_LARGE: u64 = 1 << 12;

/// x86 with `LEVELS` levels of tables whose entries lie in cells `C`.
#[derive(Debug)]
pub struct X86<const LEVELS: usize, C>(PhantomData<C>);

/// 32-bit paging: 32 bits of virtual and of physical address, nothing that denies execution.
pub type I386 = X86<2, AtomicU32>;
/// PAE paging: 32 bits of virtual, 52 of physical address.
pub type I386Pae = X86<3, AtomicU64>;
/// PAE paging whose entries are read and written as two words, as on targets without wider atomics.
pub type I386PaeSplit = X86<3, SplitCell>;
/// x86-64 with 48 bits of virtual address.
pub type X86_64 = X86<4, AtomicU64>;
/// x86-64 with 57 bits of virtual address.
pub type X86_64La57 = X86<5, AtomicU64>;

const _: () = {
    I386::check();
    I386Pae::check();
    I386PaeSplit::check();
    X86_64::check();
    X86_64La57::check();
};

impl<const LEVELS: usize, C: Cell> X86<LEVELS, C> {
    const PAE: bool = LEVELS == 3;
    /// Index bits of a table that is a page.
    const BITS: u32 = 12 - C::BYTES.trailing_zeros();
    const FRAME_BITS: u32 = if C::BYTES == 4 { 20 } else { 40 };
    const ADDRESS: u64 = ((1 << Self::FRAME_BITS) - 1) << 12;
    const NO_EXECUTE: u64 = if C::BYTES == 4 { 0 } else { 1 << 63 };
    /// Faults when set. (4-level and 5-level paging ignore these bits.)
    const RESERVED: u64 = if Self::PAE { 0x7ff << 52 } else { 0 };
    /// Faults when set in a word of PAE's root.
    const RESERVED_IN_ROOT: u64 = Self::RESERVED | Self::NO_EXECUTE | 0b1_1110_0110;
    const SWAP: Swap = Swap::in_bytes(C::BYTES);

    /// Refuses words that set what they must not.
    const fn check() {
        let hardware = ACCESSED | DIRTY;
        let mut level = 1;
        while level < LEVELS {
            let tables = [Self::table_word(level, Frame(0)), Self::table_word(level, Frame(!0))];
            check_format(&tables, hardware | LARGE);
            level += 1;
        }
        let absent = [Self::soft_word(Soft::InTransit), Self::soft_word(Self::SWAP.last())];
        check_format(&absent, hardware | PRESENT | NONE);
    }

    /// Whether tables at `level` are PAE's root.
    #[inline(always)]
    const fn is_root_of_pae(level: usize) -> bool {
        Self::PAE && level == LEVELS - 1
    }

    const fn table_word(level: usize, table: Frame) -> u64 {
        // The leaf alone decides about rights.
        let rights = if Self::is_root_of_pae(level) { 0 } else { WRITE | USER };
        PRESENT | rights | table.0 << 12 & Self::ADDRESS
    }

    const fn soft_word(soft: Soft) -> u64 {
        Self::SWAP.encode(soft) ^ Self::ADDRESS
    }

    /// The address bits that must be zero in a leaf at `level`.
    const fn misaligned(level: usize) -> u64 {
        ((1 << (Self::BITS as usize * level)) - 1) << 12 & !PAT_OF_LARGE
    }
}

impl<const LEVELS: usize, C: Cell> Format for X86<LEVELS, C> {
    type Cell = C;

    const NAME: &'static str = match (LEVELS, C::WORDS) {
        (2, _) => "i386",
        (3, 1) => "i386-pae",
        (3, _) => "i386-pae-split",
        (4, _) => "x86-64",
        (5, _) => "x86-64-la57",
        _ => panic!("x86 has two to five levels"),
    };
    const PAGE_SHIFT: u32 = 12;
    const INDEX_BITS: &'static [u32] = if Self::PAE { &[9, 9, 2] } else { &[Self::BITS; LEVELS] };
    // As Linux has it: 3 GiB of 4, else half.
    const USER_SLOTS: usize = match LEVELS {
        2 => 768,
        3 => 3,
        _ => 256,
    };
    const FRAME_BITS: u32 = Self::FRAME_BITS;
    const LEAF_LEVELS: u32 = if LEVELS < 4 { 0b011 } else { 0b111 };
    const BREAK_BEFORE_MAKE: bool = false;
    const SWAP: Swap = Self::SWAP;
    const ACCESSED: u64 = ACCESSED;
    const HARDWARE_WRITES: u64 = ACCESSED | DIRTY;

    #[inline]
    fn table(level: usize, table: Frame) -> u64 {
        Self::table_word(level, table)
    }

    #[inline]
    fn leaf(level: usize, leaf: Leaf) -> u64 {
        let has = |right| leaf.rights.contains(right);
        let shift = Self::BITS as usize * level;
        let address = leaf.frame.0 >> shift << shift << 12 & Self::ADDRESS;
        let accessed = if leaf.accessed { ACCESSED } else { 0 };
        if !leaf.rights.intersects(Rights::READ | Rights::WRITE | Rights::EXECUTE) {
            let dirty = if leaf.dirty { SAVED_DIRTY } else { 0 };
            return NONE | accessed | dirty | address ^ Self::ADDRESS;
        }
        let dirty = if has(Rights::WRITE) { DIRTY } else { SAVED_DIRTY };
        PRESENT
            | address
            | accessed
            | if leaf.dirty { dirty } else { 0 }
            | if has(Rights::WRITE) { WRITE } else { 0 }
            | if has(Rights::USER) { USER } else { 0 }
            | if has(Rights::EXECUTE) { 0 } else { Self::NO_EXECUTE }
            | if level > 0 { LARGE } else { 0 }
    }

    #[inline]
    fn soft(soft: Soft) -> u64 {
        Self::soft_word(soft)
    }

    #[inline]
    fn decode(level: usize, word: u64) -> Entry {
        let accessed = word & ACCESSED != 0;
        let dirty = word & (DIRTY | SAVED_DIRTY) != 0;
        if word & PRESENT == 0 {
            if word == 0 {
                return Entry::Empty;
            }
            let word = word ^ Self::ADDRESS;
            if word & NONE == 0 {
                return Self::SWAP.decode(word);
            }
            let frame = Frame((word & Self::ADDRESS) >> 12);
            return Entry::Leaf(Leaf { frame, rights: Rights::empty(), accessed, dirty });
        }
        let reserved =
            if Self::is_root_of_pae(level) { Self::RESERVED_IN_ROOT } else { Self::RESERVED };
        if word & reserved != 0 {
            return Entry::Empty;
        }
        if level > 0 && word & LARGE == 0 {
            return Entry::Table(Frame((word & Self::ADDRESS) >> 12));
        }
        if Self::LEAF_LEVELS >> level & 1 == 0 || word & Self::misaligned(level) != 0 {
            return Entry::Empty;
        }
        let right = |bit, right| if word & bit != 0 { right } else { Rights::empty() };
        let rights = Rights::READ
            | right(WRITE, Rights::WRITE)
            | right(USER, Rights::USER)
            | if word & Self::NO_EXECUTE == 0 { Rights::EXECUTE } else { Rights::empty() };
        let shift = Self::BITS as usize * level;
        let frame = Frame((word & Self::ADDRESS) >> (12 + shift) << shift);
        Entry::Leaf(Leaf { frame, rights, accessed, dirty })
    }

    #[inline(always)]
    fn next_table(level: usize, word: u64) -> Option<Frame> {
        let table = word & (PRESENT | LARGE) == PRESENT && level > 0;
        table.then_some(Frame((word & Self::ADDRESS) >> 12))
    }

    #[inline]
    fn touched(level: usize, word: u64, write: bool) -> u64 {
        let leaf = level == 0 || word & LARGE != 0;
        let accessed = if Self::is_root_of_pae(level) { 0 } else { ACCESSED };
        word | accessed | if leaf && write { DIRTY } else { 0 }
    }
}
