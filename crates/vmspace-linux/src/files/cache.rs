//! All regular files that are open or mapped, and how they go.
//!
//! Guarantee: there is one inode and one object for a file as long as anybody has it open or mapped,
//! or finds it by name in a tree in memory. When nobody does, what is dirty is handed to the host and
//! both go. The cost of closing does not depend on how many other files there are: who closes, unmaps
//! or removes a file notes it ([`PageCache::note_closed`], [`Kernel::note_mapped`]), and only what was
//! noted is looked at. A file that is in use just then, perhaps by a call that does not note it again,
//! is looked at once more later.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmspace::format::Format;
use vmspace::{MaySleep, ObjectId};
use vmspace_machine::MachinePlatform;

use super::inode::{Inode, number_of};
use super::node::Node;
use crate::Errno;
use crate::kernel::Kernel;
use crate::space::Space;

/// A file's pages.
pub(crate) type Object<'vm, F> = vmspace::Object<'vm, MachinePlatform<F>>;

/// An inode with its pages.
struct Cached<'vm, F: Format> {
    inode: Arc<Inode>,
    object: Object<'vm, F>,
}

/// Device and inode number.
type Identity = (u64, u64);

/// All inodes.
pub(crate) struct PageCache<'vm, F: Format>(Mutex<Table<'vm, F>>);

struct Table<'vm, F: Format> {
    /// While one is here, the host gives its number to no other.
    files: BTreeMap<Identity, Cached<'vm, F>>,
    /// Whose pages an object holds.
    owners: BTreeMap<ObjectId, Identity>,
    /// Noted since the last look.
    noted: BTreeSet<Identity>,
    /// Noted before, and in use when they were looked at, perhaps by a call just then.
    kept: BTreeSet<Identity>,
    /// The last of these that was looked at again.
    last: Identity,
}

/// How many of the files that were kept are looked at again whenever files are closed: more than
/// join them.
const AGAIN: usize = 2;

impl<F: Format> Default for PageCache<'_, F> {
    fn default() -> Self {
        let (files, owners) = (BTreeMap::new(), BTreeMap::new());
        let (noted, kept) = (BTreeSet::new(), BTreeSet::new());
        PageCache(Mutex::new(Table { files, owners, noted, kept, last: (0, 0) }))
    }
}

impl<'vm, F: Format> PageCache<'vm, F> {
    fn lock(&self) -> MutexGuard<'_, Table<'vm, F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A use of a file has ended, or a name of it is gone: perhaps it was the last.
    pub fn note_closed(&self, identity: Identity) {
        let mut table = self.lock();
        if table.files.contains_key(&identity) {
            table.noted.insert(identity);
        }
    }
}

impl<'vm, F: Format> Table<'vm, F> {
    /// Takes out those that were noted and are not used any more.
    fn take_unused(&mut self) -> Vec<Cached<'vm, F>> {
        let mut looked_at = std::mem::take(&mut self.noted);
        looked_at.extend(std::iter::from_fn(|| self.next_kept()).take(AGAIN));
        looked_at.into_iter().filter_map(|identity| self.take(identity)).collect()
    }

    /// The next of those that were kept, round and round.
    fn next_kept(&mut self) -> Option<Identity> {
        let behind = (Bound::Excluded(self.last), Bound::Unbounded);
        self.last = *self.kept.range(behind).next().or(self.kept.first())?;
        Some(self.last)
    }

    /// Takes a file out if it is not used any more.
    fn take(&mut self, identity: Identity) -> Option<Cached<'vm, F>> {
        self.kept.remove(&identity);
        let found = self.files.get(&identity)?;
        // The name's removal will be noted.
        let named = matches!(&found.inode.node, Node::Memory(node) if node.stat().links > 0);
        if named {
            return None;
        }
        if !found.is_unused() {
            self.kept.insert(identity);
            return None;
        }
        self.owners.remove(&found.object.id());
        self.files.remove(&identity)
    }
}

