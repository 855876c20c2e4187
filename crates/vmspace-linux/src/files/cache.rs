//! All regular files that are open or mapped, and how they go.
//!
//! Guarantee: there is one inode and one object for a file as long as anybody has it open or mapped,
//! or finds it by name in a tree in memory, or something of it is dirty. When nobody does, what is
//! dirty is handed to the host and then both go. Who has closed or unmapped a file and then called
//! [`Kernel::drop_unused`] knows that it is handed over, unless others use it or the host refuses.
//! The cost of closing does not depend on how many other files there are.
//!
//! The protocol: who closes, unmaps or removes a file notes it ([`PageCache::note_closed`],
//! [`Kernel::drop_unmapped`]), and only what was noted is looked at. A file that is in use is looked
//! at once more later, for its user perhaps does not note it again. One that is not is synced while
//! it can still be found, by everybody who sees the note, and goes if nobody was given it meanwhile:
//! then nobody has made anything dirty since, for mappings are made by who was given the file, or
//! from other mappings.

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
    /// Who syncs it to let it go shares it; everybody else has a handle of his own.
    object: Arc<Object<'vm, F>>,
    /// When it was last given to somebody.
    given: u64,
}

/// A file that nobody uses, which is synced.
struct Unused<'vm, F: Format> {
    identity: Identity,
    object: Arc<Object<'vm, F>>,
    /// As it was when nobody used it.
    given: u64,
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
    /// Noted, and not found in use nor gone since.
    noted: BTreeSet<Identity>,
    /// Noted before, and in use when they were looked at, perhaps by a call just then.
    kept: BTreeSet<Identity>,
    /// The last of these that was looked at again.
    last: Identity,
    /// How often a file was given to somebody.
    given: u64,
}

/// How many of the files that were kept are looked at again whenever files are closed: more than
/// join them.
const AGAIN: usize = 2;

impl<F: Format> Default for PageCache<'_, F> {
    fn default() -> Self {
        let (files, owners) = (BTreeMap::new(), BTreeMap::new());
        let (noted, kept) = (BTreeSet::new(), BTreeSet::new());
        PageCache(Mutex::new(Table { files, owners, noted, kept, last: (0, 0), given: 0 }))
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

    /// A file's inode, to use.
    fn find(&self, identity: Identity) -> Option<Arc<Inode>> {
        self.lock().give(identity).map(|cached| cached.inode.clone())
    }
}

