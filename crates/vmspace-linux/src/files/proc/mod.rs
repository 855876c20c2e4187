//! /proc: the machine's own processes; nothing of the host's.
//!
//! Guarantee: a file says what is true when it is read, long ones part by part. Links to what a
//! process has open lead to the file itself, as on Linux, and never out of the root.

mod maps;
mod memory;
mod text;

pub(crate) use maps::maps;
pub(crate) use text::{Text, comm};

use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use vmspace::format::Format;

use super::node::Node;
use super::stat::{S_IFDIR, S_IFLNK, S_IFREG, Stat};
use super::{FileKind, Files, Place};
use crate::Errno;
use crate::kernel::Kernel;
use crate::space::Space;
use crate::task::{Id, Task};

/// The number under which /proc's files are known (`st_dev`).
pub(crate) const DEVICE: u64 = 0xfff0_0011;

/// A file, directory or link of /proc.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proc {
    Top,
    /// /proc/self, a link to the directory of whoever looks.
    Own,
    /// A file about the machine.
    Machine(Machine),
    /// /proc/sys and /proc/sys/vm.
    Sys,
    SysVm,
    Process(Id),
    /// A file about a process.
    About(Id, About),
    /// A link to a file of a process.
    Link(Id, Link),
    /// /proc/PID/fd
    Descriptors(Id),
    Descriptor(Id, u64),
}

/// Files about the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Machine {
    Meminfo,
    Vmstat,
    Swaps,
    Cpuinfo,
    Overcommit,
    MaxMapCount,
}

/// Files about a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum About {
    Maps,
    Smaps,
    Pagemap,
    Status,
    Stat,
    Statm,
    Cmdline,
    Comm,
    OomScore,
    OomScoreAdj,
}

/// Links to a process's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    Executable,
    Directory,
    Root,
}

const ABOUT: [(&str, About); 10] = [
    ("cmdline", About::Cmdline),
    ("comm", About::Comm),
    ("maps", About::Maps),
    ("oom_score", About::OomScore),
    ("oom_score_adj", About::OomScoreAdj),
    ("pagemap", About::Pagemap),
    ("smaps", About::Smaps),
    ("stat", About::Stat),
    ("statm", About::Statm),
    ("status", About::Status),
];

const LINKS: [(&str, Link); 3] =
    [("cwd", Link::Directory), ("exe", Link::Executable), ("root", Link::Root)];

/// What is known of a process.
pub(crate) struct View<'vm, F: Format> {
    pub space: Arc<Space<'vm, F>>,
    pub files: Arc<Files>,
    pub place: Arc<Place>,
    pub name: [u8; 16],
}

impl Proc {
    /// `S_IFDIR`, `S_IFLNK` or `S_IFREG`.
    pub fn kind(self) -> u32 {
        match self {
            Proc::Top | Proc::Sys | Proc::SysVm | Proc::Process(_) | Proc::Descriptors(_) => {
                S_IFDIR
            }
            Proc::Own | Proc::Link(..) | Proc::Descriptor(..) => S_IFLNK,
            Proc::Machine(_) | Proc::About(..) => S_IFREG,
        }
    }

    /// A number that tells one from another.
    pub fn inode(self) -> u64 {
        let of = |id: Id, within: u64| u64::from(id.cast_unsigned()) << 32 | within;
        match self {
            Proc::Top => 1,
            Proc::Own => 2,
            Proc::Sys => 3,
            Proc::SysVm => 4,
            Proc::Machine(file) => 16 + file as u64,
            Proc::Process(id) => of(id, 1),
            Proc::Descriptors(id) => of(id, 2),
            Proc::About(id, file) => of(id, 16 + file as u64),
            Proc::Link(id, link) => of(id, 48 + link as u64),
            Proc::Descriptor(id, number) => of(id, 64 + number),
        }
    }

