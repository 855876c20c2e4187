//! swapoff(2): everything is brought back from a device, and the device removed.
//!
//! Guarantee: when it returns, nothing names the device, and nothing will: no entry of a space, whether
//! it is being forked or ended meanwhile, no object of memory, no fault under way (R52).
//!
//! Protocol. From the first step on the area gets no pages. Who has a slot of it, then, has it from an
//! entry, an object or another slot's holder, and it can only become fewer. The spaces are visited in
//! the registry's order: a child comes after its parent, and a fork holds the parent's locks while it
//! copies its entries, so what it copied before the parent was visited is met in the child. Each
//! entry is brought back as a fault brings it. Then the objects. What is left then is held by somebody
//! for a while, or by a space that is ending: it is looked at again until nothing is left.

use super::area::{Area, LEAVING, Place};
use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::error::Error;
use crate::fault;
use crate::format::Geometry;
use crate::lock;
use crate::mutation::{self, Mutation};
use crate::object;
use crate::platform::Platform;
use crate::sync::{Ordering, fence};
use crate::tree::walk;
use crate::vm::Vm;

/// An area that is being emptied.
struct Leaving<'l> {
    number: u8,
    area: &'l Area,
    /// Asked before each page.
    go_on: &'l dyn Fn() -> Result<(), Error>,
}

impl<P: Platform> Vm<P> {
    /// Brings everything back from the platform's device `device`, and lets it go. See swapoff(2).
    /// `go_on` is asked before each page, in the middle of things: whether a signal is there, or
    /// somebody needs the memory more.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not in use; [`Error::InUse`] when somebody else is removing it;
    /// [`Error::OutOfMemory`] when there is no room for what is on it, [`Error::Pager`] when something
    /// cannot be read, and that of `go_on`: then the device stays in use, and nothing is lost.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// vm.swap_on(&mut ms, 1, 4096, 0)?;
    /// let space = Space::new(&vm, &mut ms)?;
    /// let at = space.map(&mut ms, Map::anonymous(4096, Rights::READ | Rights::WRITE))?;
    /// space.write(&mut ms, at, b"kept");
    /// space.advise(&mut ms, at, 4096, Advice::PageOut)?;
    /// assert_eq!((space.swapped(), vm.swaps().next().unwrap().used), (1, 1));
    /// vm.swap_off(&mut ms, 1, || Ok(()))?;
    /// assert_eq!((space.swapped(), vm.swaps().next()), (0, None));
    /// let mut bytes = [0; 4];
    /// space.read(&mut ms, at, &mut bytes);
    /// assert_eq!(&bytes, b"kept");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn swap_off(
        &self,
        ms: &mut MaySleep,
        device: u64,
        go_on: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        // What has ended needs no room.
        self.reap(ms);
        let (number, area, before) = self.close_area(device)?;
        let leaving = Leaving { number, area, go_on: &go_on };
        if let Err(error) = self.empty_area(ms, &leaving) {
            area.state.store(before, Ordering::Relaxed);
            return Err(error);
        }
        self.remove_area(ms, number);
        Ok(())
    }

    /// The device's area, which gets no more pages: its number, and what became of its slots before.
    /// It is the caller's to remove.
    fn close_area(&self, device: u64) -> Result<(u8, &Area, u32), Error> {
        let _changes = self.areas.changes.acquire(self.platform());
        let found = self.areas().find(|(_, area)| area.device() == device);
        let (number, area) = found.ok_or(Error::Invalid)?;
        let before = area.state.swap(LEAVING, Ordering::Relaxed);
        // Pairs with the fence of who takes a slot: he sees that the area goes, or it is seen counted.
        fence(Ordering::SeqCst);
        if before == LEAVING { Err(Error::InUse) } else { Ok((number, area, before)) }
    }

    /// Brings back what is on the area, and waits until nobody holds a slot of it.
    fn empty_area(&self, ms: &mut MaySleep, leaving: &Leaving<'_>) -> Result<(), Error> {
        while self.slots_used(leaving.area) != 0 {
            (leaving.go_on)()?;
            let mut result = Ok(());
            ms.visiting(|ms| {
                self.visit_spaces(|_, root| {
                    if result.is_ok() {
                        result = self.bring_back_space(ms, leaving, root);
                    }
                });
            });
            result?;
            self.bring_back_objects(ms, leaving)?;
            // Spaces and objects that have ended without a right to sleep hold slots too.
            self.reap(ms);
            self.platform().relax();
            if mutation::active(Mutation::OnePassAtSwapoff) {
                break;
            }
        }
        Ok(())
    }

    /// Brings back what entries of a space name, which the caller keeps from going.
    fn bring_back_space(
        &self,
        ms: &mut MaySleep,
        leaving: &Leaving<'_>,
        root: Frame,
    ) -> Result<(), Error> {
        // A fork that is filling it holds the lock.
        lock::wait(self.platform(), &self.meta_of(root).lock);
        let mut from = 0;
        while let Some(page) = self.next_on_area(ms, leaving.number, root, &mut from) {
            if lock::is_stale(&self.meta_of(root).lock) {
                break;
            }
            (leaving.go_on)()?;
            fault::bring_back(self, ms, root, page)?;
        }
        Ok(())
    }

    /// The first page at or after `from`, which moves on, whose entry names a slot of the area.
    fn next_on_area(
        &self,
        ms: &mut MaySleep,
        number: u8,
        root: Frame,
        from: &mut u64,
    ) -> Option<u64> {
        let mut found = None;
        while found.is_none() && *from < P::Format::USER_PAGES {
            let guard = self.walk(ms);
            let rest = PageRange::new(*from, P::Format::USER_PAGES);
            let end = walk::swapped(&guard, root, rest, |page, place| {
                if found.is_none() && place.area == number {
                    found = Some(page);
                }
            });
            *from = found.unwrap_or(end);
        }
        found
    }

    /// Brings back what objects of memory have on the area.
    fn bring_back_objects(&self, ms: &mut MaySleep, leaving: &Leaving<'_>) -> Result<(), Error> {
        for slot in 0..leaving.area.slots() {
            let place = Place { area: leaving.number, slot };
            let held = {
                let guard = self.walk(ms);
                let object = self.object_of_slot(&guard, place);
                object.filter(|object| object::try_get(&guard, *object))
            };
            if let Some(object) = held {
                let brought = object::bring_back(self, ms, object, leaving.number, leaving.go_on);
                object::put(self, ms, object, 1);
                brought?;
            }
        }
        Ok(())
    }

    /// Nothing names the area any more: it goes when readers that found it have left.
    fn remove_area(&self, ms: &mut MaySleep, number: u8) {
        let address = self.areas.changes.with(self.platform(), || {
            self.areas.count.fetch_sub(1, Ordering::Relaxed);
            self.areas.table[usize::from(number)].swap(0, Ordering::AcqRel)
        });
        self.synchronize(ms);
        self.free_area(address);
    }
}
