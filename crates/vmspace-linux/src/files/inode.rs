//! Regular files that are open or mapped, and their pages.
//!
//! Guarantee: a file has one inode and one object of the library's while it is open, mapped, or in
//! a tree in memory, however many descriptors, processes and names lead to it; so read, write and
//! every mapping share its pages. Writes that change its length are one after the other, as Linux's
//! inode lock makes them. What mappings have stored is handed to the host by msync and fsync, when
//! nobody has the file open or mapped any more, and at the end of the run.
//!
//! Order: an inode's `writing`, then the table's lock, then the library's locks.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, OFlags};
use vmspace::format::Format;
use vmspace::{Error, MaySleep};

use super::backing::Backing;
use super::memory::{SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SHRINK, SEAL_WRITE};
use super::node::Node;
use super::root::HostRoot;
use crate::Errno;
use crate::host::errno;
use crate::kernel::Kernel;

/// A regular file that is open or mapped.
#[derive(Debug)]
pub(crate) struct Inode {
    pub node: Node,
    /// The path that it was first opened by.
    opened_as: Vec<u8>,
    backing: Arc<Backing>,
    writing: Mutex<()>,
}

impl Inode {
    /// A file's, which was found by this path.
    pub fn new(node: Node, path: &[u8], backing: Arc<Backing>) -> Inode {
        Inode { node, opened_as: path.to_vec(), backing, writing: Mutex::new(()) }
    }

    pub fn identity(&self) -> (u64, u64) {
        self.node.identity()
    }

    /// Opens the host's file for what is asked; nothing to do for others.
    pub fn open(&self, root: Option<&HostRoot>, read: bool, write: bool) -> Result<(), Errno> {
        let (Node::Host(node), Some(root)) = (&self.node, root) else { return Ok(()) };
        // The host says whether it may be, even where it is open already.
        if read {
            let file = root.reopen(node, OFlags::RDONLY)?;
            let _ = self.backing.reader.set(file);
        }
        if write {
            let file = root.reopen(node, OFlags::WRONLY)?;
            let _ = self.backing.writer.set(file);
        }
        Ok(())
    }

    /// Takes a descriptor that was opened for both when the file was made.
    pub fn made(&self, file: OwnedFd) -> Result<(), Errno> {
        let again = rustix::io::fcntl_dupfd_cloexec(&file, 0).map_err(errno)?;
        let _ = self.backing.reader.set(again);
        let _ = self.backing.writer.set(file);
        Ok(())
    }

    /// Held for as long as a call writes or changes the length.
    pub fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length in bytes.
    pub fn size(&self) -> Result<u64, Errno> {
        Ok(self.node.stat()?.size)
    }

    /// Lets the host write what it was handed.
    pub fn sync_host(&self, data_only: bool) -> Result<(), Errno> {
        let Backing { reader, writer, .. } = &*self.backing;
        let Some(file) = writer.get().or(reader.get()) else { return Ok(()) };
        match data_only {
            true => rustix::fs::fdatasync(file).map_err(errno),
            false => rustix::fs::fsync(file).map_err(errno),
        }
    }

    /// EPERM where a seal forbids to write so far.
    fn check_seals(&self, writes: u32, end: u64) -> Result<(), Errno> {
        let Node::Memory(node) = &self.node else { return Ok(()) };
        let grows = if end > self.size()? { SEAL_GROW } else { 0 };
        node.check_seals(writes | grows)
    }

