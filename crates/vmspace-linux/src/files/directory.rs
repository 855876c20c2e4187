//! What directories hold, as getdents64(2) tells it.
//!
//! Guarantee: entries come sorted by name after `.` and `..`, whatever order the host keeps, so runs
//! can be compared. A listing is taken when reading begins or goes back to the start; what changes
//! meanwhile is not seen, or is seen the next time, as POSIX allows.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Dir, OFlags};
use vmspace::format::Format;

use super::node::Node;
use super::stat::{S_IFDIR, S_IFMT};
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

/// The entries that an open directory gives, once it was asked.
#[derive(Debug, Default)]
pub(crate) struct Listing(Mutex<Arc<Vec<Entry>>>);

impl Listing {
    /// The entries; taken anew by `take` at the start.
    pub fn get(
        &self,
        position: u64,
        take: impl FnOnce() -> Result<Vec<Entry>, Errno>,
    ) -> Result<Arc<Vec<Entry>>, Errno> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if position == 0 {
            *entries = Arc::new(take()?);
        }
        Ok(entries.clone())
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
    /// All that a directory holds.
    pub fn list(&self, task: &Task<'vm, F>, node: &Node) -> Result<Vec<Entry>, Errno> {
        let files = &self.files;
        let mut entries = match node {
            Node::Host(directory) => {
                let file = files.host()?.reopen(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
                read_host(Dir::new(file).map_err(errno)?)?
            }
            Node::Memory(memory) => {
                let entry = |(name, inode, mode)| Entry { name, inode, mode: mode & S_IFMT };
                memory.list().into_iter().map(entry).collect()
            }
            Node::Dev => {
                let entry = |(name, mode): (&str, u32)| self.mounted(task, node, name, mode);
                let mut entries = super::devices::list();
                entries.push(("shm", S_IFDIR));
                entries.into_iter().map(entry).collect()
            }
            Node::Proc(proc) => {
                let entry = |(name, proc): (String, super::proc::Proc)| Entry {
                    name: name.into_bytes(),
                    inode: proc.inode(),
                    mode: proc.kind(),
                };
                self.list_proc(task, *proc)?.into_iter().map(entry).collect()
            }
            Node::InDev(_) => return Err(Errno::ENOTDIR),
        };
        if node.is_same(&files.top) {
            entries.retain(|entry| !files.is_mount(node, &entry.name));
            entries.extend(["dev", "proc"].map(|name| self.mounted(task, node, name, S_IFDIR)));
        }
        entries.sort();
        let above = self.up(node).unwrap_or_else(|_| node.clone());
        let dots = [(&b"."[..], node), (b"..", &above)];
        let dots = dots.map(|(name, node)| Entry {
            name: name.to_vec(),
            inode: node.identity().1,
            mode: S_IFDIR,
        });
        entries.splice(0..0, dots);
        let device = node.identity().0;
        for entry in &mut entries {
            entry.inode = self.shown_number(device, entry.inode);
        }
        Ok(entries)
    }

    /// An entry that is found by its name.
    fn mounted(&self, task: &Task<'vm, F>, node: &Node, name: &str, mode: u32) -> Entry {
        let found = self.step(task, node, name.as_bytes());
        let inode = found.map_or(1, |node| node.identity().1);
        Entry { name: name.as_bytes().to_vec(), inode, mode }
    }
}

fn read_host(directory: Dir) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::new();
    for entry in directory {
        let entry = entry.map_err(errno)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let mode = entry.file_type().as_raw_mode() & S_IFMT;
            entries.push(Entry { name: name.to_vec(), inode: entry.ino(), mode });
        }
    }
    Ok(entries)
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
}
