//! The devices that pages are swapped to: the trait that a port with swap implements.
//!
//! Guarantee: a device is asked for a page, and handed one, by its number and a slot; it sees no
//! space, no address and no entry. None of the library's locks is held while it reads or writes. A
//! page that is being written is not changed meanwhile; a slot that is being read is not written or
//! discarded meanwhile.

use crate::context::MaySleep;
use crate::pager::{Page, PagerError};

/// What pages are swapped to. Devices are known to it by the numbers that they were added with
/// ([`Vm::swap_on`](crate::Vm::swap_on)), which are never 0.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use vmspace::{MaySleep, Page, PagerError, SwapDevices};
///
/// /// Pages of this process's memory.
/// struct Kept(Mutex<HashMap<(u64, u64), Vec<u8>>>);
///
/// impl SwapDevices for Kept {
///     fn read(&self, _: &mut MaySleep, device: u64, slot: u64, page: Page<'_>) -> Result<(), PagerError> {
///         let kept = self.0.lock().unwrap();
///         let bytes = kept.get(&(device, slot)).ok_or(PagerError::Failed)?;
///         page.write(0, bytes);
///         Ok(())
///     }
///
///     fn write(&self, _: &mut MaySleep, device: u64, slot: u64, page: Page<'_>) -> Result<(), PagerError> {
///         let mut bytes = vec![0; page.len()];
///         page.read(0, &mut bytes);
///         self.0.lock().unwrap().insert((device, slot), bytes);
///         Ok(())
///     }
///
///     fn discard(&self, device: u64, slot: u64) {
///         self.0.lock().unwrap().remove(&(device, slot));
///     }
/// }
/// ```
pub trait SwapDevices: Sync {
    /// Fills `page`, whose contents are undefined, with what was last written to the slot.
    ///
    /// # Errors
    /// Whoever touches the page gets SIGBUS.
    fn read(
        &self,
        ms: &mut MaySleep,
        device: u64,
        slot: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError>;

    /// Stores `page` in the slot.
    ///
    /// # Errors
    /// The page stays in memory. After [`PagerError::Failed`] the device gets no new pages; after
    /// [`PagerError::Full`] others get them, and it is asked again when all pages have grown older.
    fn write(
        &self,
        ms: &mut MaySleep,
        device: u64,
        slot: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError>;

    /// What the slot holds, if anything, is not needed any more. Any context, any lock: it must
    /// neither sleep nor call the library.
    fn discard(&self, device: u64, slot: u64);
}

/// The devices of a platform without swap.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSwap;

impl SwapDevices for NoSwap {
    fn read(&self, _: &mut MaySleep, _: u64, _: u64, _: Page<'_>) -> Result<(), PagerError> {
        Err(PagerError::Failed)
    }

    fn write(&self, _: &mut MaySleep, _: u64, _: u64, _: Page<'_>) -> Result<(), PagerError> {
        Err(PagerError::Failed)
    }

    fn discard(&self, _: u64, _: u64) {}
}
