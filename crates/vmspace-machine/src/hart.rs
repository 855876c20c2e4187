//! A hart on its host thread: registers, unit, and the step in and out.
//!
//! Guarantee: a hart is inside only within [`HartContext::inside`] and, for an instant, while it
//! loads a space; it comes out however the work ends, by a panic even. Everywhere else it is outside: its thread may call the
//! library, wait for locks and for other harts, or sleep, and nobody waits for it.

use crate::check::Violation;
use crate::mmu::{AddressSpace, Manager, Mmu};
use crate::platform::{Hardware, bind_cpu};
use crate::riscv::{Exit, Hart};
use crate::shootdown::{Port, door::Door};
use crate::statistics::HartCounts;
use std::marker::PhantomData;
use vmspace::{Frame, Platform, Space, SpaceId};

/// One hart. It belongs to the thread that made it.
pub struct HartContext<'m, V: Manager> {
    /// The interpreter: registers of the program that runs.
    pub hart: Hart<Mmu<'m, V>>,
    index: usize,
    hardware: &'m Hardware,
    mmu: Mmu<'m, V>,
    port: Taken<'m>,
    not_send: PhantomData<*mut ()>,
}

/// The claim on a hart's port; given back after the unit has dropped what it cached.
struct Taken<'m>(&'m Port);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// Being inside.
struct Inside<'m, T>(&'m Door<T>);

impl<'m, T> Inside<'m, T> {
    fn new(door: &'m Door<T>) -> Inside<'m, T> {
        door.go_inside();
        Inside(door)
    }
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        self.0.go_outside();
    }
}

impl<'m, V: Manager> HartContext<'m, V> {
    /// Hart `index`, on the calling thread, which is CPU `index` from now on. None when there is
    /// no such hart, or a thread has it already.
    pub fn new(manager: &'m V, index: usize) -> Option<HartContext<'m, V>> {
        let hardware = manager.hardware();
        if index >= hardware.shootdowns().harts() || !hardware.shootdowns().port(index).take() {
            return None;
        }
        bind_cpu(index);
        Some(HartContext {
            hart: Hart::new(),
            index,
            hardware,
            mmu: Mmu::new(manager, index),
            port: Taken(hardware.shootdowns().port(index)),
            not_send: PhantomData,
        })
    }

    /// Makes the calling thread this hart's CPU: for a thread that has several harts, before it does
    /// anything on behalf of this one.
    pub fn bind(&self) {
        bind_cpu(self.index);
    }

    /// Its number, which is its CPU's.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What it has counted.
    pub fn counts(&self) -> HartCounts {
        HartCounts { instructions: self.hart.retired(), ..self.mmu.counts() }
    }

    /// Switches to `space`. Flushes nothing, unless an identifier must be taken from another
    /// space; costs next to nothing when the space is loaded already.
    pub fn load(&mut self, space: &impl AddressSpace) {
        let _inside = Inside::new(&self.port.0.door);
        self.mmu.load(space);
    }

    /// Loads nothing, as an idle hart. What is cached stays.
    pub fn unload(&mut self) {
        self.mmu.unload();
    }

    /// The host has written code: the hart looks at its code again.
    pub fn code_changed(&mut self) {
        self.mmu.code_changed();
    }

    /// Goes inside for as long as `work` translates, and comes outside. Pointers that it was given
    /// end with its next answer, and with it.
    ///
    /// # Errors
    /// In checking mode, what was found. The run is over then: what the program has computed is not
    /// to be trusted.
    pub fn inside<R>(
        &mut self,
        work: impl FnOnce(&mut Hart<Mmu<'m, V>>, &mut Mmu<'m, V>) -> R,
    ) -> Result<R, Box<Violation>> {
        let inside = Inside::new(&self.port.0.door);
        self.mmu.answer();
        self.mmu.check_code();
        self.mmu.evict();
        let result = work(&mut self.hart, &mut self.mmu);
        drop(inside);
        self.hardware.published(self.index).publish(&self.counts());
        match self.mmu.take_violation() {
            Some(violation) => Err(violation),
            None => Ok(result),
        }
    }

    /// Runs about `quota` instructions at most.
    ///
    /// # Errors
    /// As [`HartContext::inside`].
    pub fn run(&mut self, quota: u64) -> Result<Exit, Box<Violation>> {
        let port = self.port.0;
        self.inside(|hart, mmu| if port.take_kick() { Exit::Pending } else { hart.run(mmu, quota) })
    }

    /// The same, ending with [`Exit::Quota`] before a load or store for which `accesses` leaves no
    /// room too: so between any two that the program makes. One that
    /// crosses into another page counts as two.
    ///
    /// # Errors
    /// As [`HartContext::inside`].
    pub fn run_to_access(&mut self, quota: u64, accesses: u64) -> Result<Exit, Box<Violation>> {
        self.mmu.begin_counting(accesses);
        let exit = self.run(quota);
        match self.mmu.end_counting() {
            true => exit.map(|_| Exit::Quota),
            false => exit,
        }
    }
}

impl<V: Manager> Drop for HartContext<'_, V> {
    fn drop(&mut self) {
        let _inside = Inside::new(&self.port.0.door);
        self.mmu.give_up();
    }
}

impl<P: Platform> AddressSpace for Space<'_, P> {
    fn id(&self) -> SpaceId {
        Space::id(self)
    }

    fn root(&self) -> Frame {
        Space::root(self)
    }

    fn enter(&self, hart: usize) {
        Space::enter(self, hart);
    }
}
