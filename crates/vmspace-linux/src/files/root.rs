//! The host's directory that is `/` to the program.
//!
//! Guarantee: nothing outside it is reached, whatever a path, a link or a rename says. A path is
//! walked by us, a name at a time ([`HostRoot::step`]): the host is asked for one name beneath one
//! directory, never to follow a link, and links are resolved by the walk against this root. The way
//! up ([`HostRoot::up`]) is asked for from the root, with RESOLVE_IN_ROOT, by where the directory
//! lies now; one that was moved out has no way up. Files of the host's /proc are refused, and no file
//! gets the right to run as its owner (set-user-ID, set-group-ID), which would reach beyond the run.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

use super::stat::{S_IFDIR, S_IFLNK, Stat};
use crate::Errno;
use crate::host::errno;

/// A file beneath the root, by a descriptor of the host's that opens nothing (O_PATH).
#[derive(Debug)]
pub(crate) struct HostNode {
    file: OwnedFd,
    /// What it was when it was found; its identity and kind do not change.
    device: u64,
    inode: u64,
    mode: u32,
}

impl HostNode {
    fn new(file: OwnedFd) -> Result<HostNode, Errno> {
        let stat = Stat::of_host(&rustix::fs::fstat(&file).map_err(errno)?);
        Ok(HostNode { file, device: stat.device, inode: stat.inode, mode: stat.mode })
    }

    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether it is of this kind (`S_IFDIR`, …).
    pub fn is(&self, kind: u32) -> bool {
        self.mode & super::stat::S_IFMT == kind
    }

    pub fn stat(&self) -> Result<Stat, Errno> {
        Ok(Stat::of_host(&rustix::fs::fstat(&self.file).map_err(errno)?))
    }

    /// Whether it lies in a /proc of the host's.
    fn is_process(&self) -> Result<bool, Errno> {
        Ok(rustix::fs::fstatfs(&self.file).map_err(errno)?.f_type == PROC_SUPER_MAGIC)
    }

    /// What a symbolic link says.
    pub fn link(&self) -> Result<Vec<u8>, Errno> {
        Ok(rustix::fs::readlinkat(&self.file, "", Vec::new()).map_err(errno)?.into_bytes())
    }

    pub fn file(&self) -> &OwnedFd {
        &self.file
    }
}

/// The root.
#[derive(Debug)]
pub(crate) struct HostRoot {
    top: Arc<HostNode>,
    /// The host's /proc/self/fd.
    descriptors: OwnedFd,
}

