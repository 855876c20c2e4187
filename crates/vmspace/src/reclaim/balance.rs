//! Watermarks: when pages are stolen in the background.
//!
//! Guarantee: whoever takes a frame where little is left has the platform told, without waiting and
//! without counting frames on the way there: it is looked how much is left only where a CPU moves to an
//! area that is not an eighth free, since it has found no other. Who is told calls [`Vm::balance`].

use super::age::Urgency;
use crate::context::MaySleep;
use crate::platform::Platform;
use crate::vm::Vm;

/// How many frames should be free.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(4096, 2).manager();
/// let marks = vm.watermarks();
/// assert!(marks.low < marks.high && marks.high < vm.total_frames() / 8);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// Below this, pages are stolen in the background.
    pub low: u64,
    /// Until so many are free.
    pub high: u64,
}

/// How many pages are stolen before it is looked again whether that is enough.
const BATCH: u64 = 64;

impl<P: Platform> Vm<P> {
    /// How many frames should be free: the platform is told ([`Platform::memory_low`]) when fewer
    /// than the low one are.
    pub fn watermarks(&self) -> Watermarks {
        let low = self.total_frames() / 64;
        Watermarks { low, high: low * 2 }
    }

    /// Steals pages until the high watermark is free again, if the low one is not: the work of a task
    /// of its own, woken by [`Platform::memory_low`]. False: nothing more can be stolen now.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// vm.swap_on(&mut ms, 1, 4096, 0)?;
    /// let space = Space::new(&vm, &mut ms)?;
    /// let at = space.map(&mut ms, Map::anonymous(1000 << 12, Rights::READ | Rights::WRITE))?;
    /// for page in 0..1000 {
    ///     space.write(&mut ms, at + (page << 12), &page.to_le_bytes());
    /// }
    /// assert!(vm.balance(&mut ms));
    /// assert!(vm.free_frames() >= vm.watermarks().low);
    /// for page in 0..1000_u64 {
    ///     let mut found = [0; 8];
    ///     space.read(&mut ms, at + (page << 12), &mut found);
    ///     assert_eq!(u64::from_le_bytes(found), page);
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub fn balance(&self, ms: &mut MaySleep) -> bool {
        let marks = self.watermarks();
        if self.free_frames() >= marks.low {
            return true;
        }
        loop {
            let missing = marks.high.saturating_sub(self.free_frames());
            if missing == 0 {
                return true;
            }
            if self.steal(ms, missing.min(BATCH), Urgency::IN_NEED).stolen == 0 {
                return false;
            }
        }
    }

    /// Little is left, perhaps: whoever steals in the background is told.
    pub(crate) fn note_shortage(&self) {
        if self.free_frames() < self.watermarks().low {
            self.platform().memory_low();
        }
    }
}
