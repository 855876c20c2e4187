//! x86-64 with four levels: 4 KiB pages, leaves of 4 KiB, 2 MiB and 1 GiB.
//!
//! Source: Intel SDM volume 3A, section 5.5 ("4-level paging and 5-level paging", tables 5-15 to
//! 5-20; 4.5 in older editions); AMD APM volume 2, section 5.3, agrees.
//!
//! | bits  | present (P = 1)                    | absent (P = 0)                        |
//! |-------|------------------------------------|---------------------------------------|
//! | 2:0   | U/S R/W P                          | P = 0; leaf: 0; else [`soft`]         |
//! | 4:3   | PCD PWT: zero (write-back)         | 0                                     |
//! | 6:5   | D A                                | leaf: A; else 0                       |
//! | 7     | PS: a leaf above level 0           | 0                                     |
//! | 8     | G, never set                       | a leaf without rights                 |
//! | 51:12 | frame                              | leaf: frame, else slot; **inverted**  |
//! | 58    | dirty, where writing is denied     | leaf: dirty                           |
//! | 63    | XD                                 | 0                                     |
//!
//! - Reading cannot be denied: WRITE and EXECUTE bring READ with them.
//! - D is set only together with R/W: a word with D but not R/W is a shadow-stack page to a
//!   processor with CET (SDM 5.6, "shadow-stack pages"), which would be writable behind a
//!   write-protection. The dirtiness of a write-protected page moves to a software bit.
//! - The address bits of absent words are inverted: processors with L1TF speculate through the
//!   address of a non-present entry, and an inverted one lies above any memory.
//! - The processor also sets A in table words that it walks through. Clearing it there is harmless.

use super::{Entry, Format, Leaf, Rights, Soft, check_format, soft};
use crate::addr::Frame;
use crate::sync::AtomicU64;

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
/// Marks a leaf without rights, where PRESENT is clear.
const NONE: u64 = 1 << 8;
/// In a large leaf: the lowest address bit is a memory type's.
const PAT_OF_LARGE: u64 = 1 << 12;
const ADDRESS: u64 = ((1 << 40) - 1) << 12;
/// Dirty, where WRITE is clear. Ignored by hardware.
const SAVED_DIRTY: u64 = 1 << 58;
const NO_EXECUTE: u64 = 1 << 63;

/// x86-64 with 48 bits of virtual address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct X86_64;

impl X86_64 {
    const fn table_word(table: Frame) -> u64 {
        // The leaf alone decides about rights.
        PRESENT | WRITE | USER | table.0 << 12 & ADDRESS
    }

    const fn soft_word(soft: Soft) -> u64 {
        soft::encode(soft) ^ ADDRESS
    }

    /// The address bits that must be zero in a leaf at `level`.
    const fn misaligned(level: usize) -> u64 {
        ((1 << (9 * level)) - 1) << 12 & !PAT_OF_LARGE
    }
}

const _: () = {
    let tables = [X86_64::table_word(Frame(0)), X86_64::table_word(Frame(!0))];
    check_format(&tables, X86_64::HARDWARE_WRITES | LARGE);
    let mut i = 0;
    while i < soft::EXTREMES.len() {
        let word = X86_64::soft_word(soft::EXTREMES[i]);
        check_format(&[word], X86_64::HARDWARE_WRITES | PRESENT | NONE);
        i += 1;
    }
};

impl Format for X86_64 {
    type Cell = AtomicU64;

    const NAME: &'static str = "x86-64";
    const PAGE_SHIFT: u32 = 12;
    const INDEX_BITS: &'static [u32] = &[9, 9, 9, 9];
    const USER_BITS: u32 = 47;
    const FRAME_BITS: u32 = 40;
    const LEAF_LEVELS: u32 = 0b0111;
    const KERNEL_SLOTS: core::ops::Range<usize> = 256..512;
    const BREAK_BEFORE_MAKE: bool = false;
    const ACCESSED: u64 = ACCESSED;
    const HARDWARE_WRITES: u64 = ACCESSED | DIRTY;

    #[inline]
    fn table(_: usize, table: Frame) -> u64 {
        X86_64::table_word(table)
    }

    #[inline]
    fn leaf(level: usize, leaf: Leaf) -> u64 {
        let has = |right| leaf.rights.contains(right);
        let aligned = leaf.frame.0 >> (9 * level) << (9 * level);
        let address = aligned << 12 & ADDRESS;
        let accessed = if leaf.accessed { ACCESSED } else { 0 };
        if !leaf.rights.intersects(Rights::READ | Rights::WRITE | Rights::EXECUTE) {
            let dirty = if leaf.dirty { SAVED_DIRTY } else { 0 };
            return NONE | accessed | dirty | address ^ ADDRESS;
        }
        let dirty = if has(Rights::WRITE) { DIRTY } else { SAVED_DIRTY };
        PRESENT
            | address
            | accessed
            | if leaf.dirty { dirty } else { 0 }
            | if has(Rights::WRITE) { WRITE } else { 0 }
            | if has(Rights::USER) { USER } else { 0 }
            | if has(Rights::EXECUTE) { 0 } else { NO_EXECUTE }
            | if level > 0 { LARGE } else { 0 }
    }

    #[inline]
    fn soft(soft: Soft) -> u64 {
        X86_64::soft_word(soft)
    }

    #[inline]
    fn decode(level: usize, word: u64) -> Entry {
        let accessed = word & ACCESSED != 0;
        let dirty = word & (DIRTY | SAVED_DIRTY) != 0;
        if word & PRESENT == 0 {
            if word == 0 {
                return Entry::Empty;
            }
            let word = word ^ ADDRESS;
            if word & NONE == 0 {
                return soft::decode(word);
            }
            let frame = Frame((word & ADDRESS) >> 12);
            return Entry::Leaf(Leaf { frame, rights: Rights::empty(), accessed, dirty });
        }
        if level > 0 && word & LARGE == 0 {
            return Entry::Table(Frame((word & ADDRESS) >> 12));
        }
        if Self::LEAF_LEVELS >> level & 1 == 0 || word & X86_64::misaligned(level) != 0 {
            return Entry::Empty;
        }
        let right = |bit, right| if word & bit != 0 { right } else { Rights::empty() };
        let rights = Rights::READ
            | right(WRITE, Rights::WRITE)
            | right(USER, Rights::USER)
            | if word & NO_EXECUTE == 0 { Rights::EXECUTE } else { Rights::empty() };
        let frame = Frame((word & ADDRESS) >> (12 + 9 * level) << (9 * level));
        Entry::Leaf(Leaf { frame, rights, accessed, dirty })
    }

    #[inline(always)]
    fn next_table(level: usize, word: u64) -> Option<Frame> {
        let table = word & (PRESENT | LARGE) == PRESENT && level > 0;
        table.then_some(Frame((word & ADDRESS) >> 12))
    }

    #[inline]
    fn touched(level: usize, word: u64, write: bool) -> u64 {
        let leaf = level == 0 || word & LARGE != 0;
        word | ACCESSED | if leaf && write { DIRTY } else { 0 }
    }
}
