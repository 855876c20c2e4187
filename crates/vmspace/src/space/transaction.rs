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
use crate::format::{Entry, Format, Leaf, Rights};
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
        let leaf = cursor.top();
        let result = body(&mut Transaction { cursor: &mut cursor, leaf });
        cursor.commit().release();
        result
    }
}

/// A locked range whose entries the caller changes. Addresses outside it are refused.
pub struct Transaction<'t, 'vm, 'c, P: Platform> {
    cursor: &'t mut Cursor<'vm, 'c, P>,
    /// The node that the last page was found in.
    leaf: Node<'vm, P>,
}

impl<'vm, P: Platform> Transaction<'_, 'vm, '_, P> {
    /// Lets the page at `address` name `frame`. What it named before goes through a shootdown.
    ///
    /// # Errors
    /// [`Error::BeyondUser`] outside the range; [`Error::NotMapped`] where the range was not
    /// reserved; [`Error::OutOfMemory`] for a missing table.
    pub fn set(&mut self, address: u64, frame: Frame, rights: Rights) -> Result<(), Error> {
        let page = self.page(address).ok_or(Error::BeyondUser)?;
        let node = self.leaf_for(page)?;
        let index = node.index(page);
        if !self.is_reserved(node, page) {
            return Err(Error::NotMapped);
        }
        let leaf = Leaf { frame, rights: rights | Rights::USER, accessed: false, dirty: false };
        let word = P::Format::leaf(0, leaf);
        match node.entry(index) {
            Entry::Leaf(old) => self.cursor.exchange_frame(node, index, old, word),
            _ => node.fill(index, word),
        }
        Ok(())
    }

    /// Changes what the page at `address` allows, if it is set; accessed and dirty stay.
    pub fn protect(&mut self, address: u64, rights: Rights) {
        if let Some((node, index)) = self.find(address) {
            self.cursor.change_entry(node, index, |_| rights | Rights::USER);
        }
    }

    /// Takes out the page at `address`; what it was, if it was set. Its dirty bit is final only
    /// when the transaction has ended.
    pub fn clear(&mut self, address: u64) -> Option<Leaf> {
        let (node, index) = self.find(address)?;
        let Entry::Leaf(leaf) = node.entry(index) else { return None };
        self.cursor.take_entry(node, index);
        node.lost(1);
        Some(leaf)
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
        let step = 1 << P::Format::PAGE_SHIFT;
        (0..pages).try_for_each(|n| self.set(address + n * step, first.add(n), rights))
    }

    /// [`Transaction::protect`] for a run of pages.
    pub fn protect_range(&mut self, address: u64, pages: u64, rights: Rights) {
        let range = self.part(address, pages);
        for node in self.cursor.nodes() {
            for index in occupied(node, range) {
                self.cursor.change_entry(node, index, |_| rights | Rights::USER);
            }
        }
    }

    /// [`Transaction::clear`] for a run of pages.
    pub fn clear_range(&mut self, address: u64, pages: u64) {
        let range = self.part(address, pages);
        self.cursor.clear(range);
    }

    fn page(&self, address: u64) -> Option<u64> {
        let page = address >> P::Format::PAGE_SHIFT;
        let range = self.cursor.range;
        (range.start <= page && page < range.end).then_some(page)
    }

    /// The part of a run of pages that lies in the range.
    fn part(&self, address: u64, pages: u64) -> PageRange {
        let page = address >> P::Format::PAGE_SHIFT;
        PageRange::new(page, page.saturating_add(pages)).intersect(self.cursor.range)
    }

    fn is_reserved(&self, node: Node<'vm, P>, page: u64) -> bool {
        node.piece(page).0.key.attributes.contains(Attributes::DEVICE)
    }

    fn find(&mut self, address: u64) -> Option<(Node<'vm, P>, usize)> {
        let page = self.page(address)?;
        if !self.in_leaf(page) {
            self.leaf = self.cursor.leaf(page)?;
        }
        Some((self.leaf, self.leaf.index(page)))
    }

    fn in_leaf(&self, page: u64) -> bool {
        self.leaf.level == 0 && self.leaf.range().contains(PageRange::new(page, page + 1))
    }

    /// The leaf table of `page`, made if it is missing.
    fn leaf_for(&mut self, page: u64) -> Result<Node<'vm, P>, Error> {
        if self.in_leaf(page) {
            return Ok(self.leaf);
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
        self.leaf = node;
        Ok(node)
    }
}

/// The leaf entries of `node` in `range`.
fn occupied<P: Platform>(
    node: Node<'_, P>,
    range: PageRange,
) -> impl Iterator<Item = usize> + use<'_, P> {
    let part = range.intersect(node.range());
    let slots = if part.is_empty() { 0..0 } else { node.slots(part) };
    let mut next = slots.start;
    core::iter::from_fn(move || {
        let index = node.next_occupied(next, slots.end)?;
        next = index + 1;
        Some(index)
    })
}