impl<'vm, F: Format> Table<'vm, F> {
    /// A file, to who is about to use it.
    fn give(&mut self, identity: Identity) -> Option<&Cached<'vm, F>> {
        self.given += 1;
        let cached = self.files.get_mut(&identity)?;
        cached.given = self.given;
        Some(cached)
    }

    /// Those that were noted, and a few that were kept, and are not used any more.
    fn unused(&mut self) -> Vec<Unused<'vm, F>> {
        let mut looked_at = self.noted.clone();
        looked_at.extend(std::iter::from_fn(|| self.next_kept()).take(AGAIN));
        looked_at.into_iter().filter_map(|identity| self.look(identity)).collect()
    }

    /// The next of those that were kept, round and round.
    fn next_kept(&mut self) -> Option<Identity> {
        let behind = (Bound::Excluded(self.last), Bound::Unbounded);
        self.last = *self.kept.range(behind).next().or(self.kept.first())?;
        Some(self.last)
    }

    /// The file, if it is not used any more; it is noted until it is gone.
    fn look(&mut self, identity: Identity) -> Option<Unused<'vm, F>> {
        self.kept.remove(&identity);
        self.noted.remove(&identity);
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
        self.noted.insert(identity);
        Some(Unused { identity, object: found.object.clone(), given: found.given })
    }

    /// Takes a file out that was not used and has been synced, if nobody was given it meanwhile. If
    /// not all of it could be written it stays, to be tried again.
    fn take(&mut self, unused: &Unused<'vm, F>, synced: bool) -> Option<Cached<'vm, F>> {
        let identity = unused.identity;
        let found = self.files.get(&identity).filter(|found| found.given == unused.given)?;
        if !synced || !found.is_unused() {
            self.noted.remove(&identity);
            self.kept.insert(identity);
            return None;
        }
        self.noted.remove(&identity);
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
        if let Some(inode) = self.pages.find(identity) {
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
        let mut table = self.pages.lock();
        // Another may have been faster; then ours goes, without the lock.
        if let Some(before) = table.give(identity).map(|cached| cached.inode.clone()) {
            drop(table);
            object.close(ms);
            return Ok(before);
        }
        table.owners.insert(object.id(), identity);
        // Should the call that wants it fail, nobody closes it.
        table.noted.insert(identity);
        let given = table.given;
        let mine = Cached { inode: inode.clone(), object: Arc::new(object), given };
        table.files.insert(identity, mine);
        Ok(inode)
    }

    /// A file's pages.
    pub fn object(&self, inode: &Inode) -> Result<Object<'vm, F>, Errno> {
        let mut table = self.pages.lock();
        let found = table.give(inode.identity()).ok_or(Errno::EIO)?;
        Ok(Object::clone(&found.object))
    }

    /// Whose pages an object holds, if it is a file's.
    pub fn inode_of(&self, object: ObjectId) -> Option<(Arc<Inode>, Object<'vm, F>)> {
        let mut table = self.pages.lock();
        let identity = *table.owners.get(&object)?;
        let found = table.give(identity)?;
        Some((found.inode.clone(), Object::clone(&found.object)))
    }

    /// The files of which a range of a space shows a part.
    pub fn mapped(
        &self,
        ms: &mut MaySleep,
        space: &Space<'vm, F>,
        range: Range<u64>,
    ) -> BTreeSet<Identity> {
        let (mut from, mut files) = (range.start, BTreeSet::new());
        while let Some(region) = space.next_region(ms, from)
            && region.start < range.end
        {
            from = region.end;
            if let Some(object) = region.object {
                files.extend(self.pages.lock().owners.get(&object));
            }
        }
        files
    }

    /// Notes files that were mapped, and lets those go that nobody has open or mapped any more.
    pub fn drop_unmapped(&self, ms: &mut MaySleep, files: BTreeSet<Identity>) {
        files.into_iter().for_each(|identity| self.pages.note_closed(identity));
        self.drop_unused(ms);
    }

    /// Lets files go that nobody has open or mapped any more; what is dirty of them is written.
    pub fn drop_unused(&self, ms: &mut MaySleep) {
        let unused = self.pages.lock().unused();
        for unused in unused {
            // Nobody is left who could be told of a failure.
            let synced = unused.object.sync(ms, 0..u64::MAX).is_ok();
            let taken = self.pages.lock().take(&unused, synced);
            // The last who shares it ends it.
            let shares = [Some(unused.object), taken.map(|cached| cached.object)];
            for object in shares.into_iter().flatten().filter_map(Arc::into_inner) {
                object.close(ms);
            }
        }
    }

    /// Writes what is dirty of all files, at the end of the run.
    pub fn sync_all(&self, ms: &mut MaySleep) {
        let objects: Vec<_> =
            self.pages.lock().files.values().map(|it| Object::clone(&it.object)).collect();
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
    use crate::files::Root;
    use crate::stealer::Stealer;
    use crate::swap::Swap;
    use std::path::Path;
    use vmspace::format::{Rights, Sv48};
    use vmspace::{Map, Vm};
    use vmspace_machine::Config;

    /// A kernel with a file "file" of one byte, in memory and dirty, that nobody uses any more.
    fn with_unused(body: impl FnOnce(&Kernel<'_, Sv48>, &mut MaySleep, Identity, &Path)) {
        let path = std::env::temp_dir().join(format!(
            "vmspace-cache-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&path).expect("a directory");
        std::fs::write(path.join("file"), b"o").expect("a file");
        let root = Root::open(Some(&path), Path::new("/")).expect("a root");
        let config = Config { memory: 16 << 20, ..Config::default() };
        let platform = MachinePlatform::<Sv48>::new(config).expect("a machine");
        let platform = platform.with_pager(root.pager());
        let frames = platform.frames();
        let vm = Vm::new(platform, frames).expect("a manager");
        vm.platform().bind_other(0);
        // SAFETY: the test's own thread, which is no hart and holds nothing of the library.
        let mut ms = unsafe { MaySleep::assume() };
        let ms = &mut ms;
        let poller = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK);
        let options = crate::Options {
            arguments: Vec::new(),
            environment: Vec::new(),
            processes: 1,
            trace: None,
            maps: false,
            timeout: None,
            seed: None,
            standard_files: [false; 3],
        };
        let poller = poller.expect("a descriptor");
        let kernel = Kernel::new(&vm, &options, root, Swap::default(), Stealer::default(), poller);
        let host = kernel.files.host().expect("a root");
        let Node::Host(top) = &kernel.files.top else { panic!("no root") };
        let node = Node::Host(host.step(top, b"file").expect("the file").into());
        let inode = kernel.inode(ms, node, b"/file").expect("its inode");
        inode.open(Some(host), true, true).expect("the host's file");
        let (identity, object) = (inode.identity(), kernel.object(&inode).expect("its pages"));
        let space = Space::new(&vm, ms, Default::default()).expect("a space");
        let map = Map::anonymous(4096, Rights::USER | Rights::READ | Rights::WRITE).shared();
        let at = space.map_object(ms, map, &object, 0).expect("a mapping");
        assert_eq!(space.write(ms, at, b"n"), 1);
        object.close(ms);
        drop(inode);
        space.unmap(ms, at, 4096).expect("unmapped");
        kernel.pages.note_closed(identity);
        body(&kernel, ms, identity, &path.join("file"));
        drop(space);
        vm.reap(ms);
        std::fs::remove_dir_all(&path).expect("the directory goes");
    }

    #[test]
    fn a_file_opened_again_while_it_is_written_would_have_two_inodes() {
        with_unused(|kernel, ms, identity, path| {
            let unused = kernel.pages.lock().unused();
            assert_eq!(std::fs::read(path).expect("the file"), b"o", "nothing is written yet");
            let opened = kernel.pages.find(identity).expect("it is found while it is written");
            for unused in unused {
                unused.object.sync(ms, 0..u64::MAX).expect("written");
                assert!(kernel.pages.lock().take(&unused, true).is_none(), "somebody was given it");
            }
            drop(opened);
            kernel.drop_unused(ms);
            assert!(kernel.pages.find(identity).is_none(), "it is gone, though nobody noted it");
        });
    }

    #[test]
    fn who_ends_while_another_writes_would_tell_its_parent_too_early() {
        with_unused(|kernel, ms, identity, path| {
            let others = kernel.pages.lock().unused();
            assert_eq!(others.len(), 1);
            kernel.drop_unused(ms);
            assert_eq!(std::fs::read(path).expect("the file"), b"n", "what the other has begun");
            assert!(kernel.pages.find(identity).is_none());
            let other = others.into_iter().next().expect("the other's");
            assert!(kernel.pages.lock().take(&other, true).is_none(), "it is gone");
            Arc::into_inner(other.object).expect("the last share").close(ms);
        });
    }

    #[test]
    fn what_the_host_does_not_take_would_be_lost() {
        with_unused(|kernel, ms, identity, path| {
            let unused = kernel.pages.lock().unused();
            for unused in unused {
                assert!(kernel.pages.lock().take(&unused, false).is_none());
            }
            assert!(kernel.pages.find(identity).is_some(), "it stays");
            kernel.drop_unused(ms);
            assert_eq!(std::fs::read(path).expect("the file"), b"n", "and is tried again");
        });
    }

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
        assert!(table.unused().is_empty());
        assert_eq!(Vec::from_iter(&table.kept), [&(1, 7)], "two were looked at, and are not there");
        drop(table);
        pages.note_closed((9, 9));
        assert!(pages.lock().noted.is_empty(), "not a file that is here");
    }
}
