//! brk(2).

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::format::{Format, Rights};
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::sync::Ordering;
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
        let header = self.header();
        header.heap_lock.with(self.vm.platform(), || {
            let old = header.heap_break.load(Ordering::Relaxed);
            let start = header.heap_start.load(Ordering::Relaxed);
            if to < start || to == old || !self.move_break(ms, old, to) {
                return old;
            }
            header.heap_break.store(to, Ordering::Relaxed);
            to
        })
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
    /// assert_eq!(space.brk(&mut ms, 0x10_2000), space.heap_end());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn heap_end(&self) -> u64 {
        self.header().heap_break.load(Ordering::Relaxed)
    }

    fn move_break(&self, ms: &mut MaySleep, old: u64, new: u64) -> bool {
        let shift = P::Format::PAGE_SHIFT;
        let page_end = |at: u64| at.checked_add((1 << shift) - 1).map(|at| at >> shift);
        let (Some(old), Some(new)) = (page_end(old), page_end(new)) else { return false };
        if new < old {
            // Linux does not move the end over a heap that was unmapped.
            let mapped = {
                let guard = self.vm.walk(ms);
                walk::next_mapping(&guard, self.root(), new, old).is_some()
            };
            return mapped && self.unmap_range(ms, PageRange::new(new, old)).is_ok();
        }
        let range = PageRange::new(old, new);
        if range.is_empty() {
            return true;
        }
        if !self.user().contains(range)
            || range.len() > self.vm.total_frames()
            // Linux leaves a page free between the heap and what is above it.
            || !self.is_free(ms, PageRange::new(old, new + 1))
        {
            return false;
        }
        let attributes = Attributes::MAPPED | Attributes::of(Rights::READ | Rights::WRITE);
        let key = Key::anonymous(self.with_future_locks(attributes));
        self.map_range(ms, range, key, false).is_ok()
    }
}
