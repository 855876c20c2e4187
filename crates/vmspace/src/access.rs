//! Memory of a space reached from outside: system calls, tracers.
//!
//! Guarantee: what is read is what the space maps at one instant for each page; a write is seen by
//! the space, marks the page dirty, and never reaches a page that a fork has meanwhile shared: it
//! is done under the leaf's lock.
//!
//! Reading takes no lock: under a guard, a reference by try-get; fence; the entry read again, and
//! everything from the start when it has changed (R24). The memory itself is reached by relaxed
//! atomic accesses, since user code may write it at any instant.

use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::fault::{Access, FaultError};
use crate::format::{Entry, Format, Geometry, Leaf};
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::rmap;
use crate::space::Space;
use crate::sync::user::{AtomicU8, AtomicU32};
use crate::sync::{Ordering, fence};
use crate::tree::cursor::Cursor;
use crate::tree::entries;
use crate::tree::gather::Gather;
use crate::tree::locking::Cover;
use crate::tree::node::Node;
use crate::tree::walk;
use crate::vm::Vm;

mod pin;

pub use pin::Pinned;

impl<P: Platform> Vm<P> {
    /// The bytes of a frame that user code may be writing.
    pub(crate) fn bytes(&self, frame: Frame) -> &[AtomicU8] {
        let bytes = <P::Format as Geometry>::PAGE_SIZE as usize;
        // SAFETY: the caller holds a reference to the page, or the lock of an entry that names it;
        // the bytes are reached as atomics by everybody.
        unsafe { core::slice::from_raw_parts(self.platform().frame_ptr(frame).cast(), bytes) }
    }

    /// Copies a page that user code may be reading to one that nobody else can reach.
    pub(crate) fn copy_frame(&self, from: Frame, to: Frame) {
        let words = (<P::Format as Geometry>::PAGE_SIZE / 8) as usize;
        let shift = self.page_shift();
        let from = self.words_at(from.0 << shift, words);
        let to = self.words_at(to.0 << shift, words);
        for (to, from) in to.iter().zip(from) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

fn load_bytes(from: &[AtomicU8], into: &mut [u8]) {
    for (byte, from) in into.iter_mut().zip(from) {
        *byte = from.load(Ordering::Relaxed);
    }
}

fn store_bytes(to: &[AtomicU8], from: &[u8]) {
    for (to, byte) in to.iter().zip(from) {
        to.store(*byte, Ordering::Relaxed);
    }
}

impl<'vm, P: Platform> Space<'vm, P> {
    /// Copies from the space, faulting pages in. The number of bytes before the first address that
    /// cannot be read.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let at = space.map(&mut ms, Map::anonymous(0x4000, rw))?; // four pages
    ///
    /// space.write(&mut ms, at + 0x3ffe, b"ab");
    /// let mut found = [0; 4];
    /// assert_eq!(space.read(&mut ms, at + 0x3ffe, &mut found), 2); // up to where it is not mapped
    /// assert_eq!(&found, b"ab\0\0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(&self, ms: &mut MaySleep, address: u64, into: &mut [u8]) -> usize {
        self.by_pages(address, into.len(), |address, offset, range| {
            self.reading(ms, address, |bytes| {
                load_bytes(&bytes[offset..], &mut into[range.clone()]);
            })
        })
    }

    /// Copies into the space, faulting pages in. The number of bytes before the first address that
    /// cannot be written.
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
    /// assert_eq!(space.write(&mut ms, at + 4090, b"too long"), 6); // up to where it is not mapped
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write(&self, ms: &mut MaySleep, address: u64, from: &[u8]) -> usize {
        self.by_pages(address, from.len(), |address, offset, range| {
            self.writing(ms, address, |bytes, _| {
                store_bytes(&bytes[offset..], &from[range.clone()]);
            })
        })
    }

    /// The 32-bit word at an aligned address. None: misaligned, or it cannot be read.
    pub fn load_u32(&self, ms: &mut MaySleep, address: u64) -> Option<u32> {
        let mut word = 0;
        let offset = self.word_offset(address)?;
        self.reading(ms, address, |bytes| word = word_at(bytes, offset).load(Ordering::Acquire))
            .ok()?;
        Some(word)
    }

    /// The same without a fault, so that nothing is waited for: for who holds a lock that others need.
    /// None also where the page is not there.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let at = space.map(&mut ms, Map::anonymous(0x4000, rw))?; // four pages
    ///
    /// assert_eq!(space.try_load_u32(&mut ms, at), None);
    /// assert_eq!(space.load_u32(&mut ms, at), Some(0)); // which brings the page
    /// assert_eq!(space.try_load_u32(&mut ms, at), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_load_u32(&self, ms: &mut MaySleep, address: u64) -> Option<u32> {
        let mut word = 0;
        let offset = self.word_offset(address)?;
        self.try_reading(ms, address, |bytes| {
            word = word_at(bytes, offset).load(Ordering::Acquire);
        })?
        .ok()?;
        Some(word)
    }

