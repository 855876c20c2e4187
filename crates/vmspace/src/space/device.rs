//! Mapping frames that the manager does not own: devices, a guest's memory.

use super::{Space, is_device};
use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry, Leaf, Rights};
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::tree::cursor::Cursor;
use crate::tree::locking::Cover;
use crate::tree::node::Node;

impl<P: Platform> Space<'_, P> {
    /// Maps `length` bytes at `address` to the contiguous frames from `first` on, over what is
    /// there, with the largest leaves that alignment and format allow. The frames are not counted
    /// and must not be the manager's free ones.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::Misaligned`], [`Error::BeyondUser`]; [`Error::Invalid`] for frames
    /// of the manager's, or beyond what an entry can name; [`Error::OutOfMemory`] (the range is then
    /// a hole); [`Error::NotMapped`] when somebody else maps there at the same time.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    ///
    /// // Frames that are not the manager's; 2 MiB of them become one large leaf.
    /// let rights = Rights::READ | Rights::WRITE;
    /// space.map_device(&mut ms, 1 << 30, 2 << 20, Frame(1 << 20), rights)?;
    /// let found = space.translate(&vm.walk(&mut ms), (1 << 30) + 4096).unwrap();
    /// assert_eq!((found.frame, found.level), (Frame((1 << 20) + 1), 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_device(
        &self,
        ms: &mut MaySleep,
        address: u64,
        length: u64,
        first: Frame,
        rights: Rights,
    ) -> Result<(), Error> {
        let range = self.pages(address, length)?;
        if !self.vm.is_foreign(first, range.len()) {
            return Err(Error::Invalid);
        }
        self.reserve(ms, address, length, rights)?;
        let leaf =
            Leaf { frame: first, rights: rights | Rights::USER, accessed: true, dirty: true };
        let filled = self.edit(ms, range, Cover::Lowest, Mutation::NoShootdownAtUnmap, |cursor| {
            if cursor.find(range, |key| !is_device(key)).is_some() {
                return Some(Err(Error::NotMapped));
            }
            fill(cursor, cursor.top(), range, range.start, leaf).map(Ok)
        });
        if filled == Err(Error::OutOfMemory) {
            let _ = self.unmap_range(ms, range);
        }
        filled?
    }
}

/// Fills what is empty of `range` in `node`; `origin` is the page that `leaf.frame` belongs to.
fn fill<'a, P: Platform>(
    cursor: &mut Cursor<'a, '_, P>,
    node: Node<'a, P>,
    range: PageRange,
    origin: u64,
    leaf: Leaf,
) -> Option<()> {
    for index in node.slots(range) {
        let slot = node.slot_range(index);
        let part = slot.intersect(range);
        let frame = leaf.frame.add(part.start - origin);
        let aligned = frame.0.is_multiple_of(P::Format::slot_pages(node.level));
        let whole = part == slot && aligned && P::Format::LEAF_LEVELS >> node.level & 1 == 1;
        match node.child(index) {
            Some(child) => fill(cursor, child, range, origin, leaf)?,
            None if node.load(index) != 0 => {}
            None if whole => {
                node.fill(index, P::Format::leaf(node.level, Leaf { frame, ..leaf }));
            }
            None => {
                let child = cursor.make_child(node, index)?;
                fill(cursor, child, range, origin, leaf)?;
            }
        }
    }
    Some(())
}
