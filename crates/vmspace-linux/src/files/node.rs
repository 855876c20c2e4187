//! What a path names.
//!
//! Guarantee: an operation that a kind of node does not know gives the error that Linux gives for a
//! file system without it. The host's nodes go to the host, by descriptors alone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, RenameFlags, Timespec, Timestamps};

use super::FileSystem;
use super::devices::InDev;
use super::memory::MemoryNode;
use super::proc::Proc;
use super::root::{HostNode, HostRoot};
use super::stat::{S_IFDIR, S_IFLNK, Stat, StatFs, Time};
use crate::Errno;
use crate::host::errno;
use crate::swap;

/// A place in the tree of files.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// Beneath the host's root.
    Host(Arc<HostNode>),
    /// In a tree of the machine's memory.
    Memory(Arc<MemoryNode>),
    /// /dev
    Dev,
    /// A device, or a link of /dev.
    InDev(InDev),
    Proc(Proc),
}

/// What is to be set of a file's times; nothing where it is to stay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub accessed: Option<Time>,
    pub modified: Option<Time>,
}

/// RENAME_NOREPLACE and RENAME_EXCHANGE.
pub(crate) const RENAME_NOREPLACE: u32 = 1;
pub(crate) const RENAME_EXCHANGE: u32 = 2;

impl Node {
    /// Whether it is of this kind (`S_IFDIR`, …).
    pub fn is(&self, kind: u32) -> bool {
        match self {
            Node::Host(node) => node.is(kind),
            Node::Memory(node) => node.is(kind),
            Node::Dev => kind == S_IFDIR,
            Node::InDev(entry) => entry.stat().is(kind),
            Node::Proc(proc) => proc.kind() == kind,
        }
    }

    /// Device and inode number.
    pub fn identity(&self) -> (u64, u64) {
        match self {
            Node::Host(node) => node.identity(),
            Node::Memory(node) => node.identity(),
            Node::Dev => (super::devices::DEVICE, 1),
            Node::InDev(entry) => (super::devices::DEVICE, entry.stat().inode),
            Node::Proc(proc) => (super::proc::DEVICE, proc.inode()),
        }
    }

    pub fn is_same(&self, other: &Node) -> bool {
        self.identity() == other.identity()
    }

    /// What is known about it.
    pub fn stat(&self) -> Result<Stat, Errno> {
        match self {
            Node::Host(node) => node.stat(),
            Node::Memory(node) => Ok(node.stat()),
            Node::Dev => {
                Ok(Stat { links: 2, ..Stat::own(super::devices::DEVICE, 1, S_IFDIR | 0o755) })
            }
            Node::InDev(entry) => Ok(entry.stat()),
            Node::Proc(proc) => Ok(proc.stat()),
        }
    }
}

/// Of two files: both the host's, both in memory, or neither can be.
enum Pair<'a> {
    Host(&'a HostNode, &'a HostNode),
    Memory(&'a Arc<MemoryNode>, &'a Arc<MemoryNode>),
}

fn pair<'a>(one: &'a Node, other: &'a Node) -> Result<Pair<'a>, Errno> {
    match (one, other) {
        (Node::Host(one), Node::Host(other)) => Ok(Pair::Host(one, other)),
        (Node::Memory(one), Node::Memory(other)) => Ok(Pair::Memory(one, other)),
        _ => Err(Errno::EXDEV),
    }
}

impl FileSystem {
    /// The host's root, which is there when a host's node is.
    pub fn host(&self) -> Result<&HostRoot, Errno> {
        self.host.as_ref().ok_or(Errno::ENOENT)
    }

    /// Whether a name of the root's directory belongs to /dev or /proc.
    pub fn is_mount(&self, directory: &Node, name: &[u8]) -> bool {
        matches!(name, b"dev" | b"proc") && directory.is_same(&self.top)
            || name == b"shm" && matches!(directory, Node::Dev)
    }

