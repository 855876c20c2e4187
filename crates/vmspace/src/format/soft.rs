//! The content of absent entries, laid out once for all formats.
//!
//! Every format here calls an entry absent when bit 0 is clear, and then looks at no other bit.
//! What is stored must leave alone the positions that hardware writes in present entries (bits 5,
//! 6, 7 and 10 in one format or another) and the bit that marks a leaf without rights (5, 8 or
//! 11). So:
//!
//! | 64 bits | 32 bits | content         |
//! |---------|---------|-----------------|
//! | 1       | 1       | in transit      |
//! | 2       | 2       | on swap         |
//! | 51:12   | 31:9    | slot on swap    |
//! | 56:52   | 4:3     | device of swap  |

use super::{Entry, Soft};

const IN_TRANSIT: u64 = 1 << 1;
const SWAP: u64 = 1 << 2;

/// How absent entries name a place on swap.
///
/// ```
/// use vmspace::format::*;
///
/// let (devices, slots) = (Sv32::SWAP.devices(), Sv32::SWAP.slots());
/// let soft = Soft::Swap { device: devices - 1, slot: slots - 1 };
/// assert_eq!(Sv32::decode(0, Sv32::soft(soft)), Entry::Soft(soft));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Swap {
    slot_bits: u32,
    slot_shift: u32,
    device_bits: u32,
    device_shift: u32,
}

impl Swap {
    /// In entries of so many bytes.
    pub(super) const fn in_bytes(bytes: usize) -> Swap {
        if bytes == 4 {
            Swap { slot_bits: 23, slot_shift: 9, device_bits: 2, device_shift: 3 }
        } else {
            Swap { slot_bits: 40, slot_shift: 12, device_bits: 5, device_shift: 52 }
        }
    }

    /// How many devices there may be.
    pub const fn devices(self) -> u8 {
        1 << self.device_bits
    }

    /// How many slots (pages) a device may have.
    pub const fn slots(self) -> u64 {
        1 << self.slot_bits
    }

    /// The content with the largest payload.
    pub const fn last(self) -> Soft {
        Soft::Swap { device: self.devices() - 1, slot: self.slots() - 1 }
    }

    /// The absent word that holds `soft`; never zero.
    pub(super) const fn encode(self, soft: Soft) -> u64 {
        match soft {
            Soft::InTransit => IN_TRANSIT,
            Soft::Swap { device, slot } => {
                let device = (device & (self.devices() - 1)) as u64;
                let slot = slot & (self.slots() - 1);
                SWAP | slot << self.slot_shift | device << self.device_shift
            }
        }
    }

    /// What an absent word holds that is not a leaf without rights.
    #[inline(always)]
    pub(super) const fn decode(self, word: u64) -> Entry {
        if word & (SWAP | IN_TRANSIT) == 0 {
            Entry::Empty
        } else if word & SWAP != 0 {
            let device = (word >> self.device_shift) as u8 & (self.devices() - 1);
            Entry::Soft(Soft::Swap { device, slot: word >> self.slot_shift & (self.slots() - 1) })
        } else {
            Entry::Soft(Soft::InTransit)
        }
    }
}
