//! Entries one by one: what a hypervisor or an emulator does to a guest's tables.
//!
//! Guarantee: what a transaction does to its range is seen by nobody's operation half done; when
//! [`Space::transaction`] returns, every CPU has dropped what was taken away. While it runs, the
//! caller's right to sleep is away: nothing that may sleep can be called.
//!
//! It works on ranges reserved with [`Space::reserve`], whose frames are not the manager's.

use super::Space;
use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry, Leaf, Rights};
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::tree::cursor::Cursor;
use crate::tree::gather::Gather;
use crate::tree::locking::{self, Cover};
use crate::tree::node::Node;

impl<'vm, P: Platform> Space<'vm, P> {
    /// Makes `length` bytes at `address` a mapping of frames that are not the manager's, with
    /// nothing in it yet, over what is there.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::Misaligned`], [`Error::BeyondUser`], [`Error::OutOfMemory`].
    pub fn reserve(
        &self,
        ms: &mut MaySleep,
        address: u64,
        length: u64,
        rights: Rights,
    ) -> Result<(), Error> {
        let range = self.pages(address, length)?;
        if range.is_empty() {
            return Err(Error::Empty);
        }
        let attributes = Attributes::MAPPED | Attributes::SHARED | Attributes::DEVICE;
        self.map_range(ms, range, Key::anonymous(attributes | Attributes::of(rights)), true)
    }

    /// Locks `length` bytes from `address` on and runs `body` on them; then shoots down what it
    /// took away, with the locks held, and releases them.
    ///
    /// ```
    /// # #[path = "../../tests/host/mod.rs"] mod host;
    /// # use vmspace::{MaySleep, Space, Frame, format::{Rights, Sv48}};
    /// # let vm = host::Host::<Sv48>::new(1024, 1).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// let guest = Space::new(&vm, &mut ms)?;
    /// let rights = Rights::READ | Rights::WRITE;
    /// guest.reserve(&mut ms, 0x10_0000, 0x4000, rights)?;
    /// guest.transaction(&mut ms, 0x10_0000, 0x4000, |range| {
    ///     range.set(0x10_1000, Frame(1 << 30), rights)?;
    ///     range.protect(0x10_1000, Rights::READ);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), vmspace::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::Misaligned`], [`Error::BeyondUser`], and what `body` answers.
    pub fn transaction<R>(
        &self,
        ms: &mut MaySleep,
        address: u64,
        length: u64,
        body: impl FnOnce(&mut Transaction<'_, 'vm, '_, P>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let range = self.pages(address, length)?;
        if range.is_empty() {
            return Err(Error::Empty);
        }
        let mut gather = Gather::default();
        let skip = Mutation::NoShootdownAtUnmap;
        let mut cursor =
            Cursor::lock(self.root_node(), ms, &mut gather, range, Cover::Lowest, skip);
        let (leaf, known) = (cursor.top(), PageRange::new(0, 0));
        let result = body(&mut Transaction { cursor: &mut cursor, leaf, known });
        cursor.commit().release();
        result
    }
}

/// A locked range whose entries the caller changes. Addresses outside it are refused.
pub struct Transaction<'t, 'vm, 'c, P: Platform> {
    cursor: &'t mut Cursor<'vm, 'c, P>,
    /// The leaf table of the last page.
    leaf: Node<'vm, P>,
    /// Pages of it that are in the range and reserved: none when the last page is not reserved.
    known: PageRange,
}

impl<'vm, P: Platform> Transaction<'_, 'vm, '_, P> {
    /// Lets the page at `address` name `frame`. What it named before goes through a shootdown.
    ///
    /// # Errors
    /// [`Error::BeyondUser`] outside the range; [`Error::NotMapped`] where the range was not
    /// reserved; [`Error::OutOfMemory`] for a missing table.
    #[inline]
    pub fn set(&mut self, address: u64, frame: Frame, rights: Rights) -> Result<(), Error> {
        let page = address >> P::Format::PAGE_SHIFT;
        if !self.known.holds(page) {
            self.learn(page)?;
        }
        self.put(page, frame, rights);
        Ok(())
    }

