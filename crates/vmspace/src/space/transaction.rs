//! Entries one by one: what a hypervisor or an emulator does to a guest's tables.
//!
//! Guarantee: what a transaction does to its range is seen by nobody's operation half done; when
//! [`Space::transaction`] returns, every CPU has dropped what was taken away. While it runs, the
//! caller's right to sleep is away: nothing that may sleep can be called.
//!
//! It works on ranges reserved with [`Space::reserve`], whose frames are not the manager's.

use super::{Space, is_device};
use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry, Leaf, Rights};
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::tree::cursor::Cursor;
use crate::tree::gather::Gather;
use crate::tree::locking::Cover;
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
    /// took away, with the locks held, and releases them. `body` waits for nobody: others who need
    /// memory may wait for the locks.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{MaySleep, Space, Frame, format::{Rights, Sv48}};
    /// # let vm = host::Host::<Sv48>::new(1024, 1).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// let guest = Space::new(&vm, &mut ms)?;
    /// let rights = Rights::READ | Rights::WRITE;
    /// guest.reserve(&mut ms, 0x10_0000, 0x4000, rights)?;
    /// guest.transaction(&mut ms, 0x10_0000, 0x4000, |range| {
    ///     range.set(0x10_1000, Frame(1 << 30), rights)?;
    ///     range.protect(0x10_1000, Rights::READ)?;
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
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// # let space = Space::new(&vm, &mut ms)?;
/// # let rw = Rights::READ | Rights::WRITE;
///
/// space.reserve(&mut ms, 0x10_0000, 0x4000, rw)?;
/// let frames = Frame(1 << 20); // a device's
/// let taken = space.transaction(&mut ms, 0x10_0000, 0x4000, |range| {
///     range.set_range(0x10_0000, 4, frames, rw)?;
///     range.protect_range(0x10_0000, 2, Rights::READ)?;
///     range.clear(0x10_3000)
/// })?;
/// assert_eq!(taken.map(|leaf| leaf.frame), Some(frames.add(3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// reserved; [`Error::Invalid`] for a frame of the manager's, or one that no entry can name;
    /// [`Error::OutOfMemory`] for a missing table.
    #[inline(always)]
    pub fn set(&mut self, address: u64, frame: Frame, rights: Rights) -> Result<(), Error> {
        if !self.cursor.vm.is_foreign(frame, 1) {
            return Err(Error::Invalid);
        }
        let page = address >> P::Format::PAGE_SHIFT;
        if !self.known.holds(page) {
            self.learn(page)?;
        }
        self.put(page, frame, rights);
        Ok(())
    }

    /// Changes what the page at `address` allows, if it is set; accessed and dirty stay.
    ///
    /// # Errors
    /// As [`Transaction::set`].
    #[inline(always)]
    pub fn protect(&mut self, address: u64, rights: Rights) -> Result<(), Error> {
        if let Some((node, index)) = self.find(address)? {
            self.cursor.change_entry(node, index, |_| rights | Rights::USER);
        }
        Ok(())
    }

    /// Takes out the page at `address`; what it was, if it was set. Its dirty bit is final only
    /// when the transaction has ended.
    ///
    /// # Errors
    /// As [`Transaction::set`].
    #[inline(always)]
    pub fn clear(&mut self, address: u64) -> Result<Option<Leaf>, Error> {
        let Some((node, index)) = self.find(address)? else { return Ok(None) };
        // Nothing but leaves stands in a reserved range.
        let taken = self.cursor.take_entry(node, index);
        if taken.is_some() {
            node.lost(1);
        }
        Ok(taken)
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
        if !self.cursor.vm.is_foreign(first, pages) {
            return Err(Error::Invalid);
        }
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
    ///
    /// # Errors
    /// As there; then nothing has changed.
    pub fn protect_range(&mut self, address: u64, pages: u64, rights: Rights) -> Result<(), Error> {
        let range = self.reserved(address, pages)?;
        for node in self.cursor.nodes() {
            for index in node.occupied(node.slots(range)) {
                self.cursor.change_entry(node, index, |_| rights | Rights::USER);
            }
        }
        Ok(())
    }

    /// [`Transaction::clear`] for a run of pages.
    ///
    /// # Errors
    /// As there; then nothing has changed.
    pub fn clear_range(&mut self, address: u64, pages: u64) -> Result<(), Error> {
        let range = self.reserved(address, pages)?;
        self.cursor.clear(range);
        Ok(())
    }

    /// A run of pages, all in the range and reserved, that ends inside no large leaf.
    fn reserved(&mut self, address: u64, pages: u64) -> Result<PageRange, Error> {
        let page = address >> P::Format::PAGE_SHIFT;
        let run = PageRange::new(page, page.saturating_add(pages));
        if !self.cursor.range.contains(run) {
            return Err(Error::BeyondUser);
        }
        if self.cursor.find(run, |key| !is_device(key)).is_some() {
            return Err(Error::NotMapped);
        }
        self.cursor.split_bounds(run).ok_or(Error::OutOfMemory)?;
        Ok(run)
    }

    /// Lets a known page name `frame`.
    #[inline(always)]
    fn put(&mut self, page: u64, frame: Frame, rights: Rights) {
        let (node, index) = (self.leaf.as_leaf_table(), P::Format::index(0, page));
        let leaf = Leaf { frame, rights: rights | Rights::USER, accessed: false, dirty: false };
        let word = P::Format::leaf(0, leaf);
        match node.leaf(index) {
            Some(old) => self.cursor.exchange_frame(node, index, old, word),
            None => node.fill(index, word),
        }
    }

    /// The slot of a page in the range, if its leaf table exists, or is made from a large leaf.
    #[inline(always)]
    fn find(&mut self, address: u64) -> Result<Option<(Node<'vm, P>, usize)>, Error> {
        let page = address >> P::Format::PAGE_SHIFT;
        if !self.known.holds(page) && !self.learn_if_set(page)? {
            return Ok(None);
        }
        Ok(Some((self.leaf.as_leaf_table(), P::Format::index(0, page))))
    }

    /// Makes `page` known if it may be set.
    #[cold]
    fn learn_if_set(&mut self, page: u64) -> Result<bool, Error> {
        let lowest = self.cursor.top().descend(page, 0);
        let set = self.cursor.range.holds(page) && lowest.leaf(lowest.index(page)).is_some();
        let may_be = lowest.level == 0 || set;
        if may_be {
            self.learn(page)?;
        }
        Ok(may_be)
    }

    /// Makes `page` known, with the tables that are missing.
    #[cold]
    fn learn(&mut self, page: u64) -> Result<(), Error> {
        if !self.cursor.range.holds(page) {
            return Err(Error::BeyondUser);
        }
        let mut node = self.cursor.top();
        while node.level > 0 {
            node = self.cursor.make_child(node, node.index(page)).ok_or(Error::OutOfMemory)?;
        }
        self.enter(node, page);
        if self.known.holds(page) { Ok(()) } else { Err(Error::NotMapped) }
    }

    /// Goes on in the leaf table of `page`; the pages around that one are known if it is reserved.
    fn enter(&mut self, leaf: Node<'vm, P>, page: u64) {
        let (piece, end) = leaf.piece(page);
        let reserved = is_device(piece.key);
        let end = if reserved { end } else { piece.start };
        let pages = PageRange::new(piece.start, end);
        (self.leaf, self.known) =
            (leaf, pages.intersect(leaf.range()).intersect(self.cursor.range));
    }
}
