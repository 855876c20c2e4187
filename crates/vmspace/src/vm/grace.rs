//! Grace periods: guards, and memory that waits until every reader has left.
//!
//! Guarantee: what is retired is given back a grace period after it was unlinked, by whoever next
//! retires or runs short; retiring takes no memory and cannot fail. Each CPU has a stack of what it
//! retired, linked through the retirees' own metadata; what waits was taken off it together, with
//! one stamp.

use super::Vm;
use crate::addr::Frame;
use crate::backend::Backend;
use crate::context::MaySleep;
use crate::counters::{Event, PerCpu, Retired};
use crate::error::Error;
use crate::format::Format;
use crate::mutation::{self, Mutation};
use crate::platform::Platform;
use crate::rcu::Ticket;
use crate::sync::{AtomicU64, Ordering};
use core::marker::PhantomData;

/// Retirements on a CPU between two looks at the grace period.
const RETIRED_BATCH: u32 = 64;

/// How often an allocation that may sleep finds nothing to steal before it fails.
const RECLAIM_ROUNDS: u32 = 3;

/// How often it looks for memory at the most.
const PATIENCE: u32 = 256;

/// Something retired: a table (its frame's address and order) or a block (its address and size).
#[derive(Clone, Copy)]
struct Retiree(u64);

impl Retiree {
    /// The low bits, which alignment leaves free, hold log2 of a block's bytes, or of a table's
    /// pages.
    const SIZE_MASK: u64 = 31;
    /// log2 of the smallest block's bytes; less is a table's.
    const LEAST_BLOCK: u32 = 5;

    fn log2(self) -> u32 {
        (self.0 & Retiree::SIZE_MASK) as u32
    }

    fn is_table(self) -> bool {
        self.log2() < Retiree::LEAST_BLOCK
    }

    fn address(self) -> u64 {
        self.0 & !Retiree::SIZE_MASK
    }
}

impl<P: Platform> Vm<P> {
    /// Enters a section in which tables, layouts and objects found stay what they are. It takes
    /// the right to sleep away for as long as it lives.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// let guard = vm.walk(&mut ms);
    /// assert!(space.translate(&guard, 0x1000).is_none());
    /// drop(guard); // `ms` can be used again
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn walk<'g>(&'g self, _: &'g mut MaySleep) -> Guard<'g, P> {
        self.enter()
    }

