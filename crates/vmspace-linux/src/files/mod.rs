//! What programs can open: the host's standard three, pipes, files, directories, devices, /proc.
//!
//! Guarantee: closing the last descriptor of a pipe's end is seen by who waits at the other end;
//! locks go when the descriptors do that they belong to. The host's standard files stay open for
//! the whole run, so a program that closes its standard output closes nothing of the host's. Of
//! the host's file system a program reaches what lies beneath its root, and nothing without one.
//!
//! | room | what is done there |
//! |---|---|
//! | `descriptors` | a process's table |
//! | `node`, `walk` | what a path names; from a path to a node |
//! | `root` | the host's directory that is `/` |
//! | `memory` | trees in the machine's memory |
//! | `devices`, `proc` | /dev and /proc |
//! | `inode` | regular files: one inode and one object each, whoever opened or mapped them |
//! | `cache` | all of them, and how they go when nobody needs them |
//! | `backing` | where their pages come from and go |
//! | `directory`, `stat`, `shown` | what directories hold; what is known about a file, and shown |
//! | `window` | long listings and texts, read in parts |
//! | `locks` | who holds which part of a file |

pub(crate) mod backing;
pub(crate) mod cache;
pub(crate) mod descriptors;
pub(crate) mod devices;
pub(crate) mod directory;
pub(crate) mod inode;
pub(crate) mod locks;
pub(crate) mod memory;
pub(crate) mod node;
pub(crate) mod proc;
pub(crate) mod root;
pub(crate) mod shown;
pub(crate) mod stat;
pub(crate) mod walk;
pub(crate) mod window;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmspace::format::Format;

use self::backing::{Backings, HostPager};
pub(crate) use self::descriptors::{Descriptor, Files, MOST_FILES};
use self::devices::Device;
use self::directory::Listing;
use self::inode::Inode;
use self::locks::Owner;
use self::memory::MemoryNode;
use self::node::Node;
use self::proc::{Proc, Text};
use self::root::{HostNode, HostRoot, RootError};
use crate::kernel::{Kernel, State};
use crate::task::Wait;

/// Flags of open(2), as the generic ABI has them.
pub(crate) mod flag {
    pub const WRITE_ONLY: u64 = 1;
    pub const READ_WRITE: u64 = 2;
    pub const ACCESS: u64 = 3;
    pub const CREATE: u64 = 0o100;
    pub const EXCLUSIVE: u64 = 0o200;
    pub const TRUNCATE: u64 = 0o1000;
    pub const APPEND: u64 = 0o2000;
    pub const NONBLOCK: u64 = 0o4000;
    pub const DIRECTORY: u64 = 0o200_000;
    pub const NOFOLLOW: u64 = 0o400_000;
    pub const CLOEXEC: u64 = 0o2_000_000;
    pub const PATH: u64 = 0o10_000_000;
    pub const TMPFILE: u64 = 0o20_000_000;
    /// What F_SETFL may change.
    pub const SETTABLE: u64 = APPEND | NONBLOCK;
    /// What F_GETFL tells.
    pub const STATUS: u64 = ACCESS | SETTABLE | DIRECTORY | PATH;
}

/// What a descriptor names; several may name one.
#[derive(Debug)]
pub(crate) struct Description {
    pub kind: FileKind,
    flags: AtomicU32,
    /// Where reading and writing go on.
    position: Mutex<u64>,
}

/// What is open.
#[derive(Debug)]
pub(crate) enum FileKind {
    /// Standard input, output or error of the host.
    Standard(i32),
    /// One end of a pipe; the pipe counts its ends by the tokens that live.
    Pipe {
        id: u64,
        write: bool,
        token: Arc<()>,
    },
    /// A regular file.
    File(Arc<Inode>),
    Directory(Node, Listing),
    Device(Device),
    /// A file of /proc, and the part of its text that is being read.
    Text(Proc, Text),
    /// Only the place (O_PATH).
    Path(Node),
}

impl Description {
    pub fn new(kind: FileKind, flags: u64) -> Arc<Description> {
        let flags = AtomicU32::new((flags & flag::STATUS) as u32);
        Arc::new(Description { kind, flags, position: Mutex::new(0) })
    }

    pub fn flags(&self) -> u64 {
        self.flags.load(Ordering::Relaxed).into()
    }

    pub fn has(&self, flag: u64) -> bool {
        self.flags() & flag != 0
    }

    /// F_SETFL.
    pub fn set_flags(&self, flags: u64) {
        let kept = self.flags() & !flag::SETTABLE;
        self.flags.store((kept | flags & flag::SETTABLE) as u32, Ordering::Relaxed);
    }

    pub fn is_readable(&self) -> bool {
        !self.has(flag::PATH) && self.flags() & flag::ACCESS != flag::WRITE_ONLY
    }

    pub fn is_writable(&self) -> bool {
        !self.has(flag::PATH) && self.flags() & flag::ACCESS != 0
    }

    /// Where reading and writing go on, held while they do.
    pub fn position(&self) -> MutexGuard<'_, u64> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place in the tree of files that it was opened at; none for pipes and standard files.
    pub fn node(&self) -> Option<Node> {
        match &self.kind {
            FileKind::Standard(_) | FileKind::Pipe { .. } => None,
            FileKind::File(inode) => Some(inode.node.clone()),
            FileKind::Directory(node, _) | FileKind::Path(node) => Some(node.clone()),
            FileKind::Device(device) => Some(Node::InDev(devices::InDev::Device(*device))),
            FileKind::Text(proc, _) => Some(Node::Proc(*proc)),
        }
    }
}