    /// Changes what the page at `address` allows, if it is set; accessed and dirty stay.
    #[inline]
    pub fn protect(&mut self, address: u64, rights: Rights) {
        if let Some((node, index)) = self.find(address) {
            self.cursor.change_entry(node, index, |_| rights | Rights::USER);
        }
    }

    /// Takes out the page at `address`; what it was, if it was set. Its dirty bit is final only
    /// when the transaction has ended.
    #[inline]
    pub fn clear(&mut self, address: u64) -> Option<Leaf> {
        let (node, index) = self.find(address)?;
        node.leaf(index)?;
        let taken = self.cursor.take_entry(node, index)?;
        node.lost(1);
        Some(taken)
    }

    /// [`Transaction::set`] for a run of pages and frames.
    ///
    /// # Errors
    /// As there; the pages before the error are set.
    pub fn set_range(
        &mut self,
        address: u64,
        pages: u64,
        first: Frame,
        rights: Rights,
    ) -> Result<(), Error> {
        let start = address >> P::Format::PAGE_SHIFT;
        let end = start.saturating_add(pages);
        let mut page = start;
        while page < end {
            self.learn(page)?;
            let part = page..end.min(self.known.end);
            page = part.end;
            part.for_each(|page| self.put(page, first.add(page - start), rights));
        }
        Ok(())
    }

    /// [`Transaction::protect`] for a run of pages.
    pub fn protect_range(&mut self, address: u64, pages: u64, rights: Rights) {
        let range = self.part(address, pages);
        for node in self.cursor.nodes() {
            for index in node.occupied(node.slots(range)) {
                self.cursor.change_entry(node, index, |_| rights | Rights::USER);
            }
        }
    }

    /// [`Transaction::clear`] for a run of pages.
    pub fn clear_range(&mut self, address: u64, pages: u64) {
        let range = self.part(address, pages);
        self.cursor.clear(range);
    }

    /// The part of a run of pages that lies in the range.
    fn part(&self, address: u64, pages: u64) -> PageRange {
        let page = address >> P::Format::PAGE_SHIFT;
        PageRange::new(page, page.saturating_add(pages)).intersect(self.cursor.range)
    }

    /// Lets a known page name `frame`.
    #[inline(always)]
    fn put(&mut self, page: u64, frame: Frame, rights: Rights) {
        let (node, index) = (self.leaf, P::Format::index(0, page));
        let leaf = Leaf { frame, rights: rights | Rights::USER, accessed: false, dirty: false };
        let word = P::Format::leaf(0, leaf);
        match node.leaf(index) {
            Some(old) => self.cursor.exchange_frame(node, index, old, word),
            None => node.fill(index, word),
        }
    }

    /// The slot of a page in the range, if its leaf table exists.
    #[inline]
    fn find(&mut self, address: u64) -> Option<(Node<'vm, P>, usize)> {
        let page = address >> P::Format::PAGE_SHIFT;
        if !self.known.holds(page) {
            if !self.cursor.range.holds(page) {
                return None;
            }
            let leaf = self.cursor.leaf(page)?;
            self.enter(leaf, page);
        }
        Some((self.leaf, P::Format::index(0, page)))
    }

    /// Makes `page` known, with the tables that are missing.
    fn learn(&mut self, page: u64) -> Result<(), Error> {
        if !self.cursor.range.holds(page) {
            return Err(Error::BeyondUser);
        }
        let mut node = self.cursor.top();
        while node.level > 0 {
            let index = node.index(page);
            node = match node.child(index) {
                Some(child) => child,
                None => {
                    let child = locking::push_down(node, index).ok_or(Error::OutOfMemory)?;
                    self.cursor.adopt(child);
                    child
                }
            };
        }
        self.enter(node, page);
        if self.known.holds(page) { Ok(()) } else { Err(Error::NotMapped) }
    }

    /// Goes on in the leaf table of `page`; the pages around that one are known if it is reserved.
    fn enter(&mut self, leaf: Node<'vm, P>, page: u64) {
        let (piece, end) = leaf.piece(page);
        let reserved = piece.key.attributes.contains(Attributes::DEVICE);
        let end = if reserved { end } else { piece.start };
        let pages = PageRange::new(piece.start, end);
        (self.leaf, self.known) =
            (leaf, pages.intersect(leaf.range()).intersect(self.cursor.range));
    }
}