    /// The same for contexts that cannot sleep anyway.
    ///
    /// # Safety
    /// The caller does nothing that sleeps, and takes no lock of the library, while the guard lives.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let at = space.map(&mut ms, Map::anonymous(4096, rw))?;
    /// space.fault(&mut ms, at, Access::Write).expect("it is mapped");
    /// // In an interrupt handler, which has no right to sleep:
    /// // SAFETY: nothing sleeps while the guard lives.
    /// let guard = unsafe { vm.walk_atomic() };
    /// assert!(space.translate(&guard, at).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub unsafe fn walk_atomic(&self) -> Guard<'_, P> {
        self.enter()
    }

    #[inline]
    pub(crate) fn enter(&self) -> Guard<'_, P> {
        let block = self.running();
        Guard { vm: self, block, ticket: self.epoch.enter(&block.readers), not_send: PhantomData }
    }

    /// A table of `1 << order` pages that was unlinked and flushed everywhere.
    pub(crate) fn retire_table(&self, table: Frame, order: u32) {
        debug_assert!(order < Retiree::LEAST_BLOCK);
        self.retire(Retiree(table.0 << P::Format::PAGE_SHIFT | u64::from(order)));
    }

    /// A block that was unlinked. Its first word becomes the retirement's: readers must not need it.
    pub(crate) fn retire_block(&self, address: u64, log2: u32) {
        self.retire(Retiree(address | u64::from(log2)));
    }

    fn link_of(&self, retiree: Retiree) -> &AtomicU64 {
        if retiree.is_table() {
            let frame = Frame(retiree.address() >> P::Format::PAGE_SHIFT);
            &self.meta_of(frame).link
        } else {
            &self.words_at(retiree.address(), 1)[0]
        }
    }

    fn retire(&self, retiree: Retiree) {
        if mutation::active(Mutation::NoGracePeriod) {
            return self.free_retired(retiree);
        }
        let retired = &self.running().retired;
        let link = self.link_of(retiree);
        let mut head = retired.incoming.load(Ordering::Relaxed);
        loop {
            link.store(head, Ordering::Relaxed);
            // Release: the link, and the unlinking before it, for whoever takes the stack.
            match retired.incoming.compare_exchange_weak(
                head,
                retiree.0,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(found) => head = found,
            }
        }
        if retired.fresh.fetch_add(1, Ordering::Relaxed) + 1 >= RETIRED_BATCH {
            retired.fresh.store(0, Ordering::Relaxed);
            self.move_on(retired);
        }
    }

    /// Frees what is due of a CPU's retired, and starts the clock for what has come since.
    fn move_on(&self, retired: &Retired) {
        if retired.busy.swap(1, Ordering::Acquire) != 0 {
            return;
        }
        let _ = self.epoch.try_advance(self.blocks().map(|block| &block.readers));
        let waiting = retired.waiting.load(Ordering::Relaxed);
        let mut due = 0;
        if waiting == 0 || self.epoch.is_past(retired.stamp.load(Ordering::Relaxed)) {
            due = waiting;
            // Acquire: pairs with the pushes.
            let incoming = retired.incoming.swap(0, Ordering::Acquire);
            retired.waiting.store(incoming, Ordering::Relaxed);
            retired.stamp.store(self.epoch.stamp(), Ordering::Relaxed);
        }
        // Release: pairs with the Acquire of the next holder.
        retired.busy.store(0, Ordering::Release);
        while due != 0 {
            let retiree = Retiree(due);
            due = self.link_of(retiree).load(Ordering::Relaxed);
            self.free_retired(retiree);
        }
    }

    fn free_retired(&self, retiree: Retiree) {
        if retiree.is_table() {
            let table = Frame(retiree.address() >> P::Format::PAGE_SHIFT);
            self.backend().release_table(table);
            self.count(Event::TableFreed, 1);
            self.give_table(table, retiree.log2());
        } else {
            self.give_block(retiree.address(), retiree.log2());
        }
    }

    /// Ends the spaces that were dropped, and waits for grace periods until all that had been
    /// retired before is free again.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    ///
    /// let frames = vm.free_frames();
    /// let space = Space::new(&vm, &mut ms)?;
    /// let rights = Rights::READ | Rights::WRITE;
    /// let at = space.map(&mut ms, Map::anonymous(1 << 20, rights))?;
    /// space.fault(&mut ms, at, Access::Write).expect("it is mapped");
    /// space.exit(&mut ms);
    /// // Its tables wait for readers that might still be inside.
    /// vm.synchronize(&mut ms);
    /// assert_eq!(vm.free_frames(), frames);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cold]
    pub fn synchronize(&self, ms: &mut MaySleep) {
        self.reap(ms);
        // The first period ends the waiting of what waits and starts that of what came since.
        for _ in 0..2 {
            let stamp = self.epoch.stamp();
            while !self.epoch.is_past(stamp) {
                if !self.epoch.try_advance(self.blocks().map(|block| &block.readers)) {
                    self.platform.relax();
                }
            }
            for block in self.blocks() {
                self.move_on(&block.retired);
            }
        }
        self.slab.trim(self);
    }

    /// Tries `allocate` until it succeeds, stealing pages, then waiting for what was dropped or
    /// retired, in between. A pager or a device that asks while it is called for somebody gets what
    /// can be had without calling others.
    #[inline]
    pub(crate) fn reclaiming<T>(
        &self,
        ms: &mut MaySleep,
        mut allocate: impl FnMut(&mut MaySleep) -> Option<T>,
    ) -> Result<T, Error> {
        // One call alone, so that it is inlined where it matters.
        let mut patience = PATIENCE;
        loop {
            if let Some(found) = allocate(ms) {
                return Ok(found);
            }
            if !self.look_for_memory(ms, &mut patience) {
                return Err(Error::OutOfMemory);
            }
        }
    }

    /// Whether it is worth while to try again.
    #[cold]
    fn look_for_memory(&self, ms: &mut MaySleep, patience: &mut u32) -> bool {
        // One stall for who asks, however often he looks.
        self.count(Event::Stall, u64::from(*patience == PATIENCE));
        let found = self.make_room(ms);
        let cost = if found.stolen != 0 {
            // What was stolen may have been somebody else's gain, or not lie together.
            1
        } else {
            self.synchronize(ms);
            match found.busy {
                Some(busy) => {
                    self.let_go_on(ms, busy);
                    PATIENCE / 32
                }
                None => PATIENCE / RECLAIM_ROUNDS,
            }
        };
        let left = patience.checked_sub(cost);
        *patience = left.unwrap_or(0);
        left.is_some()
    }
}

/// A read-side section: tables, layouts and objects reached under it are not reused.
pub struct Guard<'g, P: Platform> {
    vm: &'g Vm<P>,
    block: &'g PerCpu,
    ticket: Ticket,
    not_send: PhantomData<*mut ()>,
}

impl<'g, P: Platform> Guard<'g, P> {
    /// The manager that the guard belongs to.
    pub fn vm(&self) -> &'g Vm<P> {
        self.vm
    }
}

impl<P: Platform> Drop for Guard<'_, P> {
    #[inline]
    fn drop(&mut self) {
        self.block.readers.exit(self.ticket);
    }
}