    /// Notes the length of a file in memory, and that it was changed.
    fn note_size(&self, size: u64) {
        if let Node::Memory(node) = &self.node {
            node.set_size(size);
        }
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// The path of a file, with " (deleted)" behind it when it has no name any more.
    pub fn file_path(&self, inode: &Inode) -> Result<Vec<u8>, Errno> {
        let Node::Memory(node) = &inode.node else { return self.files.path(&inode.node) };
        let mut path = inode.opened_as.clone();
        if node.stat().links == 0 {
            path.extend(b" (deleted)");
        }
        Ok(path)
    }

    /// Gives the object the length that the host's file has, should somebody outside have changed
    /// it. Who calls holds [`Inode::writing`].
    pub fn adopt_size(&self, ms: &mut MaySleep, inode: &Inode) -> Result<(), Errno> {
        let (object, size) = (self.object(inode)?, inode.size()?);
        if matches!(inode.node, Node::Host(_)) && object.len() != size {
            inode.backing.adopting.store(true, Ordering::Relaxed);
            let result = object.set_len(ms, size);
            inode.backing.adopting.store(false, Ordering::Relaxed);
            result.map_err(number_of)?;
        }
        object.close(ms);
        Ok(())
    }

    /// Reads from a file; fewer bytes than asked for only at its end.
    pub fn read_at(
        &self,
        ms: &mut MaySleep,
        inode: &Inode,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize, Errno> {
        let object = self.object(inode)?;
        let end = offset.saturating_add(into.len() as u64);
        let mut result = object.read(ms, offset, into);
        if result.is_err() || end > object.len() {
            // Somebody outside may have made the host's file shorter or longer.
            let writing = inode.writing();
            self.adopt_size(ms, inode)?;
            drop(writing);
            result = object.read(ms, offset, into);
        }
        object.close(ms);
        result.map_err(number_of)
    }

    /// Writes to a file; who writes holds [`Inode::writing`].
    pub fn write_at(
        &self,
        ms: &mut MaySleep,
        inode: &Inode,
        offset: u64,
        from: &[u8],
    ) -> Result<usize, Errno> {
        let end = offset.saturating_add(from.len() as u64);
        inode.check_seals(SEAL_WRITE | SEAL_FUTURE_WRITE, end)?;
        let object = self.object(inode)?;
        let result = object.write(ms, offset, from);
        inode.note_size(object.len());
        object.close(ms);
        result.map_err(|error| match (error, &inode.node) {
            (Error::OutOfMemory, Node::Memory(_)) => Errno::ENOSPC,
            (error, _) => number_of(error),
        })
    }

    /// ftruncate(2); who calls holds [`Inode::writing`].
    pub fn truncate(&self, ms: &mut MaySleep, inode: &Inode, length: u64) -> Result<(), Errno> {
        let shrinks = if length < inode.size()? { SEAL_SHRINK } else { 0 };
        inode.check_seals(shrinks, length)?;
        let object = self.object(inode)?;
        let result = object.set_len(ms, length);
        inode.note_size(object.len());
        object.close(ms);
        result.map_err(number_of)
    }

    /// fallocate(2) with mode 0; who calls holds [`Inode::writing`].
    pub fn allocate(
        &self,
        ms: &mut MaySleep,
        inode: &Inode,
        offset: u64,
        length: u64,
    ) -> Result<(), Errno> {
        let end = offset.saturating_add(length);
        inode.check_seals(0, end)?;
        if let Node::Host(_) = inode.node {
            let (file, mode) = (inode.backing.writer.get(), FallocateFlags::empty());
            let file = file.ok_or(Errno::EBADF)?;
            rustix::fs::fallocate(file, mode, offset, length).map_err(errno)?;
            return self.adopt_size(ms, inode);
        }
        if end > inode.size()? { self.truncate(ms, inode, end) } else { Ok(()) }
    }

    /// fsync(2), or fdatasync(2).
    pub fn sync(&self, ms: &mut MaySleep, inode: &Inode, data_only: bool) -> Result<(), Errno> {
        let object = self.object(inode)?;
        let result = object.sync(ms, 0..u64::MAX);
        object.close(ms);
        result.map_err(number_of)?;
        inode.sync_host(data_only)
    }
}

/// Linux's number for a refusal of the library.
pub(crate) fn number_of(error: Error) -> Errno {
    Errno::new(error.errno())
}