impl HostRoot {
    /// Opens the directory; `start` is the directory within it that the program begins in.
    pub fn open(path: &Path, start: &Path) -> Result<(HostRoot, Arc<HostNode>), RootError> {
        let refused = |what| move |error| RootError::new(path, what, error);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty()).map_err(refused(What::Root))?;
        let access = rustix::fs::Access::READ_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(path, access).map_err(refused(What::Root))?;
        let descriptors = rustix::fs::open("/proc/self/fd", flags, Mode::empty())
            .map_err(refused(What::Descriptors))?;
        let top = HostNode::new(top).map_err(|_| RootError::gone(path))?;
        if top.is_process().map_err(|_| RootError::gone(path))? {
            return Err(RootError::new(path, What::Processes, rustix::io::Errno::ACCESS));
        }
        let root = HostRoot { top: Arc::new(top), descriptors };
        root.beneath(OsStr::new(".").as_bytes()).map_err(refused(What::Resolution))?;
        let start_node = root
            .beneath(start.as_os_str().as_bytes())
            .map_err(|error| RootError::new(start, What::Start, error))?;
        let start_node = HostNode::new(start_node).map_err(|_| RootError::gone(start))?;
        Ok((root, Arc::new(start_node)))
    }

    pub fn top(&self) -> &Arc<HostNode> {
        &self.top
    }

    /// A directory by its path from the root.
    fn beneath(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat2(
            &self.top.file,
            OsStr::from_bytes(path),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// The file of this name, a link itself, in a directory.
    pub fn step(&self, directory: &HostNode, name: &[u8]) -> Result<HostNode, Errno> {
        let file = rustix::fs::openat2(
            &directory.file,
            OsStr::from_bytes(name),
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        );
        let node = HostNode::new(file.map_err(errno)?)?;
        if node.device != directory.device && node.is_process()? {
            return Err(Errno::EACCES);
        }
        Ok(node)
    }

    /// The directory above one.
    pub fn up(&self, directory: &HostNode) -> Result<HostNode, Errno> {
        let mut path = self.path(directory)?;
        path.extend(b"/..");
        HostNode::new(self.beneath(&path).map_err(errno)?)
    }

    /// Opens what the node stands for.
    pub fn reopen(&self, node: &HostNode, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let name = self.name(node);
        rustix::fs::openat(&self.descriptors, name, flags, Mode::empty()).map_err(errno)
    }

    /// The directory and the name by which the host finds the node itself, for calls that take no
    /// descriptor.
    pub fn by_name(&self, node: &HostNode) -> (&OwnedFd, String) {
        (&self.descriptors, self.name(node))
    }

    fn name(&self, node: &HostNode) -> String {
        node.file.as_raw_fd().to_string()
    }

    /// Where the node lies now, from the root; " (deleted)" at the end says that it is gone, as on
    /// Linux. ENOENT: outside.
    pub fn path(&self, node: &HostNode) -> Result<Vec<u8>, Errno> {
        let read = |node| {
            rustix::fs::readlinkat(&self.descriptors, self.name(node), Vec::new()).map_err(errno)
        };
        let (path, top) = (read(node)?.into_bytes(), read(&self.top)?.into_bytes());
        let top = top.strip_suffix(b"/").unwrap_or(&top);
        match path.strip_prefix(top) {
            Some([]) => Ok(b"/".to_vec()),
            Some(rest @ [b'/', ..]) => Ok(rest.to_vec()),
            _ => Err(Errno::ENOENT),
        }
    }

    /// Makes a file and opens it for reading and writing.
    pub fn create(
        &self,
        directory: &HostNode,
        name: &[u8],
        mode: u32,
    ) -> Result<(HostNode, OwnedFd), Errno> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let asked = modes(mode);
        let name = OsStr::from_bytes(name);
        let file = rustix::fs::openat(&directory.file, name, flags, asked).map_err(errno)?;
        set_mode(&file, mode)?;
        let path = self.reopen_path(&file)?;
        Ok((HostNode::new(path)?, file))
    }

    /// A file without a name (O_TMPFILE); `linkable`: it may get one.
    pub fn create_unnamed(
        &self,
        directory: &HostNode,
        mode: u32,
        linkable: bool,
    ) -> Result<(HostNode, OwnedFd), Errno> {
        let mut flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        flags.set(OFlags::EXCL, !linkable);
        let file = rustix::fs::openat(&directory.file, ".", flags, modes(mode)).map_err(errno)?;
        set_mode(&file, mode)?;
        let path = self.reopen_path(&file)?;
        Ok((HostNode::new(path)?, file))
    }

    fn reopen_path(&self, file: &OwnedFd) -> Result<OwnedFd, Errno> {
        let name = file.as_raw_fd().to_string();
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat(&self.descriptors, name, flags, Mode::empty()).map_err(errno)
    }

    /// Makes a directory.
    pub fn make_directory(&self, at: &HostNode, name: &[u8], mode: u32) -> Result<(), Errno> {
        let name = OsStr::from_bytes(name);
        rustix::fs::mkdirat(&at.file, name, modes(mode)).map_err(errno)?;
        // The host's own mask may have taken more than the program's.
        let made = self.step(at, name.as_bytes())?;
        if made.is(S_IFDIR) && made.mode & 0o777 != mode & 0o777 {
            self.change_mode(&made, mode)?;
        }
        Ok(())
    }

    pub fn change_mode(&self, node: &HostNode, mode: u32) -> Result<(), Errno> {
        if node.is(S_IFLNK) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mode = modes(mode);
        rustix::fs::chmodat(&self.descriptors, self.name(node), mode, AtFlags::empty())
            .map_err(errno)
    }
}