impl<F: Format> Cached<'_, F> {
    /// Whether nobody has it open or mapped, nor can reach it in a tree in memory. Who could change
    /// that needs the table's lock.
    fn is_unused(&self) -> bool {
        let reached = match &self.inode.node {
            Node::Memory(node) => Arc::strong_count(node) > 1,
            _ => false,
        };
        !reached && Arc::strong_count(&self.inode) == 1 && self.object.is_unshared()
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// The inode of a regular file, made if there is none.
    pub fn inode(&self, ms: &mut MaySleep, node: Node, path: &[u8]) -> Result<Arc<Inode>, Errno> {
        self.drop_unused(ms);
        let identity = node.identity();
        let found = self.pages.lock().files.get(&identity).map(|cached| cached.inode.clone());
        if let Some(inode) = found {
            let writing = inode.writing();
            self.adopt_size(ms, &inode)?;
            drop(writing);
            return Ok(inode);
        }
        let size = node.stat()?.size;
        let (number, backing) = match node {
            Node::Host(_) => self.files.backings.add(),
            _ => Default::default(),
        };
        let object = self.vm.object(ms, size, number).map_err(|error| {
            self.files.backings.remove(number);
            number_of(error)
        })?;
        let inode = Arc::new(Inode::new(node, path, backing));
        let mine = Cached { inode, object };
        let mut table = self.pages.lock();
        // Another may have been faster; then ours goes, without the lock.
        let before = table.files.get(&identity).map(|cached| cached.inode.clone());
        let inode = before.clone().unwrap_or_else(|| mine.inode.clone());
        let spare = match before {
            Some(_) => Some(mine),
            None => {
                table.owners.insert(mine.object.id(), identity);
                // Should the call that wants it fail, nobody closes it.
                table.noted.insert(identity);
                table.files.insert(identity, mine)
            }
        };
        drop(table);
        if let Some(spare) = spare {
            spare.object.close(ms);
        }
        Ok(inode)
    }

    /// A file's pages.
    pub fn object(&self, inode: &Inode) -> Result<Object<'vm, F>, Errno> {
        let table = self.pages.lock();
        table.files.get(&inode.identity()).map(|cached| cached.object.clone()).ok_or(Errno::EIO)
    }

    /// Whose pages an object holds, if it is a file's.
    pub fn inode_of(&self, object: ObjectId) -> Option<(Arc<Inode>, Object<'vm, F>)> {
        let table = self.pages.lock();
        let cached = table.files.get(table.owners.get(&object)?)?;
        Some((cached.inode.clone(), cached.object.clone()))
    }

    /// Notes the files of which a range of a space shows a part, which is about to go; whether there
    /// are any.
    pub fn note_mapped(&self, ms: &mut MaySleep, space: &Space<'vm, F>, range: Range<u64>) -> bool {
        let (mut from, mut any) = (range.start, false);
        while let Some(region) = space.next_region(ms, from)
            && region.start < range.end
        {
            from = region.end;
            if let Some(object) = region.object {
                let mut table = self.pages.lock();
                if let Some(identity) = table.owners.get(&object).copied() {
                    table.noted.insert(identity);
                    any = true;
                }
            }
        }
        any
    }

    /// Lets files go that nobody has open or mapped any more; what is dirty of them is written.
    pub fn drop_unused(&self, ms: &mut MaySleep) {
        let unused = self.pages.lock().take_unused();
        for cached in unused {
            cached.object.close(ms);
        }
    }

    /// Writes what is dirty of all files, at the end of the run.
    pub fn sync_all(&self, ms: &mut MaySleep) {
        let objects: Vec<_> =
            self.pages.lock().files.values().map(|it| it.object.clone()).collect();
        for object in objects {
            // Nobody is left who could be told.
            let _ = object.sync(ms, 0..u64::MAX);
            object.close(ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where all files were looked at whenever one is closed, it would be slow; where those that are
    /// kept were not looked at again, they would stay for ever.
    #[test]
    fn files_that_are_kept_are_looked_at_in_turn() {
        let pages = PageCache::<vmspace::format::Sv48>::default();
        let mut table = pages.lock();
        assert_eq!(table.next_kept(), None);
        table.kept.extend([(1, 5), (1, 7), (2, 3)]);
        let seen: Vec<_> = (0..5).filter_map(|_| table.next_kept()).collect();
        assert_eq!(seen, [(1, 5), (1, 7), (2, 3), (1, 5), (1, 7)]);
        assert!(table.take_unused().is_empty());
        assert_eq!(Vec::from_iter(&table.kept), [&(1, 7)], "two were looked at, and are not there");
        drop(table);
        pages.note_closed((9, 9));
        assert!(pages.lock().noted.is_empty(), "not a file that is here");
    }
}
