//! Calls that tell about files, list directories, and change lengths.

use std::sync::Arc;

use vmspace::format::{Format, Geometry};

use super::path::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW};
use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::directory::Entry;
use crate::files::inode::Inode;
use crate::files::node::Node;
use crate::files::stat::{S_IFDIR, S_IFIFO, S_IFREG, Stat};
use crate::files::{Description, FileKind, flag};

const SEEK_SET: u64 = 0;
const SEEK_CUR: u64 = 1;
const SEEK_END: u64 = 2;
const SEEK_DATA: u64 = 3;
const SEEK_HOLE: u64 = 4;

/// Flags of statx(2) that change what is asked.
const AT_STATX_KNOWN: u64 = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | 0x6000 | AT_NO_AUTOMOUNT;
const AT_NO_AUTOMOUNT: u64 = 0x800;
const STATX_RESERVED: u64 = 0x8000_0000;

impl<'vm, F: Format> Call<'_, 'vm, F> {
    pub(super) fn fstat(&mut self) -> Outcome {
        let [number, buffer, ..] = self.args;
        let stat = self.stat_of(number)?;
        self.put(buffer, &stat.bytes())?;
        Ok(0)
    }

    pub(super) fn newfstatat(&mut self) -> Outcome {
        let [directory, path, buffer, flags, ..] = self.args;
        if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let stat = self.stat_at(directory, path, flags)?;
        self.put(buffer, &stat.bytes())?;
        Ok(0)
    }

    pub(super) fn statx(&mut self) -> Outcome {
        let [directory, path, flags, mask, buffer, _] = self.args;
        if flags & !AT_STATX_KNOWN != 0 || mask & STATX_RESERVED != 0 {
            return Err(Errno::EINVAL.into());
        }
        let stat = self.stat_at(directory, path, flags)?;
        self.put(buffer, &stat.statx())?;
        Ok(0)
    }

    fn stat_at(&mut self, directory: u64, path: u64, flags: u64) -> Result<Stat, Stop> {
        let empty = self.path_or_empty(path, flags)?.is_empty();
        if empty && flags & AT_EMPTY_PATH != 0 && directory as i32 != -100 {
            return self.stat_of(directory);
        }
        match self.node_at(directory, path, flags)? {
            // What a descriptor names that no path does.
            Node::Proc(crate::files::proc::Proc::Descriptor(id, number))
                if flags & AT_SYMLINK_NOFOLLOW == 0 && id == self.task.process =>
            {
                self.stat_of(number)
            }
            node => Ok(self.kernel.shown(node.stat()?)),
        }
    }

    /// What is known about what a descriptor names.
    fn stat_of(&mut self, number: u64) -> Result<Stat, Stop> {
        self.with_file(number, |call, file| match (&file.kind, file.node()) {
            (FileKind::Standard(number), _) => Ok(call.kernel.host_stat(*number)?),
            (FileKind::Pipe { id, .. }, _) => Ok(Stat::own(0, *id, S_IFIFO | 0o600)),
            (_, Some(node)) => Ok(call.kernel.shown(node.stat()?)),
            (_, None) => Err(Errno::EBADF.into()),
        })
    }

    pub(super) fn statfs(&mut self) -> Outcome {
        let [path, buffer, ..] = self.args;
        let node = self.node_at(-100i64 as u64, path, 0)?;
        self.put_statfs(&node, buffer)
    }

    pub(super) fn fstatfs(&mut self) -> Outcome {
        let [number, buffer, ..] = self.args;
        self.with_file(number, |call, file| {
            let node = file.node().unwrap_or(Node::Dev);
            call.put_statfs(&node, buffer)
        })
    }

    fn put_statfs(&mut self, node: &Node, buffer: u64) -> Outcome {
        let vm = self.kernel.vm;
        let (free, total) = (vm.free_frames(), vm.total_frames());
        let stat = self.kernel.files.statfs(node, F::PAGE_SIZE, free, total)?;
        self.put(buffer, &self.kernel.shown_space(stat).bytes())?;
        Ok(0)
    }

    pub(super) fn getdents64(&mut self) -> Outcome {
        let [number, buffer, length, ..] = self.args;
        self.with_file(number, |call, file| {
            let FileKind::Directory(node, listing) = &file.kind else {
                let path = file.has(flag::PATH);
                return Err(if path { Errno::EBADF } else { Errno::ENOTDIR }.into());
            };
            let mut position = file.position();
            let (kernel, task) = (call.kernel, &*call.task);
            let (bytes, next) = listing.read(
                *position,
                |behind| kernel.list(task, node, behind),
                |entries| records(entries, *position, u64::from(length as u32)),
            )??;
            call.put(buffer, &bytes)?;
            *position = next;
            Ok(bytes.len() as u64)
        })
    }

    pub(super) fn lseek(&mut self) -> Outcome {
        let [number, offset, whence, ..] = self.args;
        self.with_file(number, |call, file| {
            if matches!(file.kind, FileKind::Standard(_) | FileKind::Pipe { .. }) {
                return Err(Errno::ESPIPE.into());
            }
            if file.has(flag::PATH) {
                return Err(Errno::EBADF.into());
            }
            if let FileKind::Device(_) = file.kind {
                return Ok(0);
            }
            let mut position = file.position();
            let offset = offset.cast_signed();
            let new = match whence {
                SEEK_SET => Some(offset),
                SEEK_CUR => position.cast_signed().checked_add(offset),
                SEEK_END => call.length(file)?.cast_signed().checked_add(offset),
                // A file is data to its end.
                SEEK_DATA | SEEK_HOLE => {
                    let length = call.length(file)?.cast_signed();
                    if offset < 0 || offset >= length {
                        return Err(Errno::ENXIO.into());
                    }
                    Some(if whence == SEEK_DATA { offset } else { length })
                }
                _ => return Err(Errno::EINVAL.into()),
            };
            let new = new.ok_or(Errno::EOVERFLOW)?;
            *position = u64::try_from(new).map_err(|_| Errno::EINVAL)?;
            Ok(*position)
        })
    }

    /// The length that SEEK_END counts from.
    fn length(&self, file: &Description) -> Result<u64, Errno> {
        match &file.kind {
            FileKind::File(inode) => inode.size(),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn ftruncate(&mut self) -> Outcome {
        let [number, length, ..] = self.args;
        if length > i64::MAX as u64 {
            return Err(Errno::EINVAL.into());
        }
        self.with_regular(number, Errno::EINVAL, |call, inode| {
            call.kernel.truncate(call.ms, inode, length)
        })
    }

    /// Changes a regular file that a descriptor may write, one change at a time.
    fn with_regular(
        &mut self,
        number: u64,
        other: Errno,
        change: impl FnOnce(&mut Self, &Arc<Inode>) -> Result<(), Errno>,
    ) -> Outcome {
        self.with_file(number, |call, file| {
            if file.has(flag::PATH) {
                return Err(Errno::EBADF.into());
            }
            let FileKind::File(inode) = &file.kind else { return Err(other.into()) };
            if !file.is_writable() {
                return Err(other.into());
            }
            let _writing = inode.writing();
            change(call, inode)?;
            Ok(0)
        })
    }

    pub(super) fn truncate(&mut self) -> Outcome {
        let [path, length, ..] = self.args;
        if length > i64::MAX as u64 {
            return Err(Errno::EINVAL.into());
        }
        let node = self.node_at(-100i64 as u64, path, 0)?;
        if node.is(S_IFDIR) {
            return Err(Errno::EISDIR.into());
        }
        if !node.is(S_IFREG) || matches!(node, Node::Proc(_)) {
            return Err(Errno::EINVAL.into());
        }
        self.kernel.files.check_access(&node, 2)?;
        let path = self.get_string(path)?;
        let inode = self.kernel.inode(self.ms, node, &path)?;
        inode.open(self.kernel.files.host.as_ref(), false, true)?;
        let _writing = inode.writing();
        self.kernel.truncate(self.ms, &inode, length)?;
        Ok(0)
    }

    pub(super) fn fallocate(&mut self) -> Outcome {
        let [number, mode, offset, length, ..] = self.args;
        let (start, length) = (offset.cast_signed(), length.cast_signed());
        if start < 0 || length <= 0 {
            return Err(Errno::EINVAL.into());
        }
        if mode != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if start.checked_add(length).is_none() {
            return Err(Errno::EFBIG.into());
        }
        let length = length.cast_unsigned();
        self.with_regular(number, Errno::EBADF, |call, inode| {
            call.kernel.allocate(call.ms, inode, offset, length)
        })
    }

    /// `fsync` and `fdatasync`.
    pub(super) fn fsync(&mut self, data_only: bool) -> Outcome {
        let number = self.args[0];
        self.with_file(number, |call, file| match &file.kind {
            FileKind::File(inode) => {
                call.kernel.sync(call.ms, inode, data_only)?;
                Ok(0)
            }
            // What a directory holds is the host's to write.
            FileKind::Directory(..) => Ok(0),
            FileKind::Path(_) => Err(Errno::EBADF.into()),
            _ => Err(Errno::EINVAL.into()),
        })
    }

    /// fadvise64(2): what will be needed is brought.
    pub(super) fn fadvise(&mut self) -> Outcome {
        const LAST: u64 = 5;
        const WILL_NEED: u64 = 3;
        let [_, offset, length, advice, ..] = self.args;
        self.advised(|call, file| {
            if advice > LAST || length.cast_signed() < 0 {
                return Err(Errno::EINVAL.into());
            }
            let end = if length == 0 { u64::MAX } else { offset.saturating_add(length) };
            match advice {
                WILL_NEED => call.bring(file, offset, end),
                _ => Ok(0),
            }
        })
    }

    /// readahead(2)
    pub(super) fn readahead(&mut self) -> Outcome {
        let [number, offset, length, ..] = self.args;
        self.with_file(number, |call, file| match file.kind {
            _ if !file.is_readable() => Err(Errno::EBADF.into()),
            FileKind::File(_) => call.bring(file, offset, offset.saturating_add(length)),
            _ => Err(Errno::EINVAL.into()),
        })
    }

    /// sync_file_range(2): writes go to the host at once, and what mappings have stored waits for
    /// msync(2) or fsync(2).
    pub(super) fn sync_file_range(&mut self) -> Outcome {
        const KNOWN: u64 = 7;
        let flags = self.args[3];
        self.advised(|_, _| if flags & !KNOWN != 0 { Err(Errno::EINVAL.into()) } else { Ok(0) })
    }

    /// Follows advice about a file that has pages.
    fn advised(&mut self, body: impl FnOnce(&mut Self, &Arc<Description>) -> Outcome) -> Outcome {
        let number = self.args[0];
        self.with_file(number, |call, file| match file.kind {
            FileKind::Pipe { .. } | FileKind::Standard(_) => Err(Errno::ESPIPE.into()),
            FileKind::Path(_) => Err(Errno::EBADF.into()),
            _ => body(call, file),
        })
    }

    /// Brings bytes of a file ahead of their use.
    fn bring(&mut self, file: &Description, start: u64, end: u64) -> Outcome {
        if let FileKind::File(inode) = &file.kind
            && start < end
        {
            let object = self.kernel.object(inode)?;
            object.will_need(self.ms, start..end);
            object.close(self.ms);
        }
        Ok(0)
    }
}

/// As many of the entries as so many bytes hold, the first of them at place `next`; and the place
/// behind them. EINVAL when not even one fits.
fn records(entries: &[Entry], mut next: u64, room: u64) -> Result<(Vec<u8>, u64), Errno> {
    let mut bytes = Vec::new();
    for entry in entries {
        let record = entry.bytes(next + 1);
        if (bytes.len() + record.len()) as u64 > room {
            break;
        }
        bytes.extend(record);
        next += 1;
    }
    if bytes.is_empty() && !entries.is_empty() { Err(Errno::EINVAL) } else { Ok((bytes, next)) }
}
