//! From a path to a node, as Linux's path walk: a name at a time, links resolved within the root.
//!
//! Guarantee: no path leads out of the root: `..` stops at it, absolute links begin at it, and each
//! step asks for one name beneath one directory. At most [`MOST_LINKS`] links are followed.

use vmspace::format::Format;

use super::devices;
use super::node::Node;
use super::proc::Proc;
use super::stat::{S_IFDIR, S_IFLNK};
use crate::Errno;
use crate::kernel::Kernel;
use crate::task::Task;

/// Linux's MAXSYMLINKS.
const MOST_LINKS: usize = 40;

/// Where a walk ended.
#[derive(Debug)]
pub(crate) struct Found {
    /// The directory that the last name was looked for in.
    pub directory: Node,
    /// The last name; empty when the path ends in `/`, `.` or `..`.
    pub name: Vec<u8>,
    /// What it names, if it is there.
    pub node: Option<Node>,
    /// The path ends with a slash, so it names a directory.
    pub slash: bool,
}

/// What a link leads to.
pub(crate) enum Target {
    Path(Vec<u8>),
    /// The node itself, by the links in /proc.
    Node(Node),
}

/// Puts a path's names in front of those that are left, the first one last.
fn push(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    rest.extend(names.rev().map(<[u8]>::to_vec));
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// Walks a path from `start`; a link at its end is followed if `follow` says so, or if a slash
    /// comes behind it.
    pub fn walk(
        &self,
        task: &Task<'vm, F>,
        start: Node,
        path: &[u8],
        follow: bool,
    ) -> Result<Found, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut here = if path.starts_with(b"/") { self.files.top.clone() } else { start };
        let mut slash = path.ends_with(b"/");
        let (mut rest, mut links) = (Vec::new(), 0);
        push(&mut rest, path);
        while let Some(name) = rest.pop() {
            if !here.is(S_IFDIR) {
                return Err(Errno::ENOTDIR);
            }
            match &name[..] {
                b"." => continue,
                b".." => {
                    here = self.up(&here)?;
                    continue;
                }
                _ => {}
            }
            let last = rest.is_empty();
            let node = match self.step(task, &here, &name) {
                Ok(node) => node,
                Err(Errno::ENOENT) if last => {
                    return Ok(Found { directory: here, name, node: None, slash });
                }
                Err(error) => return Err(error),
            };
            let target = match !last || follow || slash {
                true => self.target(task, &node)?,
                false => None,
            };
            match target {
                Some(_) if links == MOST_LINKS => return Err(Errno::ELOOP),
                Some(Target::Path(path)) => {
                    links += 1;
                    if path.is_empty() {
                        return Err(Errno::ENOENT);
                    }
                    if path.starts_with(b"/") {
                        here = self.files.top.clone();
                    }
                    slash |= last && path.ends_with(b"/");
                    push(&mut rest, &path);
                }
                Some(Target::Node(node)) if last => return found(here, name, node, slash),
                Some(Target::Node(node)) => {
                    links += 1;
                    here = node;
                }
                None if last => return found(here, name, node, slash),
                None => here = node,
            }
        }
        found(here.clone(), Vec::new(), here, slash)
    }

    /// What a directory holds under a name, a link itself.
    pub fn step(&self, task: &Task<'vm, F>, directory: &Node, name: &[u8]) -> Result<Node, Errno> {
        if self.files.is_mount(directory, name) {
            return Ok(match name {
                b"dev" => Node::Dev,
                b"proc" => Node::Proc(Proc::Top),
                _ => Node::Memory(self.files.shared.clone()),
            });
        }
        match directory {
            Node::Host(host) => Ok(Node::Host(self.files.host()?.step(host, name)?.into())),
            Node::Memory(memory) => Ok(Node::Memory(memory.step(name)?)),
            Node::Dev => devices::find(name, &self.swap).map(Node::InDev).ok_or(Errno::ENOENT),
            Node::Proc(proc) => Ok(Node::Proc(self.step_proc(task, *proc, name)?)),
            Node::InDev(_) => Err(Errno::ENOTDIR),
        }
    }

    /// The directory above one; the root's is itself.
    pub fn up(&self, directory: &Node) -> Result<Node, Errno> {
        let top = &self.files.top;
        match directory {
            _ if directory.is_same(top) => Ok(top.clone()),
            Node::Host(host) => Ok(Node::Host(self.files.host()?.up(host)?.into())),
            Node::Memory(memory) => Ok(memory.up().map_or(Node::Dev, Node::Memory)),
            Node::Dev | Node::Proc(Proc::Top) => Ok(top.clone()),
            Node::Proc(proc) => Ok(Node::Proc(proc.up())),
            Node::InDev(_) => Err(Errno::ENOTDIR),
        }
    }

    /// Where a link leads; none for what is no link.
    fn target(&self, task: &Task<'vm, F>, node: &Node) -> Result<Option<Target>, Errno> {
        if let Node::Proc(proc) = node
            && let Some(node) = self.follow_proc(task, *proc)?
        {
            return Ok(Some(Target::Node(node)));
        }
        match node.is(S_IFLNK) && !matches!(node, Node::Proc(Proc::Descriptor(..))) {
            true => Ok(Some(Target::Path(self.link_text(task, node)?))),
            false => Ok(None),
        }
    }

    /// What readlink(2) tells of a link; EINVAL for what is none.
    pub fn link_text(&self, task: &Task<'vm, F>, node: &Node) -> Result<Vec<u8>, Errno> {
        match node {
            Node::Host(host) if host.is(S_IFLNK) => host.link(),
            Node::Memory(memory) => memory.link().ok_or(Errno::EINVAL),
            Node::InDev(devices::InDev::Link(target)) => Ok(target.as_bytes().to_vec()),
            Node::Proc(proc) => self.read_proc_link(task, *proc),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// ENOTDIR when a slash follows what is no directory.
fn found(directory: Node, name: Vec<u8>, node: Node, slash: bool) -> Result<Found, Errno> {
    if slash && !node.is(S_IFDIR) {
        return Err(Errno::ENOTDIR);
    }
    Ok(Found { directory, name, node: Some(node), slash })
}
