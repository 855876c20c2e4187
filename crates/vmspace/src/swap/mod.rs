//! Swap: pages of memory that are kept on devices.
//!
//! Guarantee: a page that went is found by whoever has an entry of it, in memory or on its device,
//! from the moment its entries are taken away: no instant at which it is in neither.
//!
//! `device` is the trait that a port implements; `area` what is kept of a device; `word` the one word
//! of a slot, that everything hangs on; `slots` what is done with slots and their pages; `bring` reads
//! pages back; `on` and `off` add devices and remove them. What decides which pages go is `reclaim`.

mod area;
mod bring;
mod device;
mod off;
mod on;
mod slots;
pub mod word;

pub(crate) use area::{Areas, Cluster, Place};
pub use device::{NoSwap, SwapDevices};
pub use on::SwapUsage;

use crate::format::Soft;

impl Place {
    /// What an entry of a page in this slot says.
    pub fn soft(self) -> Soft {
        Soft::Swap { device: self.area, slot: self.slot }
    }

    /// The slot that an entry's content names.
    pub fn of(soft: Soft) -> Option<Place> {
        match soft {
            Soft::Swap { device, slot } => Some(Place { area: device, slot }),
            Soft::InTransit => None,
        }
    }
}
