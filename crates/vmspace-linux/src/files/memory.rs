//! Files in the machine's memory: /dev/shm, memfd_create(2)'s, and `/` where the host gives no root.
//!
//! Guarantee: the tree is private to the run. A file lives as long as a name or an open descriptor
//! does. Names take at most [`MOST_NODES`] records of the host's memory; contents are pages of the
//! machine's memory (`inode`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::stat::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Stat, Time};
use crate::Errno;

mod names;

/// Files, directories and links that a tree may hold.
const MOST_NODES: u64 = 65_536;

/// A name's bytes at most.
pub(crate) const NAME_MAX: usize = 255;

/// The device numbers of the trees are this one and the next ones; the host's devices have none so
/// high.
const FIRST_DEVICE: u64 = 0xfff0_0001;

/// Seals of memfd_create(2)'s files.
pub(crate) const SEAL_SEAL: u32 = 1;
pub(crate) const SEAL_SHRINK: u32 = 2;
pub(crate) const SEAL_GROW: u32 = 4;
pub(crate) const SEAL_WRITE: u32 = 8;
pub(crate) const SEAL_FUTURE_WRITE: u32 = 16;

/// A file, directory or link of a tree.
#[derive(Debug)]
pub(crate) struct MemoryNode {
    tree: Arc<Tree>,
    pub inode: u64,
    inner: Mutex<Inner>,
}

/// What all nodes of a tree share.
#[derive(Debug)]
struct Tree {
    device: u64,
    last: AtomicU64,
    count: AtomicU64,
    names: Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    mode: u32,
    links: u32,
    accessed: Time,
    modified: Time,
    changed: Time,
    seals: u32,
    /// It may get a name though it has none.
    linkable: bool,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    /// A file's length; its pages are an object of the library's.
    File(u64),
    Link(Vec<u8>),
    Directory {
        /// Its name in the directory above; none for the top, or when it is removed.
        above: Option<(Weak<MemoryNode>, Vec<u8>)>,
        entries: BTreeMap<Vec<u8>, Arc<MemoryNode>>,
    },
}

impl Drop for MemoryNode {
    /// However deep a tree is, it goes without recursion.
    fn drop(&mut self) {
        self.tree.count.fetch_sub(1, Ordering::Relaxed);
        let mut rest = self.take_entries();
        while let Some(node) = rest.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                rest.extend(node.take_entries());
            }
        }
    }
}

fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (time.tv_sec, time.tv_nsec as u32)
}

impl MemoryNode {
    /// The top of a new tree; `number` tells trees apart.
    pub fn top(number: u64, mode: u32) -> Arc<MemoryNode> {
        let tree = Tree {
            device: FIRST_DEVICE + number,
            last: AtomicU64::new(1),
            count: AtomicU64::new(1),
            names: Mutex::new(()),
        };
        let contents = Contents::Directory { above: None, entries: BTreeMap::new() };
        Self::make(Arc::new(tree), 1, S_IFDIR | mode, contents)
    }

    fn make(tree: Arc<Tree>, inode: u64, mode: u32, contents: Contents) -> Arc<MemoryNode> {
        let links = if mode & S_IFMT == S_IFDIR { 2 } else { 1 };
        let (accessed, modified, changed) = (now(), now(), now());
        let (seals, linkable) = (SEAL_SEAL, false);
        let inner = Inner { mode, links, accessed, modified, changed, seals, linkable, contents };
        Arc::new(MemoryNode { tree, inode, inner: Mutex::new(inner) })
    }

    /// A node without a name yet.
    fn fresh(&self, mode: u32, contents: Contents) -> Result<Arc<MemoryNode>, Errno> {
        if self.tree.count.fetch_add(1, Ordering::Relaxed) >= MOST_NODES {
            self.tree.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        let inode = self.tree.last.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Self::make(self.tree.clone(), inode, mode, contents))
    }

    fn take_entries(&mut self) -> Vec<Arc<MemoryNode>> {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        match &mut inner.contents {
            Contents::Directory { entries, .. } => std::mem::take(entries).into_values().collect(),
            _ => Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, ()> {
        self.tree.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is(&self, kind: u32) -> bool {
        self.lock().mode & S_IFMT == kind
    }

    pub fn identity(&self) -> (u64, u64) {
        (self.tree.device, self.inode)
    }

    pub fn stat(&self) -> Stat {
        let inner = self.lock();
        let size = match &inner.contents {
            Contents::File(size) => *size,
            Contents::Link(target) => target.len() as u64,
            Contents::Directory { entries, .. } => 20 * (entries.len() as u64 + 2),
        };
        Stat {
            links: inner.links,
            size,
            blocks: size.div_ceil(4096) * 8,
            accessed: inner.accessed,
            modified: inner.modified,
            changed: inner.changed,
            ..Stat::own(self.tree.device, self.inode, inner.mode)
        }
    }

    pub fn set_mode(&self, mode: u32) {
        let mut inner = self.lock();
        inner.mode = inner.mode & S_IFMT | mode & 0o7777;
        inner.changed = now();
    }

    /// Sets the times that are given.
    pub fn set_times(&self, accessed: Option<Time>, modified: Option<Time>) {
        let mut inner = self.lock();
        inner.accessed = accessed.unwrap_or(inner.accessed);
        inner.modified = modified.unwrap_or(inner.modified);
        inner.changed = now();
    }

    /// What a symbolic link says.
    pub fn link(&self) -> Option<Vec<u8>> {
        match &self.lock().contents {
            Contents::Link(target) => Some(target.clone()),
            _ => None,
        }
    }

    /// Notes a file's length, and that it was changed.
    pub fn set_size(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.modified = now();
        inner.changed = inner.modified;
        if let Contents::File(size) = &mut inner.contents {
            *size = bytes;
        }
    }

    /// Lets seals be added.
    pub fn allow_seals(&self) {
        self.lock().seals &= !SEAL_SEAL;
    }

    /// F_GET_SEALS.
    pub fn seals(&self) -> u32 {
        self.lock().seals
    }

    /// F_ADD_SEALS.
    pub fn add_seals(&self, seals: u32) -> Result<(), Errno> {
        let mut inner = self.lock();
        if inner.seals & SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        inner.seals |= seals;
        Ok(())
    }

    /// EPERM when a seal forbids what is to be done.
    pub fn check_seals(&self, forbidden: u32) -> Result<(), Errno> {
        if self.lock().seals & forbidden != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }
}