/// Gives a new file the mode that was asked for, which the host's own mask may have narrowed.
fn set_mode(file: impl AsFd, mode: u32) -> Result<(), Errno> {
    let made = Stat::of_host(&rustix::fs::fstat(&file).map_err(errno)?);
    if made.mode & 0o7777 != mode & MODES {
        rustix::fs::fchmod(&file, modes(mode)).map_err(errno)?;
    }
    Ok(())
}

/// What a file's mode may be: all but set-user-ID and set-group-ID.
const MODES: u32 = 0o1777;

fn modes(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & MODES) as _)
}

const PROC_SUPER_MAGIC: rustix::fs::FsWord = 0x9fa0;

/// What was being done when a root was refused.
#[derive(Clone, Copy, Debug)]
enum What {
    Root,
    Processes,
    Descriptors,
    Resolution,
    Start,
    /// A directory to begin in, where there are no directories.
    NoRoot,
}

/// Why a directory cannot be the root, or the directory to begin in. Its text says what is wrong
/// and, in brackets, what helps; whoever shows it puts [`RootError::path`] in front.
#[derive(Debug)]
pub struct RootError {
    path: std::path::PathBuf,
    what: What,
    error: rustix::io::Errno,
}

impl RootError {
    fn new(path: &Path, what: What, error: rustix::io::Errno) -> RootError {
        RootError { path: path.to_owned(), what, error }
    }

    fn gone(path: &Path) -> RootError {
        RootError::new(path, What::Root, rustix::io::Errno::NOENT)
    }

    pub(crate) fn no_root(path: &Path) -> RootError {
        RootError::new(path, What::NoRoot, rustix::io::Errno::NOENT)
    }

    /// What it is about.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rustix::io::Errno as E;
        let error = crate::error::in_words(&self.error.into());
        let cure = match self.what {
            What::Root | What::Processes => "give a directory that is there as --root",
            What::Start => "give --cwd a directory inside the root",
            _ => "run without --root",
        };
        match (self.what, self.error) {
            (What::Descriptors, _) => {
                write!(f, "cannot be the root: the host shows no /proc (mount it, or {cure})")
            }
            (What::Processes, _) => {
                write!(f, "is the host's /proc, where a program could change this one ({cure})")
            }
            (What::NoRoot, _) => write!(f, "there are no directories without a root (give --root)"),
            (What::Resolution, _) => write!(
                f,
                "cannot be the root: the host has no openat2, which keeps programs inside: \
                 {error} (use Linux 5.6 or newer outside a sandbox, or {cure})"
            ),
            (_, E::NOENT) => write!(f, "no such directory ({cure})"),
            (_, E::NOTDIR) => write!(f, "is no directory ({cure})"),
            (_, E::ACCESS) => {
                write!(f, "permission denied (make it readable: chmod +rx, or {cure})")
            }
            _ => write!(f, "cannot be opened: {error} ({cure})"),
        }
    }
}

impl std::error::Error for RootError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_that_runs_as_its_owner_would_reach_beyond_the_run() {
        let path = std::env::temp_dir().join(format!("vmspace-root-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        let (root, top) = HostRoot::open(&path, Path::new("/")).expect("a root");
        let (node, _file) = root.create(&top, b"set", 0o6755).expect("a file");
        let mode = || std::fs::metadata(path.join("set")).expect("the file").mode() & 0o7777;
        assert_eq!(mode(), 0o755);
        root.change_mode(&node, 0o4711).expect("another mode");
        assert_eq!(mode(), 0o711);
        std::fs::remove_dir_all(&path).expect("the directory goes");
    }
}
