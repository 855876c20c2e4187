//! The names of a tree.
//!
//! Guarantee: all names of a tree change and are looked up under one lock, so a rename is one step to
//! everybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Contents, MemoryNode, NAME_MAX, S_IFDIR, S_IFLNK, S_IFREG, now};
use crate::Errno;

impl MemoryNode {
    pub fn step(&self, name: &[u8]) -> Result<Arc<MemoryNode>, Errno> {
        let _names = self.names();
        self.child(name)?.ok_or(Errno::ENOENT)
    }

    /// The file of this name; the caller holds the lock of names.
    fn child(&self, name: &[u8]) -> Result<Option<Arc<MemoryNode>>, Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        match &self.lock().contents {
            Contents::Directory { entries, .. } => Ok(entries.get(name).cloned()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The directory above; none for the top.
    pub fn up(&self) -> Option<Arc<MemoryNode>> {
        match &self.lock().contents {
            Contents::Directory { above: Some((above, _)), .. } => above.upgrade(),
            _ => None,
        }
    }

    /// The path of a directory from the top, which is empty; ENOENT once it is removed.
    pub fn path(&self) -> Result<Vec<u8>, Errno> {
        let _names = self.names();
        let mut parts = Vec::new();
        let mut above = match &self.lock().contents {
            Contents::Directory { above: Some((above, name)), .. } => {
                parts.push(name.clone());
                above.upgrade()
            }
            Contents::Directory { above: None, .. } => None,
            _ => return Err(Errno::ENOTDIR),
        };
        while let Some(node) = above {
            above = match &node.lock().contents {
                Contents::Directory { above: Some((above, name)), .. } => {
                    parts.push(name.clone());
                    above.upgrade()
                }
                _ => None,
            };
        }
        Ok(parts.into_iter().rev().flat_map(|part| [b"/".to_vec(), part].concat()).collect())
    }

    /// What a directory holds: name, inode, mode.
    pub fn list(&self) -> Vec<(Vec<u8>, u64, u32)> {
        let _names = self.names();
        match &self.lock().contents {
            Contents::Directory { entries, .. } => {
                let entry = |(name, node): (&Vec<u8>, &Arc<MemoryNode>)| {
                    (name.clone(), node.inode, node.lock().mode)
                };
                entries.iter().map(entry).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A new empty file.
    pub fn create(&self, name: &[u8], mode: u32) -> Result<Arc<MemoryNode>, Errno> {
        let node = self.fresh(S_IFREG | mode & 0o7777, Contents::File(0))?;
        self.enter(name, node.clone())?;
        Ok(node)
    }

    /// A new empty file without a name; `linkable`: it may get one.
    pub fn create_unnamed(&self, mode: u32, linkable: bool) -> Result<Arc<MemoryNode>, Errno> {
        let node = self.fresh(S_IFREG | mode & 0o7777, Contents::File(0))?;
        {
            let mut inner = node.lock();
            (inner.links, inner.linkable) = (0, linkable);
        }
        Ok(node)
    }

    pub fn make_link(&self, name: &[u8], target: &[u8]) -> Result<(), Errno> {
        let node = self.fresh(S_IFLNK | 0o777, Contents::Link(target.to_vec()))?;
        self.enter(name, node)
    }

    pub fn make_directory(self: &Arc<Self>, name: &[u8], mode: u32) -> Result<(), Errno> {
        let above = Some((Arc::downgrade(self), name.to_vec()));
        let contents = Contents::Directory { above, entries: BTreeMap::new() };
        let node = self.fresh(S_IFDIR | mode & 0o7777, contents)?;
        self.enter(name, node)?;
        self.lock().links += 1;
        Ok(())
    }

    /// Gives a node a name; EEXIST when there is one already.
    fn enter(&self, name: &[u8], node: Arc<MemoryNode>) -> Result<(), Errno> {
        let _names = self.names();
        if self.child(name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        self.insert(name, node)
    }

    fn insert(&self, name: &[u8], node: Arc<MemoryNode>) -> Result<(), Errno> {
        let mut inner = self.lock();
        if inner.links == 0 {
            return Err(Errno::ENOENT);
        }
        inner.modified = now();
        inner.changed = inner.modified;
        match &mut inner.contents {
            Contents::Directory { entries, .. } => drop(entries.insert(name.to_vec(), node)),
            _ => return Err(Errno::ENOTDIR),
        }
        Ok(())
    }

    fn take(&self, name: &[u8]) {
        let mut inner = self.lock();
        inner.modified = now();
        inner.changed = inner.modified;
        if let Contents::Directory { entries, .. } = &mut inner.contents {
            entries.remove(name);
        }
    }

    /// One more name for a file.
    pub fn hard_link(&self, name: &[u8], node: &Arc<MemoryNode>) -> Result<(), Errno> {
        if !Arc::ptr_eq(&self.tree, &node.tree) {
            return Err(Errno::EXDEV);
        }
        if node.is(S_IFDIR) {
            return Err(Errno::EPERM);
        }
        // The name and the count of names are one step, or a removal in between would count below 0.
        let _names = self.names();
        if self.child(name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        if !node.may_be_named() {
            return Err(Errno::ENOENT);
        }
        self.insert(name, node.clone())?;
        let mut inner = node.lock();
        inner.links += 1;
        inner.changed = now();
        Ok(())
    }

    fn may_be_named(&self) -> bool {
        let inner = self.lock();
        inner.links > 0 || inner.linkable
    }

    /// Removes a name: of an empty directory, or of anything else.
    pub fn remove(&self, name: &[u8], directory: bool) -> Result<(), Errno> {
        let _names = self.names();
        let node = self.child(name)?.ok_or(Errno::ENOENT)?;
        match (node.is(S_IFDIR), directory) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        node.leave()?;
        if directory {
            self.lock().links -= 1;
        }
        self.take(name);
        Ok(())
    }

    /// Loses a name; ENOTEMPTY for a directory that holds something.
    fn leave(&self) -> Result<(), Errno> {
        let mut inner = self.lock();
        inner.changed = now();
        match &inner.contents {
            Contents::Directory { entries, .. } if !entries.is_empty() => Err(Errno::ENOTEMPTY),
            Contents::Directory { .. } => {
                inner.links = 0;
                Ok(())
            }
            _ => {
                inner.links -= 1;
                Ok(())
            }
        }
    }

    /// Renames `name` to `other` in `to`. What stood there goes, unless `keep`.
    pub fn rename(
        self: &Arc<Self>,
        name: &[u8],
        to: &Arc<MemoryNode>,
        other: &[u8],
        keep: bool,
    ) -> Result<(), Errno> {
        if !Arc::ptr_eq(&self.tree, &to.tree) {
            return Err(Errno::EXDEV);
        }
        let _names = self.names();
        let node = self.child(name)?.ok_or(Errno::ENOENT)?;
        let directory = node.is(S_IFDIR);
        let mut above = Some(to.clone());
        while let Some(at) = above {
            if Arc::ptr_eq(&at, &node) {
                return Err(Errno::EINVAL);
            }
            above = at.up();
        }
        if let Some(there) = to.child(other)? {
            if keep {
                return Err(Errno::EEXIST);
            }
            if Arc::ptr_eq(&there, &node) {
                return Ok(());
            }
            match (directory, there.is(S_IFDIR)) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => there.leave()?,
            }
            if directory {
                to.lock().links -= 1;
            }
        }
        to.insert(other, node.clone())?;
        if !Arc::ptr_eq(self, to) || name != other {
            self.take(name);
        }
        if directory {
            self.lock().links -= 1;
            to.lock().links += 1;
            if let Contents::Directory { above, .. } = &mut node.lock().contents {
                *above = Some((Arc::downgrade(to), other.to_vec()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_name_removed_while_it_is_given_would_be_counted_below_none() {
        let top = MemoryNode::top(0, 0o755);
        for _ in 0..1_000 {
            let node = top.create(b"a", 0o644).expect("a file");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let removed = [top.remove(b"a", false), top.remove(b"b", false)];
                    assert_eq!(removed[0], Ok(()));
                });
                let linked = top.hard_link(b"b", &node);
                assert!(matches!(linked, Ok(()) | Err(Errno::ENOENT)), "{linked:?}");
            });
            let left = top.list().len() as u32;
            assert_eq!(node.stat().links, left, "names that are there are counted");
            if left > 0 {
                top.remove(b"b", false).expect("the second name");
            }
        }
    }

    #[test]
    fn a_rename_into_itself_would_cut_a_tree_off() {
        let top = MemoryNode::top(0, 0o755);
        top.make_directory(b"a", 0o755).expect("a");
        let a = top.step(b"a").expect("a");
        a.make_directory(b"b", 0o755).expect("b");
        let b = a.step(b"b").expect("b");
        assert_eq!(top.rename(b"a", &b, b"c", false), Err(Errno::EINVAL));
        assert_eq!(top.rename(b"a", &top, b"d", false), Ok(()));
        assert_eq!(b.path().expect("a path"), b"/d/b");
        assert_eq!(top.remove(b"d", true), Err(Errno::ENOTEMPTY));
        assert_eq!(a.remove(b"b", true), Ok(()));
        assert_eq!(b.create(b"late", 0o600).err(), Some(Errno::ENOENT), "the directory is gone");
    }

    #[test]
    fn a_deep_tree_ends_without_running_out_of_stack() {
        let top = MemoryNode::top(0, 0o755);
        let mut at = top.clone();
        while at.make_directory(b"d", 0o755).is_ok() {
            at = at.step(b"d").expect("it was made");
        }
        assert_eq!(at.create(b"f", 0o600).err(), Some(Errno::ENOSPC), "the tree is bounded");
        drop(at);
        let tree = top.tree.clone();
        drop(top);
        assert_eq!(tree.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_file_lives_while_it_is_open_and_counts_its_names() {
        let top = MemoryNode::top(0, 0o755);
        let file = top.create(b"one", 0o600).expect("a file");
        top.hard_link(b"two", &file).expect("another name");
        assert_eq!(file.stat().links, 2);
        assert_eq!(top.create(b"two", 0o600).err(), Some(Errno::EEXIST));
        top.remove(b"one", false).expect("it is there");
        top.remove(b"two", false).expect("it is there");
        assert_eq!(file.stat().links, 0);
        file.set_size(1);
        assert_eq!(file.stat().size, 1, "still a file");
        assert_eq!(top.remove(b"two", false), Err(Errno::ENOENT));
    }
}
