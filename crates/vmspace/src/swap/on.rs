//! swapon(2): a device is added.
//!
//! Guarantee: an area that others can see has all the memory that it will ever need.

use super::area::{AREA_LOG2, Area, MOST_AREAS, OPEN};
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::Format;
use crate::platform::Platform;
use crate::sync::{AtomicU64, Ordering};
use crate::vm::Vm;
use arrayvec::ArrayVec;

/// A swap device that is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwapUsage {
    /// The platform's number of it.
    pub device: u64,
    /// How many pages it can hold.
    pub slots: u64,
    /// How many of them hold something.
    pub used: u64,
    /// Those of a higher priority are filled first.
    pub priority: i32,
}

impl<P: Platform> Vm<P> {
    /// Lets pages be swapped to the platform's device `device` (not 0), which has room for `slots`
    /// of them. Devices of a higher priority are filled first, equal ones in turn. See swapon(2). The
    /// words for its slots, eight bytes each, are taken now: swapping takes no memory.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no slots; [`Error::InUse`]; [`Error::TooManyDevices`];
    /// [`Error::OutOfMemory`].
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// vm.swap_on(&mut ms, 7, 4096, 0)?;
    /// let used: Vec<SwapUsage> = vm.swaps().collect();
    /// assert_eq!(used, [SwapUsage { device: 7, slots: 4096, used: 0, priority: 0 }]);
    /// assert_eq!(vm.swap_on(&mut ms, 7, 4096, 0), Err(Error::InUse));
    /// vm.swap_off(&mut ms, 7, || Ok(()))?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn swap_on(
        &self,
        ms: &mut MaySleep,
        device: u64,
        slots: u64,
        priority: i32,
    ) -> Result<(), Error> {
        if device == 0 || slots == 0 {
            return Err(Error::Invalid);
        }
        // What entries cannot name is left unused.
        let slots = slots.min(P::Format::SWAP.slots());
        self.place_for_area(device)?;
        let address = self.make_area(ms, device, slots, priority)?;
        let put = self.areas.changes.with(self.platform(), || {
            // Release: the area is whole.
            self.place_for_area(device)?.store(address, Ordering::Release);
            self.areas.count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        if put.is_err() {
            self.free_area(address);
        }
        put
    }

    /// Where an area of the device can be put, if it is not in use; for good under the lock of changes.
    fn place_for_area(&self, device: u64) -> Result<&AtomicU64, Error> {
        let _guard = self.enter();
        if self.areas().any(|(_, area)| area.device() == device) {
            return Err(Error::InUse);
        }
        let numbers = &self.areas.table[..usize::from(P::Format::SWAP.devices())];
        let free = numbers.iter().find(|entry| entry.load(Ordering::Relaxed) == 0);
        free.ok_or(Error::TooManyDevices)
    }

    /// Gives back the memory of an area that nobody can reach.
    pub(super) fn free_area(&self, address: u64) {
        let area = self.area_at(address);
        self.free_words_of(area.directory.load(Ordering::Relaxed), area.slots());
        self.give_block(address, AREA_LOG2);
    }

    fn make_area(
        &self,
        ms: &mut MaySleep,
        device: u64,
        slots: u64,
        priority: i32,
    ) -> Result<u64, Error> {
        let directory = self.reclaiming(ms, |_| self.make_words(slots))?;
        let Ok(address) = self.reclaiming(ms, |_| self.take_block(AREA_LOG2)) else {
            self.free_words_of(directory, slots);
            return Err(Error::OutOfMemory);
        };
        let area: &Area = self.area_at(address);
        area.device.store(device, Ordering::Relaxed);
        area.slots.store(slots, Ordering::Relaxed);
        area.priority.store(priority.cast_unsigned(), Ordering::Relaxed);
        area.state.store(OPEN, Ordering::Relaxed);
        area.cursor.store(0, Ordering::Relaxed);
        area.directory.store(directory, Ordering::Relaxed);
        area.expect_nobody();
        Ok(address)
    }

    /// The swap devices in use.
    pub fn swaps(&self) -> impl Iterator<Item = SwapUsage> + use<P> {
        // What is found is there until the guard goes.
        let _guard = self.enter();
        let usage = |(_, area): (u8, &Area)| SwapUsage {
            device: area.device(),
            slots: area.slots(),
            used: self.slots_used(area),
            priority: area.priority(),
        };
        self.areas().map(usage).collect::<ArrayVec<_, MOST_AREAS>>().into_iter()
    }
}
