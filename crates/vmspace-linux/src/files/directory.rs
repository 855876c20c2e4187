//! What directories hold, as getdents64(2) tells it.
//!
//! Guarantee: entries come sorted by name after `.` and `..`, whatever order the host keeps, so runs
//! can be compared. A part of them is taken at a time, those behind the last name that was given; what
//! changes meanwhile is seen or not, as POSIX allows.

use std::collections::BTreeSet;

use rustix::fs::{Dir, OFlags};
use vmspace::format::Format;

use super::node::Node;
use super::stat::{S_IFDIR, S_IFMT};
use super::window::Window;
use crate::Errno;
use crate::host::errno;
use crate::kernel::Kernel;
use crate::task::Task;

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Entry {
    pub name: Vec<u8>,
    pub inode: u64,
    /// `S_IFREG` and so on.
    pub mode: u32,
}

/// The entries that an open directory gives; where a part begins is the name before it.
pub(crate) type Listing = Window<Entry, Vec<u8>>;

/// The most entries that are kept of an open directory.
const PART: usize = 1024;

/// The first entries behind a name, of those that are offered in any order.
struct First<'a> {
    behind: &'a [u8],
    kept: BTreeSet<Entry>,
    /// Some did not fit.
    more: bool,
}

impl First<'_> {
    fn offer(&mut self, entry: Entry) {
        if entry.name.as_slice() > self.behind {
            self.kept.insert(entry);
        }
        if self.kept.len() > PART {
            self.kept.pop_last();
            self.more = true;
        }
    }
}

impl Entry {
    /// `struct linux_dirent64`; `next` is where the one behind it is.
    pub fn bytes(&self, next: u64) -> Vec<u8> {
        const HEADER: usize = 19;
        let length = (HEADER + self.name.len() + 1).next_multiple_of(8);
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(self.inode.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        bytes.extend((length as u16).to_le_bytes());
        bytes.push((self.mode >> 12) as u8);
        bytes.extend(&self.name);
        bytes.resize(length, 0);
        bytes
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// What a directory holds behind a name, the dots first if that is empty: a part, and the name that
    /// the next one begins behind.
    pub fn list(
        &self,
        task: &Task<'vm, F>,
        node: &Node,
        behind: &Vec<u8>,
    ) -> Result<(Vec<Entry>, Option<Vec<u8>>), Errno> {
        let mut first = First { behind, kept: BTreeSet::new(), more: false };
        self.offer_all(task, node, &mut |entry| first.offer(entry))?;
        let dots = if behind.is_empty() { self.dots(node) } else { Vec::new() };
        let mut entries: Vec<Entry> = dots.into_iter().chain(first.kept).collect();
        let next = entries.last().filter(|_| first.more).map(|entry| entry.name.clone());
        let device = node.identity().0;
        for entry in &mut entries {
            entry.inode = self.shown_number(device, entry.inode);
        }
        Ok((entries, next))
    }

    fn dots(&self, node: &Node) -> Vec<Entry> {
        let above = self.up(node).unwrap_or_else(|_| node.clone());
        let dots = [(&b"."[..], node), (b"..", &above)];
        let entry = |(name, node): (&[u8], &Node)| Entry {
            name: name.to_vec(),
            inode: node.identity().1,
            mode: S_IFDIR,
        };
        dots.map(entry).into()
    }

    /// All that a directory holds, in no order.
    fn offer_all(
        &self,
        task: &Task<'vm, F>,
        node: &Node,
        offer: &mut impl FnMut(Entry),
    ) -> Result<(), Errno> {
        let files = &self.files;
        let top = node.is_same(&files.top);
        match node {
            Node::Host(directory) => {
                let file = files.host()?.reopen(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
                read_host(Dir::new(file).map_err(errno)?, |entry| {
                    if !top || !files.is_mount(node, &entry.name) {
                        offer(entry);
                    }
                })?;
            }
            Node::Memory(memory) => {
                for (name, inode, mode) in memory.list() {
                    offer(Entry { name, inode, mode: mode & S_IFMT });
                }
            }
            Node::Dev => {
                let shared = [("shm".to_string(), S_IFDIR)];
                for (name, mode) in super::devices::list(&self.swap).into_iter().chain(shared) {
                    offer(self.mounted(task, node, &name, mode));
                }
            }
            Node::Proc(proc) => {
                for (name, proc) in self.list_proc(task, *proc)? {
                    let (inode, mode) = (proc.inode(), proc.kind());
                    offer(Entry { name: name.into_bytes(), inode, mode });
                }
            }
            Node::InDev(_) => return Err(Errno::ENOTDIR),
        }
        if top {
            for name in ["dev", "proc"] {
                offer(self.mounted(task, node, name, S_IFDIR));
            }
        }
        Ok(())
    }

    /// An entry that is found by its name.
    fn mounted(&self, task: &Task<'vm, F>, node: &Node, name: &str, mode: u32) -> Entry {
        let found = self.step(task, node, name.as_bytes());
        let inode = found.map_or(1, |node| node.identity().1);
        Entry { name: name.as_bytes().to_vec(), inode, mode }
    }
}

fn read_host(directory: Dir, mut offer: impl FnMut(Entry)) -> Result<(), Errno> {
    for entry in directory {
        let entry = entry.map_err(errno)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let mode = entry.file_type().as_raw_mode() & S_IFMT;
            offer(Entry { name: name.to_vec(), inode: entry.ino(), mode });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_laid_out_as_linuxs() {
        let entry = Entry { name: b"abcde".to_vec(), inode: 3, mode: S_IFDIR };
        let bytes = entry.bytes(2);
        assert_eq!((bytes.len(), bytes[0], bytes[8], bytes[16], bytes[18]), (32, 3, 2, 32, 4));
        assert_eq!(&bytes[19..25], b"abcde\0");
    }

    #[test]
    fn a_large_directory_is_kept_whole_in_the_hosts_memory() {
        let mut first = First { behind: b"01000", kept: BTreeSet::new(), more: false };
        for number in (0..10_000).rev() {
            let name = format!("{number:05}").into_bytes();
            first.offer(Entry { name, inode: number, mode: 0 });
            assert!(first.kept.len() <= PART);
        }
        let numbers: Vec<u64> = first.kept.iter().map(|entry| entry.inode).collect();
        assert_eq!(numbers, (1001..1001 + PART as u64).collect::<Vec<_>>());
        assert!(first.more);
    }
}
