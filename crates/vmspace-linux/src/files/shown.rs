//! What a run that a seed decides is shown of files.
//!
//! Guarantee: nothing of the host's that differs from run to run. Files are numbered in the order in
//! which they are first seen; what was changed since the run began was changed as it began, and was
//! last read when it was last changed; blocks follow from the size, and no space is ever taken. All
//! else is as the host says, so the same files give the same run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use vmspace::format::Format;

use super::node::Node;
use super::stat::{Stat, StatFs, Time};
use crate::calls::EPOCH;
use crate::kernel::Kernel;

/// Devices up to here are the host's; ours have larger numbers.
const LAST_OF_HOST: u64 = 0xffff_0000;

/// The device that the host's files are shown to lie on.
const DEVICE: u64 = 0x801;

/// What has been shown.
#[derive(Debug)]
pub(crate) struct Shown {
    /// By the host's calendar.
    began: Time,
    /// The numbers given to the host's files.
    numbers: Mutex<Numbers>,
}

/// Numbers by device and inode, and the last that was given.
#[derive(Debug, Default)]
struct Numbers {
    given: BTreeMap<(u64, u64), u64>,
    last: u64,
}

impl Shown {
    /// Nothing; the run begins.
    pub fn new() -> Shown {
        // The coarse clock is the one that file systems stamp with.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Shown { began: (now.tv_sec, now.tv_nsec as u32), numbers: Mutex::default() }
    }

    fn number(&self, device: u64, inode: u64) -> u64 {
        if device > LAST_OF_HOST {
            return inode;
        }
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let Numbers { given, last } = &mut *numbers;
        *given.entry((device, inode)).or_insert_with(|| {
            *last += 1;
            *last
        })
    }

    /// A file has just been made: it is not the one that had its inode before, though the host may
    /// have given that again.
    fn renew(&self, identity: (u64, u64)) {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).given.remove(&identity);
    }

    fn time(&self, time: Time) -> Time {
        let start = (EPOCH.as_secs().cast_signed(), 0);
        if time < self.began { time } else { start }
    }

    fn stat(&self, stat: Stat) -> Stat {
        let modified = self.time(stat.modified);
        let numbered = Stat {
            inode: self.number(stat.device, stat.inode),
            accessed: modified,
            modified,
            changed: self.time(stat.changed),
            ..stat
        };
        match stat.device {
            ..=LAST_OF_HOST => {
                Stat { device: DEVICE, blocks: stat.size.div_ceil(512), block: 4096, ..numbered }
            }
            _ => numbered,
        }
    }
}

impl<F: Format> Kernel<'_, F> {
    /// Whatever is shown of a node that has just been made is new.
    pub fn renew_shown(&self, node: &Node) {
        if let Some(shown) = &self.shown {
            shown.renew(node.identity());
        }
    }

    /// What the program is shown of a file.
    pub fn shown(&self, stat: Stat) -> Stat {
        self.shown.as_ref().map_or(stat, |shown| shown.stat(stat))
    }

    /// What it is shown of a file's device and inode numbers.
    pub fn shown_identity(&self, (device, inode): (u64, u64)) -> (u64, u64) {
        match self.shown {
            Some(_) if device <= LAST_OF_HOST => (DEVICE, self.shown_number(device, inode)),
            _ => (device, inode),
        }
    }

    /// What it is shown of an inode's number.
    pub fn shown_number(&self, device: u64, inode: u64) -> u64 {
        self.shown.as_ref().map_or(inode, |shown| shown.number(device, inode))
    }

    /// What it is shown of a file system.
    pub fn shown_space(&self, space: StatFs) -> StatFs {
        match self.shown {
            Some(_) => StatFs {
                free: space.blocks,
                available: space.blocks,
                free_files: space.files,
                ..space
            },
            None => space,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_numbers_and_times_are_not_shown() {
        let shown = Shown { began: (1000, 0), numbers: Mutex::default() };
        let file = |inode, modified| Stat {
            device: 7,
            inode,
            size: 513,
            blocks: 8,
            accessed: (3, 3),
            modified: (modified, 5),
            ..Stat::default()
        };
        let old = shown.stat(file(99, 999));
        assert_eq!((old.inode, old.modified, old.accessed, old.blocks), (1, (999, 5), (999, 5), 2));
        let new = shown.stat(file(98, 1000));
        assert_eq!((new.inode, new.modified), (2, (EPOCH.as_secs().cast_signed(), 0)));
        assert_eq!(shown.stat(file(99, 999)).inode, 1, "a file keeps its number");
        shown.renew((7, 99));
        assert_eq!(shown.stat(file(99, 999)).inode, 3, "another file with the number of the first");
        assert_eq!(shown.stat(file(98, 999)).inode, 2);
        let own = shown.stat(Stat::own(0xffff_0010, 42, 0));
        assert_eq!((own.device, own.inode), (0xffff_0010, 42));
    }
}
