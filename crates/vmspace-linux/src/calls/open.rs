//! Calls that open files: openat(2), memfd_create(2).
//!
//! Guarantee: an open never waits: FIFOs, sockets and devices beneath the root are refused with
//! ENXIO. What was found by the walk is what is opened, whoever renames meanwhile.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::devices::InDev;
use crate::files::directory::Listing;
use crate::files::inode::Inode;
use crate::files::node::Node;
use crate::files::proc::{Proc, Text};
use crate::files::root::HostNode;
use crate::files::stat::{S_IFDIR, S_IFLNK, S_IFREG};
use crate::files::walk::Found;
use crate::files::{Description, FileKind, flag};

const AT_FDCWD: i32 = -100;

/// How often a walk begins again because somebody made or removed the file meanwhile.
const MOST_RACES: usize = 16;

const MFD_CLOEXEC: u64 = 1;
const MFD_ALLOW_SEALING: u64 = 2;
const MFD_NOEXEC_SEAL: u64 = 8;
const MFD_EXEC: u64 = 16;

impl<'vm, F: Format> Call<'_, 'vm, F> {
    pub(super) fn openat(&mut self) -> Outcome {
        let [directory, path, flags, mode, ..] = self.args;
        let path = self.get_string(path)?;
        self.task.files.check_room()?;
        let file = self.open(directory, &path, flags, mode)?;
        self.new_descriptor(file, flags)
    }

    /// The directory that relative paths begin at. One that is not needed is not looked at.
    pub(super) fn start(&mut self, directory: u64, path: &[u8]) -> Result<Node, Stop> {
        match directory as i32 {
            _ if path.starts_with(b"/") => Ok(self.kernel.files.top.clone()),
            AT_FDCWD => Ok(self.task.place.directory()),
            _ => self.with_file(directory, |_, file| {
                let node = file.node().filter(|node| node.is(S_IFDIR));
                node.ok_or_else(|| Errno::ENOTDIR.into())
            }),
        }
    }

    /// Walks a path from a directory's descriptor.
    pub(super) fn walk(
        &mut self,
        directory: u64,
        path: &[u8],
        follow: bool,
    ) -> Result<Found, Stop> {
        let start = self.start(directory, path)?;
        Ok(self.kernel.walk(self.task, start, path, follow)?)
    }

    fn open(
        &mut self,
        directory: u64,
        path: &[u8],
        flags: u64,
        mode: u64,
    ) -> Result<Arc<Description>, Stop> {
        let place = flags & flag::PATH != 0;
        let create = flags & flag::CREATE != 0 && !place;
        let exclusive = create && flags & flag::EXCLUSIVE != 0;
        if create && flags & flag::DIRECTORY != 0 || flags & flag::ACCESS == flag::ACCESS {
            return Err(Errno::EINVAL.into());
        }
        if flags & flag::TMPFILE != 0 && !place {
            return self.open_unnamed(directory, path, flags, mode);
        }
        let follow = flags & flag::NOFOLLOW == 0 && !exclusive;
        for _ in 0..MOST_RACES {
            let found = self.walk(directory, path, follow)?;
            let opened = match &found.node {
                None if !create => Err(Errno::ENOENT),
                None if found.slash => Err(Errno::EISDIR),
                None => self.create(&found, path, flags, mode),
                Some(_) if exclusive => Err(Errno::EEXIST),
                Some(node) if create && node.is(S_IFDIR) => Err(Errno::EISDIR),
                Some(node) => self.open_node(node, path, flags),
            };
            match opened {
                // Somebody else made it, and we did not ask for ours.
                Err(Errno::EEXIST) if create && !exclusive => {}
                opened => return Ok(opened?),
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// Makes the file that a walk did not find.
    fn create(
        &mut self,
        found: &Found,
        path: &[u8],
        flags: u64,
        mode: u64,
    ) -> Result<Arc<Description>, Errno> {
        let mode = self.task.place.masked(mode);
        let files = &self.kernel.files;
        let inode = match &found.directory {
            Node::Host(directory) => {
                self.made(files.host()?.create(directory, &found.name, mode)?, path)?
            }
            Node::Memory(directory) => {
                let node = Node::Memory(directory.create(&found.name, mode)?);
                self.kernel.inode(self.ms, node, path)?
            }
            _ => return Err(Errno::EACCES),
        };
        Ok(Description::new(FileKind::File(inode), flags))
    }

    /// The inode of a file that the host has just made.
    fn made(
        &mut self,
        (node, file): (HostNode, OwnedFd),
        path: &[u8],
    ) -> Result<Arc<Inode>, Errno> {
        let node = Node::Host(node.into());
        self.kernel.renew_shown(&node);
        let inode = self.kernel.inode(self.ms, node, path)?;
        inode.made(file)?;
        Ok(inode)
    }

    /// O_TMPFILE: a file without a name in a directory.
    fn open_unnamed(
        &mut self,
        directory: u64,
        path: &[u8],
        flags: u64,
        mode: u64,
    ) -> Result<Arc<Description>, Stop> {
        if flags & flag::DIRECTORY == 0 || flags & flag::ACCESS == 0 {
            return Err(Errno::EINVAL.into());
        }
        let found = self.walk(directory, path, true)?;
        let mode = self.task.place.masked(mode);
        let linkable = flags & flag::EXCLUSIVE == 0;
        let files = &self.kernel.files;
        let inode = match found.node.ok_or(Errno::ENOENT)? {
            node if !node.is(S_IFDIR) => return Err(Errno::ENOTDIR.into()),
            Node::Host(directory) => {
                self.made(files.host()?.create_unnamed(&directory, mode, linkable)?, path)?
            }
            Node::Memory(directory) => {
                let node = Node::Memory(directory.create_unnamed(mode, linkable)?);
                self.kernel.inode(self.ms, node, path)?
            }
            _ => return Err(Errno::EOPNOTSUPP.into()),
        };
        Ok(Description::new(FileKind::File(inode), flags & !flag::DIRECTORY))
    }

    /// Opens what a walk has found.
    fn open_node(
        &mut self,
        node: &Node,
        path: &[u8],
        flags: u64,
    ) -> Result<Arc<Description>, Errno> {
        let directory = node.is(S_IFDIR);
        if flags & flag::DIRECTORY != 0 && !directory {
            return Err(Errno::ENOTDIR);
        }
        let kind = match node {
            _ if flags & flag::PATH != 0 => FileKind::Path(node.clone()),
            Node::Proc(Proc::Descriptor(..)) => return self.open_again(node),
            _ if node.is(S_IFLNK) => return Err(Errno::ELOOP),
            _ if directory => self.open_directory(node, flags)?,
            _ if node.is(S_IFREG) && !matches!(node, Node::Proc(_)) => {
                self.open_regular(node, path, flags)?
            }
            Node::InDev(InDev::Device(device)) => FileKind::Device(*device),
            Node::Proc(proc) if flags & flag::ACCESS != 0 && !proc.is_writable() => {
                return Err(Errno::EACCES);
            }
            Node::InDev(InDev::Swap(_)) => return Err(Errno::EACCES),
            Node::Proc(proc) => FileKind::Text(*proc, Text::default()),
            _ => return Err(Errno::ENXIO),
        };
        Ok(Description::new(kind, flags))
    }

    fn open_directory(&self, node: &Node, flags: u64) -> Result<FileKind, Errno> {
        if flags & flag::ACCESS != 0 || flags & flag::TRUNCATE != 0 {
            return Err(Errno::EISDIR);
        }
        if let Node::Host(directory) = node {
            // Whether it may be read.
            self.kernel.files.host()?.reopen(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        }
        Ok(FileKind::Directory(node.clone(), Listing::default()))
    }

    fn open_regular(&mut self, node: &Node, path: &[u8], flags: u64) -> Result<FileKind, Errno> {
        let files = &self.kernel.files;
        let truncate = flags & flag::TRUNCATE != 0;
        let read = flags & flag::ACCESS != flag::WRITE_ONLY;
        let write = flags & flag::ACCESS != 0 || truncate;
        if let Node::Memory(_) = node {
            files.check_access(node, u32::from(read) << 2 | u32::from(write) << 1)?;
        }
        let inode = self.kernel.inode(self.ms, node.clone(), path)?;
        inode.open(files.host.as_ref(), read, write)?;
        if truncate {
            let _writing = inode.writing();
            self.kernel.truncate(self.ms, &inode, 0)?;
        }
        Ok(FileKind::File(inode))
    }

    /// Opens what a descriptor names that no path does, a pipe or a terminal: the same again.
    fn open_again(&mut self, node: &Node) -> Result<Arc<Description>, Errno> {
        let Node::Proc(Proc::Descriptor(id, number)) = node else { return Err(Errno::ENXIO) };
        if *id != self.task.process {
            return Err(Errno::EACCES);
        }
        self.task.files.get(*number).map(|descriptor| descriptor.file).map_err(|_| Errno::ENOENT)
    }

    pub(super) fn memfd_create(&mut self) -> Outcome {
        const LONGEST: usize = 249;
        let [name, flags, ..] = self.args;
        let known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
        let name = self.get_string(name).map_err(|error| match error {
            Errno::ENAMETOOLONG => Errno::EINVAL,
            error => error,
        })?;
        if flags & !known != 0 || name.len() > LONGEST {
            return Err(Errno::EINVAL.into());
        }
        self.task.files.check_room()?;
        let files = &self.kernel.files;
        let node = files.nameless.create_unnamed(0o777, false)?;
        if flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL) != 0 {
            node.allow_seals();
        }
        let path = [b"/memfd:", &name[..]].concat();
        let inode = self.kernel.inode(self.ms, Node::Memory(node), &path)?;
        let file = Description::new(FileKind::File(inode), flag::READ_WRITE);
        let close_on_exec = if flags & MFD_CLOEXEC != 0 { flag::CLOEXEC } else { 0 };
        self.new_descriptor(file, close_on_exec)
    }
}
