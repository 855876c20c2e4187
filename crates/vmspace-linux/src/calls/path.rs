//! Calls that change or ask what paths name.

use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::node::{Node, RENAME_EXCHANGE, RENAME_NOREPLACE, Times};
use crate::files::stat::{S_IFDIR, S_IFMT, S_IFREG, Time};
use crate::files::walk::Found;

pub(super) const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_REMOVEDIR: u64 = 0x200;
const AT_EACCESS: u64 = 0x200;
const AT_SYMLINK_FOLLOW: u64 = 0x400;
pub(super) const AT_EMPTY_PATH: u64 = 0x1000;

const UTIME_NOW: u64 = (1 << 30) - 1;
const UTIME_OMIT: u64 = (1 << 30) - 2;

/// The last name of a path, which a call makes, removes or renames.
struct Last {
    found: Found,
    /// Slashes stand behind it.
    slash: bool,
    /// The path's last name as written: also `.`, `..`, or nothing.
    written: Vec<u8>,
}

impl<'vm, F: Format> Call<'_, 'vm, F> {
    /// What a path names, or a descriptor when the path is empty and may be.
    pub(super) fn node_at(&mut self, directory: u64, path: u64, flags: u64) -> Result<Node, Stop> {
        let path = self.path_or_empty(path, flags)?;
        self.node_of(directory, &path, flags)
    }

    /// The same with a path that is read already.
    pub(super) fn node_of(
        &mut self,
        directory: u64,
        path: &[u8],
        flags: u64,
    ) -> Result<Node, Stop> {
        if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
            if directory as i32 == -100 {
                return Ok(self.task.place.directory());
            }
            return self
                .with_file(directory, |_, file| file.node().ok_or_else(|| Errno::EBADF.into()));
        }
        let found = self.walk(directory, path, flags & AT_SYMLINK_NOFOLLOW == 0)?;
        Ok(found.node.ok_or(Errno::ENOENT)?)
    }

    /// A path; a null pointer stands for an empty one where that may be.
    pub(super) fn path_or_empty(&mut self, path: u64, flags: u64) -> Result<Vec<u8>, Errno> {
        match path == 0 && flags & AT_EMPTY_PATH != 0 {
            true => Ok(Vec::new()),
            false => self.get_string(path),
        }
    }

    /// Finds where a name is to be made, removed or renamed; a link there is not followed.
    fn last(&mut self, directory: u64, path: u64) -> Result<Last, Stop> {
        let path = self.get_string(path)?;
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |end| end + 1);
        let slash = end < path.len();
        let stripped = if end == 0 && slash { b"/" } else { &path[..end] };
        let written = stripped.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        Ok(Last { found: self.walk(directory, stripped, false)?, slash, written })
    }

    pub(super) fn mkdirat(&mut self) -> Outcome {
        let [directory, path, mode, ..] = self.args;
        let Last { found, .. } = self.last(directory, path)?;
        if found.node.is_some() {
            return Err(Errno::EEXIST.into());
        }
        let mode = self.task.place.masked(mode) & 0o1777;
        self.kernel.files.make_directory(&found.directory, &found.name, mode)?;
        self.note_made(&found.directory, &found.name);
        Ok(0)
    }

    /// Regular files alone: devices and FIFOs are refused, as to a user without privileges.
    pub(super) fn mknodat(&mut self) -> Outcome {
        let [directory, path, mode, ..] = self.args;
        let Last { found, slash, .. } = self.last(directory, path)?;
        if found.node.is_some() {
            return Err(Errno::EEXIST.into());
        }
        if !matches!(mode as u32 & S_IFMT, 0 | S_IFREG) {
            return Err(Errno::EPERM.into());
        }
        let mode = self.task.place.masked(mode);
        match &found.directory {
            _ if slash => return Err(Errno::ENOENT.into()),
            Node::Host(at) => drop(self.kernel.files.host()?.create(at, &found.name, mode)?),
            Node::Memory(at) => drop(at.create(&found.name, mode)?),
            _ => return Err(Errno::EACCES.into()),
        }
        self.note_made(&found.directory, &found.name);
        Ok(0)
    }

    pub(super) fn unlinkat(&mut self) -> Outcome {
        let [directory, path, flags, ..] = self.args;
        if flags & !AT_REMOVEDIR != 0 {
            return Err(Errno::EINVAL.into());
        }
        let remove_directory = flags & AT_REMOVEDIR != 0;
        let Last { found, slash, written } = self.last(directory, path)?;
        let node = found.node.ok_or(Errno::ENOENT)?;
        let is_directory = node.is(S_IFDIR);
        match &written[..] {
            _ if !remove_directory && is_directory => return Err(Errno::EISDIR.into()),
            _ if !remove_directory && slash => return Err(Errno::ENOTDIR.into()),
            _ if !remove_directory => {}
            b"." => return Err(Errno::EINVAL.into()),
            b".." => return Err(Errno::ENOTEMPTY.into()),
            b"" => return Err(Errno::EBUSY.into()),
            _ => {}
        }
        self.kernel.files.remove(&found.directory, &found.name, remove_directory)?;
        self.removed(node);
        Ok(0)
    }

    pub(super) fn renameat2(&mut self) -> Outcome {
        let [directory, path, to, other, flags, _] = self.args;
        let flags = flags as u32;
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE) != 0 || flags == 3 {
            return Err(Errno::EINVAL.into());
        }
        let (from, to) = (self.last(directory, path)?, self.last(to, other)?);
        if from.found.name.is_empty() || to.found.name.is_empty() {
            return Err(Errno::EBUSY.into());
        }
        let node = from.found.node.as_ref().ok_or(Errno::ENOENT)?;
        if flags == RENAME_EXCHANGE && to.found.node.is_none() {
            return Err(Errno::ENOENT.into());
        }
        if !node.is(S_IFDIR) && (from.slash || to.slash) {
            return Err(Errno::ENOTDIR.into());
        }
        let (from, to) = (from.found, to.found);
        let (one, two) = ((&from.directory, &from.name[..]), (&to.directory, &to.name[..]));
        self.kernel.files.rename(one, two, flags)?;
        if let Some(replaced) = to.node {
            self.removed(replaced);
        }
        Ok(0)
    }

    /// A name of a file is gone, and with it its pages perhaps.
    fn removed(&mut self, node: Node) {
        let identity = node.identity();
        drop(node);
        self.kernel.pages.note_closed(identity);
        self.kernel.drop_unused(self.ms);
    }

    /// A file, directory or link has come to be beneath the host's root: what is shown of it is not
    /// what was shown of one that had its number before.
    fn note_made(&self, directory: &Node, name: &[u8]) {
        if let Ok(node) = self.kernel.step(self.task, directory, name) {
            self.kernel.renew_shown(&node);
        }
    }

    pub(super) fn linkat(&mut self) -> Outcome {
        let [directory, path, to, other, flags, _] = self.args;
        if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let follow = if flags & AT_SYMLINK_FOLLOW != 0 { 0 } else { AT_SYMLINK_NOFOLLOW };
        let node = self.node_at(directory, path, flags & AT_EMPTY_PATH | follow)?;
        let Last { found, slash, .. } = self.last(to, other)?;
        match found.node {
            Some(_) => return Err(Errno::EEXIST.into()),
            None if slash => return Err(Errno::ENOENT.into()),
            None => {}
        }
        if node.is(S_IFDIR) {
            return Err(Errno::EPERM.into());
        }
        self.kernel.files.hard_link(&node, &found.directory, &found.name)?;
        Ok(0)
    }

    pub(super) fn symlinkat(&mut self) -> Outcome {
        let [target, directory, path, ..] = self.args;
        let target = self.get_string(target)?;
        if target.is_empty() {
            return Err(Errno::ENOENT.into());
        }
        let Last { found, slash, .. } = self.last(directory, path)?;
        match found.node {
            Some(_) => return Err(Errno::EEXIST.into()),
            None if slash => return Err(Errno::ENOENT.into()),
            None => {}
        }
        self.kernel.files.make_link(&found.directory, &found.name, &target)?;
        self.note_made(&found.directory, &found.name);
        Ok(0)
    }

    pub(super) fn readlinkat(&mut self) -> Outcome {
        let [directory, path, buffer, length, ..] = self.args;
        if (length as i32) <= 0 {
            return Err(Errno::EINVAL.into());
        }
        let node = self.node_at(directory, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
        let target = self.kernel.link_text(self.task, &node)?;
        let target = &target[..target.len().min(length as u32 as usize)];
        self.put(buffer, target)?;
        Ok(target.len() as u64)
    }

    /// `faccessat` and `faccessat2`.
    pub(super) fn faccessat(&mut self, flags: u64) -> Outcome {
        let [directory, path, rights, ..] = self.args;
        let known = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
        if rights & !7 != 0 || flags & !known != 0 {
            return Err(Errno::EINVAL.into());
        }
        let node = self.node_at(directory, path, flags)?;
        self.kernel.files.check_access(&node, rights as u32)?;
        Ok(0)
    }

    pub(super) fn fchmod(&mut self) -> Outcome {
        let [number, mode, ..] = self.args;
        self.with_file(number, |call, file| {
            let node = file.node().filter(|_| !file.has(crate::files::flag::PATH));
            call.kernel.files.change_mode(&node.ok_or(Errno::EBADF)?, mode as u32 & 0o7777)?;
            Ok(0)
        })
    }

    pub(super) fn fchmodat(&mut self, flags: u64) -> Outcome {
        let [directory, path, mode, ..] = self.args;
        if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let node = self.node_at(directory, path, flags)?;
        self.kernel.files.change_mode(&node, mode as u32 & 0o7777)?;
        Ok(0)
    }

    /// The program owns what it may own already; nothing else can be given away.
    fn change_owner(&self, owners: [u64; 2]) -> Outcome {
        let stays = |id: u64| matches!(id as u32, u32::MAX | crate::stack::ID);
        if owners.into_iter().all(stays) { Ok(0) } else { Err(Errno::EPERM.into()) }
    }

    pub(super) fn fchown(&mut self) -> Outcome {
        let [number, user, group, ..] = self.args;
        self.with_file(number, |call, _| call.change_owner([user, group]))
    }

    pub(super) fn fchownat(&mut self) -> Outcome {
        let [directory, path, user, group, flags, _] = self.args;
        self.node_at(directory, path, flags)?;
        self.change_owner([user, group])
    }

    pub(super) fn utimensat(&mut self) -> Outcome {
        let [directory, path, times, flags, ..] = self.args;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let now = (now.tv_sec, now.tv_nsec as u32);
        let times = match times {
            0 => Times { accessed: Some(now), modified: Some(now) },
            _ => {
                let [accessed, nanoseconds, modified, more] = self.get_words(times)?;
                let time = |seconds: u64, nanoseconds: u64| match nanoseconds {
                    UTIME_NOW => Ok(Some(now)),
                    UTIME_OMIT => Ok(None),
                    0..1_000_000_000 => Ok(Some((seconds.cast_signed(), nanoseconds as u32))),
                    _ => Err(Errno::EINVAL),
                };
                let accessed: Option<Time> = time(accessed, nanoseconds)?;
                Times { accessed, modified: time(modified, more)? }
            }
        };
        // Without a path it is the descriptor itself.
        let flags = if path == 0 { flags | AT_EMPTY_PATH } else { flags };
        let node = self.node_at(directory, path, flags)?;
        self.kernel.files.set_times(&node, times)?;
        Ok(0)
    }

    pub(super) fn getcwd(&mut self) -> Outcome {
        let [buffer, length, ..] = self.args;
        let mut path = self.kernel.files.path(&self.task.place.directory())?;
        if path.ends_with(b" (deleted)") {
            return Err(Errno::ENOENT.into());
        }
        path.push(0);
        if path.len() as u64 > length {
            return Err(Errno::ERANGE.into());
        }
        self.put(buffer, &path)?;
        Ok(path.len() as u64)
    }

    pub(super) fn chdir(&mut self) -> Outcome {
        let path = self.get_string(self.args[0])?;
        let found = self.walk(-100i64 as u64, &path, true)?;
        self.enter(found.node.ok_or(Errno::ENOENT)?)
    }

    pub(super) fn fchdir(&mut self) -> Outcome {
        let number = self.args[0];
        self.with_file(number, |call, file| call.enter(file.node().ok_or(Errno::ENOTDIR)?))
    }

    fn enter(&mut self, node: Node) -> Outcome {
        if !node.is(S_IFDIR) {
            return Err(Errno::ENOTDIR.into());
        }
        self.kernel.files.check_access(&node, 1)?;
        self.task.place.set_directory(node);
        Ok(0)
    }
}
