//! brk(2).
//!
//! Guarantee: one mover at a time, and the end is moved in the step that maps or unmaps. No lock is
//! held while memory is looked for, and none into a pager.

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Geometry, Rights};
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::sync::Ordering;
use crate::tree::locking::Cover;
use crate::tree::walk;

impl<P: Platform> Space<'_, P> {
    /// Where the heap begins (in bytes, page-aligned), when a program is loaded. The heap is empty.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// space.set_break(0x10_0000); // where the program's data end
    /// assert_eq!(space.brk(&mut ms, 0x10_1000), 0x10_1000);
    /// assert_eq!(space.brk(&mut ms, 0xf_0000), 0x10_1000); // not below it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_break(&self, base: u64) {
        self.header().heap_start.store(base, Ordering::Relaxed);
        self.header().heap_break.store(base, Ordering::Relaxed);
    }

    /// Moves the heap's end to `to`, in bytes; the heap's end afterwards, as Linux's brk(2)
    /// answers: unchanged when that cannot be.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    ///
    /// space.set_break(0x10_0000);
    /// assert_eq!(space.brk(&mut ms, 0), 0x10_0000); // asks
    /// assert_eq!(space.brk(&mut ms, 0x10_2000), 0x10_2000);
    /// assert_eq!(space.write(&mut ms, 0x10_1ff8, b"heap"), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn brk(&self, ms: &mut MaySleep, to: u64) -> u64 {
        match self.vm.reclaiming(ms, |ms| self.try_brk(ms, to)) {
            Ok(Moved::Down(freed)) => self.has_freed(ms, freed),
            Ok(Moved::Up(range, true)) => {
                let _ = self.bring_for_use(ms, range);
            }
            _ => {}
        }
        self.heap_end()
    }

    /// The heap's end, in bytes, without locks.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    ///
    /// space.set_break(0x10_0000);
    /// space.brk(&mut ms, 0x10_0123);
    /// assert_eq!(space.heap_end(), 0x10_0123);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn heap_end(&self) -> u64 {
        self.header().heap_break.load(Ordering::Relaxed)
    }

    /// One attempt. None: no memory.
    fn try_brk(&self, ms: &mut MaySleep, to: u64) -> Option<Moved> {
        let header = self.header();
        let held = header.heap_lock.acquire(self.vm.platform());
        let end = header.heap_break.load(Ordering::Relaxed);
        if to < header.heap_start.load(Ordering::Relaxed) || to == end {
            return Some(Moved::Not);
        }
        let page = |at: u64| at.div_ceil(<P::Format as Geometry>::PAGE_SIZE);
        let (old, new) = (page(end), page(to));
        let (cover, skip) = (Cover::Parent, Mutation::NoShootdownAtUnmap);
        let moved = |done: Result<(), Error>, how: Moved| {
            if done.is_err() {
                return Moved::Not;
            }
            header.heap_break.store(to, Ordering::Relaxed);
            how
        };
        if new < old {
            // Linux does not move the end over a heap that was unmapped.
            let freed = PageRange::new(new, old);
            if self.is_unmapped(ms, freed) {
                return Some(Moved::Not);
            }
            return self.edit_once(ms, freed, cover, skip, held, |cursor, _| {
                Some(moved(cursor.take_out(freed)?.map(drop), Moved::Down(freed)))
            });
        }
        let range = PageRange::new(old, new);
        if range.is_empty() {
            return Some(moved(Ok(()), Moved::Not));
        }
        // Linux leaves a page free between the heap and what is above it.
        let fits = self.user().contains(range) && !self.exceeds_memory(range.len());
        if !fits || !self.is_free(ms, PageRange::new(old, new + 1)) {
            return Some(Moved::Not);
        }
        let attributes = Attributes::MAPPED | Attributes::of(Rights::READ | Rights::WRITE);
        let key = Key::anonymous(attributes);
        let held = (held, self.room(ms));
        self.edit_once(ms, range, cover, skip, held, |cursor, (_, room)| {
            let put = self.put(cursor, range, key, false, room)?;
            Some(moved(put.map(drop), Moved::Up(range, put.is_ok_and(|put| put.locked))))
        })
    }

    fn is_unmapped(&self, ms: &mut MaySleep, range: PageRange) -> bool {
        let guard = self.vm.walk(ms);
        walk::next_mapping(&guard, self.root(), range.start, range.end).is_none()
    }
}

/// How the heap's end has moved.
enum Moved {
    /// By less than a page, or not at all.
    Not,
    /// These pages are free now.
    Down(PageRange),
    /// These pages are mapped now; whether they are locked.
    Up(PageRange, bool),
}