    fn check_mount(&self, directory: &Node, name: &[u8]) -> Result<(), Errno> {
        if self.is_mount(directory, name) { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// The path from `/`, as getcwd(2) and links of /proc have it.
    pub fn path(&self, node: &Node) -> Result<Vec<u8>, Errno> {
        match node {
            Node::Host(node) => self.host()?.path(node),
            Node::Memory(memory) => {
                let shared = memory.identity().0 == self.shared.identity().0;
                let mut path = if shared { b"/dev/shm".to_vec() } else { Vec::new() };
                path.extend(memory.path()?);
                if path.is_empty() {
                    path.push(b'/');
                }
                Ok(path)
            }
            Node::Dev => Ok(b"/dev".to_vec()),
            Node::InDev(InDev::Device(device)) => Ok(device.path()),
            Node::InDev(InDev::Swap(number)) => Ok(swap::name(*number).into_bytes()),
            Node::InDev(InDev::Link(target)) => Ok(target.as_bytes().to_vec()),
            Node::Proc(proc) => Ok(proc.path()),
        }
    }

    /// mkdir(2).
    pub fn make_directory(&self, at: &Node, name: &[u8], mode: u32) -> Result<(), Errno> {
        match at {
            Node::Host(at) => self.host()?.make_directory(at, name, mode),
            Node::Memory(at) => at.make_directory(name, mode),
            _ => Err(Errno::EACCES),
        }
    }

    /// symlink(2).
    pub fn make_link(&self, at: &Node, name: &[u8], target: &[u8]) -> Result<(), Errno> {
        match at {
            Node::Host(at) => {
                let (target, name) = (OsStr::from_bytes(target), OsStr::from_bytes(name));
                rustix::fs::symlinkat(target, at.file(), name).map_err(errno)
            }
            Node::Memory(at) => at.make_link(name, target),
            _ => Err(Errno::EACCES),
        }
    }

    /// link(2): another name for `node`.
    pub fn hard_link(&self, node: &Node, at: &Node, name: &[u8]) -> Result<(), Errno> {
        match pair(node, at)? {
            Pair::Host(node, at) => {
                let (directory, number) = self.host()?.by_name(node);
                let name = OsStr::from_bytes(name);
                let follow = AtFlags::SYMLINK_FOLLOW;
                rustix::fs::linkat(directory, number, at.file(), name, follow).map_err(errno)
            }
            Pair::Memory(node, at) => at.hard_link(name, node),
        }
    }

    /// unlink(2), or rmdir(2) of a directory.
    pub fn remove(&self, at: &Node, name: &[u8], directory: bool) -> Result<(), Errno> {
        self.check_mount(at, name)?;
        match at {
            Node::Host(at) => {
                let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                rustix::fs::unlinkat(at.file(), OsStr::from_bytes(name), flags).map_err(errno)
            }
            Node::Memory(at) => at.remove(name, directory),
            _ => Err(Errno::EACCES),
        }
    }

    /// renameat2(2).
    pub fn rename(
        &self,
        from: (&Node, &[u8]),
        to: (&Node, &[u8]),
        flags: u32,
    ) -> Result<(), Errno> {
        self.check_mount(from.0, from.1)?;
        self.check_mount(to.0, to.1)?;
        match pair(from.0, to.0)? {
            Pair::Host(at, other) => rustix::fs::renameat_with(
                at.file(),
                OsStr::from_bytes(from.1),
                other.file(),
                OsStr::from_bytes(to.1),
                RenameFlags::from_bits_retain(flags),
            )
            .map_err(errno),
            Pair::Memory(at, other) => match flags {
                0 | RENAME_NOREPLACE => at.rename(from.1, other, to.1, flags != 0),
                _ => Err(Errno::EINVAL),
            },
        }
    }

    /// chmod(2).
    pub fn change_mode(&self, node: &Node, mode: u32) -> Result<(), Errno> {
        match node {
            Node::Host(node) => self.host()?.change_mode(node, mode),
            Node::Memory(node) => {
                node.set_mode(mode);
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }

    /// utimensat(2).
    pub fn set_times(&self, node: &Node, times: Times) -> Result<(), Errno> {
        match node {
            Node::Host(node) => {
                const UTIME_OMIT: i64 = (1 << 30) - 2;
                let time = |time: Option<Time>| match time {
                    Some((tv_sec, nanoseconds)) => Timespec { tv_sec, tv_nsec: nanoseconds.into() },
                    None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                };
                let times = Timestamps {
                    last_access: time(times.accessed),
                    last_modification: time(times.modified),
                };
                let (directory, number) = self.host()?.by_name(node);
                let flags = AtFlags::empty();
                if node.is(S_IFLNK) {
                    return Err(Errno::EOPNOTSUPP);
                }
                rustix::fs::utimensat(directory, number, &times, flags).map_err(errno)
            }
            Node::Memory(node) => {
                node.set_times(times.accessed, times.modified);
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }

    /// access(2): the rights as bits, 4 to read, 2 to write, 1 to execute.
    pub fn check_access(&self, node: &Node, rights: u32) -> Result<(), Errno> {
        match node {
            Node::Host(node) => {
                let (directory, number) = self.host()?.by_name(node);
                let rights = rustix::fs::Access::from_bits_truncate(rights);
                if node.is(S_IFLNK) {
                    return Ok(());
                }
                rustix::fs::accessat(directory, number, rights, AtFlags::empty()).map_err(errno)
            }
            _ => {
                let mode = node.stat()?.mode;
                let granted = if matches!(node, Node::InDev(_)) { mode } else { mode >> 6 } & 7;
                if rights & !granted == 0 { Ok(()) } else { Err(Errno::EACCES) }
            }
        }
    }

    /// statfs(2); `free` and `total` are the machine's memory in pages of `page` bytes.
    pub fn statfs(&self, node: &Node, page: u64, free: u64, total: u64) -> Result<StatFs, Errno> {
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        const PROC_SUPER_MAGIC: u64 = 0x9fa0;
        let (kind, blocks, free) = match node {
            Node::Host(node) => {
                let stat = rustix::fs::fstatvfs(node.file()).map_err(errno)?;
                return Ok(StatFs {
                    kind: rustix::fs::fstatfs(node.file()).map_err(errno)?.f_type as u64,
                    block: stat.f_bsize,
                    blocks: stat.f_blocks,
                    free: stat.f_bfree,
                    available: stat.f_bavail,
                    files: stat.f_files,
                    free_files: stat.f_ffree,
                });
            }
            Node::Proc(_) => (PROC_SUPER_MAGIC, 0, 0),
            _ => (TMPFS_MAGIC, total, free),
        };
        Ok(StatFs { kind, block: page, blocks, free, available: free, files: 0, free_files: 0 })
    }
}
