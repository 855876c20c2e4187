//! The content of absent entries, laid out once for all formats.
//!
//! Every format here calls an entry absent when bit 0 is clear, and then looks at no other bit.
//! What is stored must leave alone the positions that hardware writes in present entries (bits 5,
//! 6, 7 and 10 in one format or another) and the bit that marks a leaf without rights (5, 8 or
//! 11). So:
//!
//! | bits  | content         |
//! |-------|-----------------|
//! | 1     | in transit      |
//! | 2     | on swap         |
//! | 51:12 | slot on swap    |
//! | 56:52 | device of swap  |

use super::{Entry, Soft};

const IN_TRANSIT: u64 = 1 << 1;
const SWAP: u64 = 1 << 2;
const SLOT_SHIFT: u32 = 12;
const SLOT_MASK: u64 = (1 << 40) - 1;
const DEVICE_SHIFT: u32 = 52;
const DEVICE_MASK: u64 = (1 << 5) - 1;

/// Every kind of content with the payloads that clear and set each bit: what a format's checks
/// go through.
pub(super) const EXTREMES: [Soft; 5] = [
    Soft::InTransit,
    Soft::Swap { device: 0, slot: 0 },
    Soft::Swap { device: 31, slot: 0 },
    Soft::Swap { device: 0, slot: SLOT_MASK },
    Soft::Swap { device: 31, slot: SLOT_MASK },
];

/// The absent word that holds `soft`; never zero.
pub(super) const fn encode(soft: Soft) -> u64 {
    match soft {
        Soft::InTransit => IN_TRANSIT,
        Soft::Swap { device, slot } => {
            SWAP | (slot & SLOT_MASK) << SLOT_SHIFT | (device as u64 & DEVICE_MASK) << DEVICE_SHIFT
        }
    }
}

/// What an absent word holds that is not a leaf without rights.
#[inline(always)]
pub(super) const fn decode(word: u64) -> Entry {
    if word & (SWAP | IN_TRANSIT) == 0 {
        Entry::Empty
    } else if word & SWAP != 0 {
        let device = (word >> DEVICE_SHIFT & DEVICE_MASK) as u8;
        Entry::Soft(Soft::Swap { device, slot: word >> SLOT_SHIFT & SLOT_MASK })
    } else {
        Entry::Soft(Soft::InTransit)
    }
}
