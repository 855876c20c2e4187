//! Devices turned on and off, and what is used of them.
//!
//! Guarantee: a device that was given no priority has one below all others, so the first one given
//! is filled first; such priorities are shown as Linux's, -2, -3 and so on, without gaps. Turning a device
//! off costs no process its life: it stops when somebody finds no memory meanwhile.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use vmspace::format::Format;
use vmspace::{Error, MaySleep, SwapUsage};

use super::name;
use crate::error::ProgramError;
use crate::kernel::Kernel;
use crate::task::Task;

/// What Linux shows of the first device that was given no priority.
const HIGHEST_UNASKED: i32 = -2;

/// The calls of swapoff that are under way.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    calls: AtomicU32,
    /// One of them is to stop.
    stop: AtomicBool,
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// Turns on all devices that were given.
    pub fn swap_on_all(&self, ms: &mut MaySleep) -> Result<(), ProgramError> {
        for number in self.swap.numbers() {
            self.swap_on(ms, number, None).map_err(|_| ProgramError::Swap(name(number)))?;
        }
        Ok(())
    }

    /// Turns on a device, with a priority from 0 if one is asked for.
    pub fn swap_on(
        &self,
        ms: &mut MaySleep,
        number: u64,
        priority: Option<i32>,
    ) -> Result<(), Error> {
        let slots = self.swap.slots(number).ok_or(Error::Invalid)?;
        // Two at once would find the same priority free.
        let _turning = self.swap.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let lowest = self.vm.swaps().map(|swap| swap.priority).fold(HIGHEST_UNASKED + 1, i32::min);
        self.vm.swap_on(ms, number, slots, priority.unwrap_or(lowest.saturating_sub(1)))
    }

    /// Turns a device off for a task, if there is room for what is on it, and no signal comes.
    pub fn swap_off(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        number: u64,
    ) -> Result<(), Error> {
        let Leaving { calls, stop } = &*self.swap.leaving;
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            stop.store(false, Ordering::SeqCst);
        }
        let result = self.vm.swap_off(ms, number, || match () {
            () if self.is_interrupted(task) => Err(Error::Interrupted),
            () if stop.swap(false, Ordering::SeqCst) => Err(Error::OutOfMemory),
            () => Ok(()),
        });
        calls.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Stops a call of swapoff, if there is one, for who finds no memory.
    pub fn stop_swap_off(&self) -> bool {
        let Leaving { calls, stop } = &*self.swap.leaving;
        let found = calls.load(Ordering::SeqCst) != 0;
        if found {
            stop.store(true, Ordering::SeqCst);
        }
        found
    }

    /// The devices that are on, with the priorities that Linux would show.
    pub fn swaps(&self) -> Vec<SwapUsage> {
        let mut all: Vec<SwapUsage> = self.vm.swaps().collect();
        let mut unasked: Vec<i32> =
            all.iter().map(|swap| swap.priority).filter(|priority| *priority < 0).collect();
        unasked.sort_by(|one, other| other.cmp(one));
        for swap in all.iter_mut().filter(|swap| swap.priority < 0) {
            let above = unasked.iter().position(|priority| *priority == swap.priority);
            swap.priority = HIGHEST_UNASKED - above.unwrap_or(0) as i32;
        }
        all
    }

    /// Pages that all devices together take, and how many of them are free.
    pub fn swap_room(&self) -> (u64, u64) {
        self.vm.swaps().fold((0, 0), |(total, free), swap| {
            (total + swap.slots, free + swap.slots.saturating_sub(swap.used))
        })
    }
}
