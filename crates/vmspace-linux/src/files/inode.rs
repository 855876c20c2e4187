//! Regular files that are open.
//!
//! Guarantee: a file has one record while it is open, however many descriptors, processes and names
//! lead to it; writes that change its length are one after the other, as Linux's inode lock makes
//! them. The host's descriptors are opened once for reading and once for writing, by the first who
//! may: a later one that may not is refused by the host all the same.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use rustix::fs::{FallocateFlags, OFlags};
use vmspace::MaySleep;
use vmspace::format::Format;

use super::memory::{SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SHRINK, SEAL_WRITE};
use super::node::Node;
use super::root::HostRoot;
use crate::Errno;
use crate::host::errno;
use crate::kernel::Kernel;

/// An open regular file.
#[derive(Debug)]
pub(crate) struct Inode {
    pub node: Node,
    /// The path that it was first opened by.
    opened_as: Vec<u8>,
    reader: OnceLock<OwnedFd>,
    writer: OnceLock<OwnedFd>,
    writing: Mutex<()>,
}

/// All open regular files, by device and inode number: while one is open, the host gives its number
/// to no other.
#[derive(Default)]
pub(crate) struct Inodes(Mutex<BTreeMap<(u64, u64), Weak<Inode>>>);

impl Inodes {
    /// The record of a file, made if there is none.
    pub fn get(&self, node: Node, path: &[u8]) -> Arc<Inode> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = node.identity();
        if let Some(inode) = table.get(&identity).and_then(Weak::upgrade) {
            return inode;
        }
        table.retain(|_, inode| inode.strong_count() > 0);
        let (reader, writer) = (OnceLock::new(), OnceLock::new());
        let (opened_as, writing) = (path.to_vec(), Mutex::new(()));
        let inode = Arc::new(Inode { node, opened_as, reader, writer, writing });
        table.insert(identity, Arc::downgrade(&inode));
        inode
    }
}

impl Inode {
    pub fn identity(&self) -> (u64, u64) {
        self.node.identity()
    }

    /// Opens the host's file for what is asked; nothing to do for others.
    pub fn open(&self, root: Option<&HostRoot>, read: bool, write: bool) -> Result<(), Errno> {
        let (Node::Host(node), Some(root)) = (&self.node, root) else { return Ok(()) };
        if read {
            let file = root.reopen(node, OFlags::RDONLY)?;
            let _ = self.reader.set(file);
        }
        if write {
            let file = root.reopen(node, OFlags::WRONLY)?;
            let _ = self.writer.set(file);
        }
        Ok(())
    }

    /// Takes a descriptor that was opened for both when the file was made.
    pub fn made(&self, file: OwnedFd) -> Result<(), Errno> {
        let again = file.try_clone().map_err(|error| {
            Errno::new(error.raw_os_error().unwrap_or(Errno::EMFILE.into_raw()))
        })?;
        let _ = self.reader.set(again);
        let _ = self.writer.set(file);
        Ok(())
    }

    fn reader(&self) -> Result<&OwnedFd, Errno> {
        self.reader.get().ok_or(Errno::EBADF)
    }

    fn writer(&self) -> Result<&OwnedFd, Errno> {
        self.writer.get().ok_or(Errno::EBADF)
    }

    /// Held for as long as a call writes or changes the length.
    pub fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length in bytes.
    pub fn size(&self) -> Result<u64, Errno> {
        Ok(self.node.stat()?.size)
    }

    /// fsync(2), or fdatasync(2).
    pub fn sync(&self, data_only: bool) -> Result<(), Errno> {
        let Some(file) = self.writer.get().or(self.reader.get()) else { return Ok(()) };
        match data_only {
            true => rustix::fs::fdatasync(file).map_err(errno),
            false => rustix::fs::fsync(file).map_err(errno),
        }
    }
}

impl<F: Format> Kernel<'_, F> {
    /// The path of an open file, with " (deleted)" behind it when it has no name any more.
    pub fn file_path(&self, inode: &Inode) -> Result<Vec<u8>, Errno> {
        let Node::Memory(node) = &inode.node else { return self.files.path(&inode.node) };
        let mut path = inode.opened_as.clone();
        if node.stat().links == 0 {
            path.extend(b" (deleted)");
        }
        Ok(path)
    }

    /// Reads from a file; fewer bytes than asked for only at its end.
    pub fn read_at(
        &self,
        _ms: &mut MaySleep,
        inode: &Inode,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize, Errno> {
        let Node::Memory(node) = &inode.node else {
            let mut done = 0;
            while done < into.len() {
                let at = offset.saturating_add(done as u64);
                match rustix::io::pread(inode.reader()?, &mut into[done..], at) {
                    Ok(0) => break,
                    Ok(read) => done += read,
                    Err(error) if done == 0 => return Err(errno(error)),
                    Err(_) => break,
                }
            }
            return Ok(done);
        };
        node.with_bytes(false, |bytes| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let length = into.len().min(bytes.len() - start);
            into[..length].copy_from_slice(&bytes[start..start + length]);
            length
        })
    }

    /// Writes to a file; who writes holds [`Inode::writing`].
    pub fn write_at(
        &self,
        _ms: &mut MaySleep,
        inode: &Inode,
        offset: u64,
        from: &[u8],
    ) -> Result<usize, Errno> {
        let Node::Memory(node) = &inode.node else {
            return rustix::io::pwrite(inode.writer()?, from, offset).map_err(errno);
        };
        node.check_seals(SEAL_WRITE | SEAL_FUTURE_WRITE)?;
        let end = self.memory_end(offset.saturating_add(from.len() as u64))?;
        if end as u64 > inode.size()? {
            node.check_seals(SEAL_GROW)?;
        }
        node.with_bytes(true, |bytes| {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[end - from.len()..end].copy_from_slice(from);
            from.len()
        })
    }

    /// A length that a file in memory may have.
    fn memory_end(&self, end: u64) -> Result<usize, Errno> {
        let most = self.vm.total_frames() << F::PAGE_SHIFT;
        usize::try_from(end).ok().filter(|_| end <= most).ok_or(Errno::ENOSPC)
    }

    /// ftruncate(2); who calls holds [`Inode::writing`].
    pub fn truncate(&self, _ms: &mut MaySleep, inode: &Inode, length: u64) -> Result<(), Errno> {
        let Node::Memory(node) = &inode.node else {
            return rustix::fs::ftruncate(inode.writer()?, length).map_err(errno);
        };
        let end = self.memory_end(length)?;
        let size = inode.size()?;
        let forbidden = if length < size { SEAL_SHRINK } else { SEAL_GROW };
        if length != size {
            node.check_seals(forbidden)?;
        }
        node.with_bytes(true, |bytes| bytes.resize(end, 0))
    }

    /// fallocate(2) with mode 0; who calls holds [`Inode::writing`].
    pub fn allocate(
        &self,
        _ms: &mut MaySleep,
        inode: &Inode,
        offset: u64,
        length: u64,
    ) -> Result<(), Errno> {
        let Node::Memory(node) = &inode.node else {
            let (file, mode) = (inode.writer()?, FallocateFlags::empty());
            return rustix::fs::fallocate(file, mode, offset, length).map_err(errno);
        };
        let end = self.memory_end(offset.saturating_add(length))?;
        if end as u64 > inode.size()? {
            node.check_seals(SEAL_GROW)?;
        }
        node.with_bytes(true, |bytes| {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
        })
    }
}