    pub fn stat(self) -> Stat {
        let mode = match self.kind() {
            S_IFDIR => S_IFDIR | 0o555,
            S_IFLNK => S_IFLNK | 0o777,
            kind if matches!(self, Proc::About(_, About::Pagemap)) => kind | 0o400,
            kind if self.is_writable() => kind | 0o644,
            kind => kind | 0o444,
        };
        let links = if mode & S_IFDIR == S_IFDIR { 2 } else { 1 };
        Stat { links, block: 1024, ..Stat::own(DEVICE, self.inode(), mode) }
    }

    /// Whether it can be written.
    pub fn is_writable(self) -> bool {
        matches!(self, Proc::About(_, About::OomScoreAdj))
    }

    /// EINVAL where a file is not read from that place, or so long: pagemap only in whole words.
    pub fn check_read(self, at: u64, length: u64) -> Result<(), Errno> {
        let words = matches!(self, Proc::About(_, About::Pagemap));
        let whole = at.is_multiple_of(text::WORD) && length.is_multiple_of(text::WORD);
        if words && !whole { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// The directory above a directory other than the top.
    pub fn up(self) -> Proc {
        match self {
            Proc::SysVm => Proc::Sys,
            Proc::Descriptors(id) => Proc::Process(id),
            _ => Proc::Top,
        }
    }

    pub fn path(self) -> Vec<u8> {
        let name = |table: &[(&'static str, About)], file| {
            table.iter().find(|row| row.1 == file).map_or("", |row| row.0)
        };
        let text = match self {
            Proc::Top => "/proc".to_string(),
            Proc::Own => "/proc/self".to_string(),
            Proc::Machine(Machine::Meminfo) => "/proc/meminfo".to_string(),
            Proc::Machine(Machine::Vmstat) => "/proc/vmstat".to_string(),
            Proc::Machine(Machine::Swaps) => "/proc/swaps".to_string(),
            Proc::Machine(Machine::Cpuinfo) => "/proc/cpuinfo".to_string(),
            Proc::Machine(Machine::Overcommit) => "/proc/sys/vm/overcommit_memory".to_string(),
            Proc::Machine(Machine::MaxMapCount) => "/proc/sys/vm/max_map_count".to_string(),
            Proc::Sys => "/proc/sys".to_string(),
            Proc::SysVm => "/proc/sys/vm".to_string(),
            Proc::Process(id) => format!("/proc/{id}"),
            Proc::About(id, file) => format!("/proc/{id}/{}", name(&ABOUT, file)),
            Proc::Link(id, link) => {
                let name = LINKS.iter().find(|row| row.1 == link).map_or("", |row| row.0);
                format!("/proc/{id}/{name}")
            }
            Proc::Descriptors(id) => format!("/proc/{id}/fd"),
            Proc::Descriptor(id, number) => format!("/proc/{id}/fd/{number}"),
        };
        text.into_bytes()
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// What is known of a process; ENOENT when it has ended. Its table of files goes back by
    /// [`Kernel::close_all`].
    fn view(&self, task: &Task<'vm, F>, id: Id) -> Result<View<'vm, F>, Errno> {
        if id == task.process {
            return Ok(task.view());
        }
        let state = self.lock();
        let process = state.processes.get(&id).ok_or(Errno::ENOENT)?;
        let shown = process.threads.iter().find_map(|thread| state.threads.get(thread));
        shown.and_then(|thread| thread.shown.view()).ok_or(Errno::ENOENT)
    }

    /// Uses what is known of a process.
    fn viewing<R>(
        &self,
        task: &Task<'vm, F>,
        id: Id,
        body: impl FnOnce(&View<'vm, F>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let view = self.view(task, id)?;
        let result = body(&view);
        self.close_all(view.files);
        result
    }

    /// What a directory of /proc holds.
    pub fn list_proc(
        &self,
        task: &Task<'vm, F>,
        directory: Proc,
    ) -> Result<Vec<(String, Proc)>, Errno> {
        let named = |name: &str, proc| (name.to_string(), proc);
        match directory {
            Proc::Top => {
                let mut all = vec![
                    named("self", Proc::Own),
                    named("meminfo", Proc::Machine(Machine::Meminfo)),
                    named("vmstat", Proc::Machine(Machine::Vmstat)),
                    named("swaps", Proc::Machine(Machine::Swaps)),
                    named("cpuinfo", Proc::Machine(Machine::Cpuinfo)),
                    named("sys", Proc::Sys),
                ];
                let state = self.lock();
                all.extend(state.processes.keys().map(|id| (id.to_string(), Proc::Process(*id))));
                Ok(all)
            }
            Proc::Sys => Ok(vec![named("vm", Proc::SysVm)]),
            Proc::SysVm => Ok(vec![
                named("overcommit_memory", Proc::Machine(Machine::Overcommit)),
                named("max_map_count", Proc::Machine(Machine::MaxMapCount)),
            ]),
            Proc::Process(id) => {
                if !self.lock().processes.contains_key(&id) {
                    return Err(Errno::ENOENT);
                }
                let mut all = vec![named("fd", Proc::Descriptors(id))];
                all.extend(ABOUT.map(|(name, file)| named(name, Proc::About(id, file))));
                all.extend(LINKS.map(|(name, link)| named(name, Proc::Link(id, link))));
                Ok(all)
            }
            Proc::Descriptors(id) => self.viewing(task, id, |view| {
                let mut all = Vec::new();
                for (number, descriptor) in view.files.open() {
                    all.push((number.to_string(), Proc::Descriptor(id, number)));
                    self.close(descriptor);
                }
                Ok(all)
            }),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// What a directory of /proc holds under a name.
    pub fn step_proc(&self, task: &Task<'vm, F>, at: Proc, name: &[u8]) -> Result<Proc, Errno> {
        let all = self.list_proc(task, at)?;
        let found = all.into_iter().find(|(found, _)| found.as_bytes() == name);
        found.map(|(_, proc)| proc).ok_or(Errno::ENOENT)
    }

    /// Where a link leads that is no path: to the file itself. None for other nodes, and for what
    /// is open without a place in the tree of files.
    pub fn follow_proc(&self, task: &Task<'vm, F>, proc: Proc) -> Result<Option<Node>, Errno> {
        match proc {
            Proc::Link(id, Link::Directory) => {
                self.viewing(task, id, |view| Ok(Some(view.place.directory())))
            }
            Proc::Link(_, Link::Root) => Ok(Some(self.files.top.clone())),
            Proc::Descriptor(id, number) => self.viewing(task, id, |view| {
                let descriptor = view.files.get(number).map_err(|_| Errno::ENOENT)?;
                let node = descriptor.file.node();
                self.close(descriptor);
                Ok(node)
            }),
            _ => Ok(None),
        }
    }

    /// What readlink(2) tells of a link of /proc.
    pub fn read_proc_link(&self, task: &Task<'vm, F>, proc: Proc) -> Result<Vec<u8>, Errno> {
        match proc {
            Proc::Own => Ok(task.process.to_string().into_bytes()),
            Proc::Link(id, Link::Executable) => {
                let state = self.lock();
                let process = state.processes.get(&id).ok_or(Errno::ENOENT)?;
                Ok(process.executable.path.clone().into_os_string().into_vec())
            }
            Proc::Link(_, Link::Root) => Ok(b"/".to_vec()),
            Proc::Link(id, Link::Directory) => {
                self.viewing(task, id, |view| self.files.path(&view.place.directory()))
            }
            Proc::Descriptor(id, number) => self.viewing(task, id, |view| {
                let descriptor = view.files.get(number).map_err(|_| Errno::ENOENT)?;
                let text = self.describe(&descriptor.file.kind);
                self.close(descriptor);
                text
            }),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The path of what is open, or what Linux says in its place.
    fn describe(&self, kind: &FileKind) -> Result<Vec<u8>, Errno> {
        match kind {
            FileKind::Standard(number) => Ok(format!("/dev/host/{number}").into_bytes()),
            FileKind::Pipe { id, .. } => Ok(format!("pipe:[{id}]").into_bytes()),
            FileKind::File(inode) => self.file_path(inode),
            FileKind::Directory(node, _) | FileKind::Path(node) => self.files.path(node),
            FileKind::Device(device) => Ok(device.path()),
            FileKind::Text(proc, _) => Ok(proc.path()),
        }
    }
}