    /// Compare-exchange of the 32-bit word at an aligned address. None: misaligned, or it cannot be
    /// written.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let at = space.map(&mut ms, Map::anonymous(0x4000, rw))?; // four pages
    ///
    /// assert_eq!(space.compare_exchange_u32(&mut ms, at, 0, 7), Some(Ok(0)));
    /// assert_eq!(space.compare_exchange_u32(&mut ms, at, 0, 8), Some(Err(7)));
    /// assert_eq!(space.load_u32(&mut ms, at), Some(7));
    /// assert_eq!(space.load_u32(&mut ms, at + 2), None); // misaligned
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compare_exchange_u32(
        &self,
        ms: &mut MaySleep,
        address: u64,
        old: u32,
        new: u32,
    ) -> Option<Result<u32, u32>> {
        let mut result = Err(0);
        let offset = self.word_offset(address)?;
        self.writing(ms, address, |bytes, _| {
            let word = word_at(bytes, offset);
            result = word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
        })
        .ok()?;
        Some(result)
    }

    /// What tells one futex word from another: equal exactly for two names of one word. Shared
    /// memory is known by its object and place in it, private memory (a private mapping of a
    /// file too) by space and address. None:
    /// not mapped.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let at = space.map(&mut ms, Map::anonymous(0x4000, rw))?; // four pages
    ///
    /// let shared = space.map(&mut ms, Map::anonymous(0x1000, rw).shared())?;
    /// let child = space.fork(&mut ms)?;
    /// assert_eq!(space.futex_key(&mut ms, shared), child.futex_key(&mut ms, shared));
    /// assert_ne!(space.futex_key(&mut ms, at), child.futex_key(&mut ms, at));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn futex_key(&self, ms: &mut MaySleep, address: u64) -> Option<(u64, u64)> {
        let shift = P::Format::PAGE_SHIFT;
        let page = address >> shift;
        if page >= P::Format::USER_PAGES {
            return None;
        }
        let guard = self.vm.walk(ms);
        let key = walk::run(&guard, self.root(), page).key;
        match key.object {
            _ if key.is_private() => key.is_mapped().then_some((self.id().0, address)),
            object => {
                let offset = address & ((1 << shift) - 1);
                Some((object, page.wrapping_sub(key.origin) << shift | offset))
            }
        }
    }

    fn word_offset(&self, address: u64) -> Option<usize> {
        let offset = address & (<P::Format as Geometry>::PAGE_SIZE - 1);
        address.is_multiple_of(4).then_some(offset as usize)
    }

    /// Calls `each` with address, offset in the page and range of bytes, page by page, until one
    /// fails; the bytes done.
    fn by_pages(
        &self,
        address: u64,
        length: usize,
        mut each: impl FnMut(u64, usize, core::ops::Range<usize>) -> Result<(), FaultError>,
    ) -> usize {
        let page = <P::Format as Geometry>::PAGE_SIZE as usize;
        let mut done = 0;
        while done < length {
            let Some(at) = address.checked_add(done as u64) else { break };
            let offset = at as usize & (page - 1);
            let next = length.min(done + page - offset);
            if each(at, offset, done..next).is_err() {
                break;
            }
            done = next;
        }
        done
    }

    /// Runs `body` on the bytes of the page at `address`, held by a reference.
    fn reading(
        &self,
        ms: &mut MaySleep,
        address: u64,
        mut body: impl FnMut(&[AtomicU8]),
    ) -> Result<(), FaultError> {
        loop {
            if let Some(done) = self.try_reading(ms, address, &mut body) {
                return done;
            }
            self.fault(ms, address, Access::Read)?;
        }
    }

    /// The same if the page is there. None: it takes a fault.
    fn try_reading(
        &self,
        ms: &mut MaySleep,
        address: u64,
        body: impl FnOnce(&[AtomicU8]),
    ) -> Option<Result<(), FaultError>> {
        let page = address >> P::Format::PAGE_SHIFT;
        if page >= P::Format::USER_PAGES {
            return None;
        }
        let frame = self.try_hold(ms, page)?;
        // A device's memory is nothing that the platform lets the library reach.
        if self.vm.meta(frame).is_none() {
            return Some(Err(FaultError::NoPage));
        }
        body(self.vm.bytes(frame));
        if self.vm.mapped_meta(frame).is_some() {
            rmap::put_page(self.vm, frame);
        }
        Some(Ok(()))
    }

    /// A reference to the page that the entry names, if that can be read.
    fn try_hold(&self, ms: &mut MaySleep, page: u64) -> Option<Frame> {
        let guard = self.vm.walk(ms);
        let root = Node::at(guard.vm(), self.root(), P::Format::ROOT_LEVEL);
        loop {
            let found = walk::translate(root, page)?;
            if !Access::Read.allowed_by(found.rights) {
                return None;
            }
            let Some(meta) = self.vm.mapped_meta(found.frame) else { return Some(found.frame) };
            if !meta.refs.try_get() {
                continue;
            }
            // Pairs with the fence of who decides by the count after clearing the entry.
            fence(Ordering::SeqCst);
            if walk::translate(root, page).is_some_and(|again| again.frame == found.frame) {
                return Some(found.frame);
            }
            rmap::put_page(self.vm, found.frame);
        }
    }

    /// Runs `body` on the bytes of the page at `address`, its entry writable and marked dirty.
    fn writing(
        &self,
        ms: &mut MaySleep,
        address: u64,
        body: impl FnMut(&[AtomicU8], Frame),
    ) -> Result<(), FaultError> {
        self.under_lock(ms, address, Access::Write, body)
    }

    fn under_lock(
        &self,
        ms: &mut MaySleep,
        address: u64,
        access: Access,
        mut body: impl FnMut(&[AtomicU8], Frame),
    ) -> Result<(), FaultError> {
        let page = address >> P::Format::PAGE_SHIFT;
        loop {
            let done = self.with_entry(ms, page, access, |_, frame| {
                self.vm.meta(frame).ok_or(FaultError::NoPage)?;
                body(self.vm.bytes(frame), frame);
                Ok(())
            });
            if let Some(done) = done {
                return done;
            }
            self.fault(ms, address, access)?;
        }
    }

    /// Runs `body` on the node and the frame that `page` is found in, under the node's lock. None:
    /// the entry does not allow the access.
    fn with_entry<R>(
        &self,
        ms: &mut MaySleep,
        page: u64,
        access: Access,
        body: impl FnOnce(Node<'vm, P>, Frame) -> R,
    ) -> Option<R> {
        if page >= P::Format::USER_PAGES {
            return None;
        }
        let mut gather = Gather::default();
        let range = PageRange::new(page, page + 1);
        let skip = Mutation::NoShootdownAtCopy;
        let cursor = Cursor::lock(self.root_node(), ms, &mut gather, range, Cover::Lowest, skip);
        let found = touch(cursor.top(), page, access);
        let result = found.map(|(node, leaf)| {
            let within = page & (P::Format::slot_pages(node.level) - 1);
            body(node, leaf.frame.add(within))
        });
        cursor.commit().release();
        result
    }
}

/// Marks the entry of `page` accessed (and dirty), as the processor would, if it allows the access.
pub(crate) fn touch<P: Platform>(
    node: Node<'_, P>,
    page: u64,
    access: Access,
) -> Option<(Node<'_, P>, Leaf)> {
    let index = node.index(page);
    loop {
        let word = node.load(index);
        let Entry::Leaf(leaf) = P::Format::decode(node.level, word) else { return None };
        if !access.allowed_by(leaf.rights) {
            return None;
        }
        let touched = P::Format::touched(node.level, word, access == Access::Write);
        if entries::exchange(node.vm, node, index, word, touched).is_ok() {
            return Some((node, leaf));
        }
    }
}

fn word_at(bytes: &[AtomicU8], offset: usize) -> &AtomicU32 {
    let bytes = &bytes[offset..offset + 4];
    // SAFETY: four bytes of a page, aligned (the offset is a multiple of four), reached as atomics
    // by everybody.
    unsafe { &*bytes.as_ptr().cast() }
}