/// Where a process is in the tree of files; threads share it.
#[derive(Debug)]
pub(crate) struct Place {
    directory: Mutex<Node>,
    mask: AtomicU32,
}

impl Place {
    pub fn new(directory: Node) -> Place {
        Place { directory: Mutex::new(directory), mask: AtomicU32::new(0o022) }
    }

    /// What a forked child gets.
    pub fn copy(&self) -> Place {
        let mask = AtomicU32::new(self.mask());
        Place { directory: Mutex::new(self.directory()), mask }
    }

    pub fn directory(&self) -> Node {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_directory(&self, node: Node) {
        *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }

    /// Sets the mask of new files' modes; what it was.
    pub fn set_mask(&self, mask: u64) -> u64 {
        self.mask.swap(mask as u32 & 0o777, Ordering::Relaxed).into()
    }

    pub fn mask(&self) -> u32 {
        self.mask.load(Ordering::Relaxed)
    }

    /// A new file's mode, without what the mask takes.
    pub fn masked(&self, mode: u64) -> u32 {
        mode as u32 & 0o7777 & !self.mask()
    }
}

/// The directory of the host that is `/` to a program, or none.
#[derive(Debug)]
pub struct Root {
    host: Option<(HostRoot, Arc<HostNode>)>,
    backings: Arc<Backings>,
}

impl Root {
    /// Opens the directory; `start`, within it, is where the program begins.
    ///
    /// # Errors
    /// What is wrong with one of them, or with the host.
    pub fn open(directory: Option<&Path>, start: &Path) -> Result<Root, RootError> {
        let host = match directory {
            Some(directory) => Some(HostRoot::open(directory, start)?),
            None if start == Path::new("/") => None,
            None => return Err(RootError::no_root(start)),
        };
        Ok(Root { host, backings: Arc::default() })
    }

    /// What the machine asks for the pages of files that are mapped.
    pub fn pager(&self) -> Box<dyn vmspace::Pager + Send + Sync> {
        Box::new(HostPager(self.backings.clone()))
    }
}

/// All files that programs can name.
pub(crate) struct FileSystem {
    pub host: Option<HostRoot>,
    pub top: Node,
    /// Where the initial process begins.
    pub start: Node,
    /// /dev/shm.
    pub shared: Arc<MemoryNode>,
    /// The tree of memfd_create(2)'s files, in which there are no names.
    pub nameless: Arc<MemoryNode>,
    pub backings: Arc<Backings>,
}

impl FileSystem {
    pub fn new(root: Root) -> FileSystem {
        let (host, top, start) = match root.host {
            Some((root, start)) => {
                let top = Node::Host(root.top().clone());
                (Some(root), top, Node::Host(start))
            }
            None => {
                let top = Node::Memory(MemoryNode::top(0, 0o755));
                (None, top.clone(), top)
            }
        };
        let (shared, nameless) = (MemoryNode::top(1, 0o1777), MemoryNode::top(2, 0));
        FileSystem { host, top, start, shared, nameless, backings: root.backings }
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// Drops a use of a description; the last one tells the other end of a pipe and gives up the
    /// description's locks. Every use ends here, those of calls under way too, or a reader could
    /// wait for a writer that has gone.
    pub fn close(&self, descriptor: Descriptor) {
        let owner = Owner::Description(Arc::as_ptr(&descriptor.file).addr());
        let Some(file) = Arc::into_inner(descriptor.file) else { return };
        match file.kind {
            FileKind::Pipe { id, token, .. } => {
                let mut state = self.lock();
                drop(token);
                let gone = |pipe: &crate::pipe::Pipe| !pipe.has_readers() && !pipe.has_writers();
                if state.pipes.get(&id).is_some_and(gone) {
                    state.pipes.remove(&id);
                }
                self.wake_where(&mut state, |wait| wait.is_for_pipe(id));
            }
            FileKind::File(inode) => {
                let identity = inode.identity();
                drop(inode);
                self.forget_locks(identity, owner);
                self.pages.note_closed(identity);
            }
            _ => {}
        }
    }

    /// Closes a descriptor that was taken out of a table: the locks that the table's owner has on
    /// the file go, whichever descriptor they were taken by.
    pub fn close_of(&self, files: &Arc<Files>, descriptor: Descriptor) {
        self.close_owned(Owner::Files(Arc::as_ptr(files).addr()), descriptor);
    }

    fn close_owned(&self, owner: Owner, descriptor: Descriptor) {
        if let FileKind::File(inode) = &descriptor.file.kind {
            self.forget_locks(inode.identity(), owner);
        }
        self.close(descriptor);
    }

    /// Closes what a process has open, when this was the last to use the table.
    pub fn close_all(&self, files: Arc<Files>) {
        let owner = Owner::Files(Arc::as_ptr(&files).addr());
        if let Some(files) = Arc::into_inner(files) {
            for descriptor in files.into_all() {
                self.close_owned(owner, descriptor);
            }
        }
    }

    fn forget_locks(&self, file: (u64, u64), owner: Owner) {
        let mut state = self.lock();
        if state.locks.forget(file, owner) {
            self.wake_lockers(&mut state, file);
        }
    }

    /// Makes everybody look again who waits for a lock on a file.
    pub fn wake_lockers(&self, state: &mut State<'vm, F>, file: (u64, u64)) {
        self.wake_where(state, |wait| matches!(wait, Wait::Lock { at, .. } if at.file == file));
    }
}
