//! What is known about a file: `struct stat`, `struct statx`, `struct statfs`.
//!
//! The host's owner of the run is the program's own user to it; other owners are as they are.

use crate::stack::ID;

pub(crate) const S_IFMT: u32 = 0o170_000;
pub(crate) const S_IFDIR: u32 = 0o040_000;
pub(crate) const S_IFREG: u32 = 0o100_000;
pub(crate) const S_IFLNK: u32 = 0o120_000;
pub(crate) const S_IFCHR: u32 = 0o020_000;
pub(crate) const S_IFBLK: u32 = 0o060_000;
pub(crate) const S_IFIFO: u32 = 0o010_000;

/// Seconds and nanoseconds since 1970.
pub(crate) type Time = (i64, u32);

/// What is known about a file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stat {
    pub device: u64,
    pub inode: u64,
    pub mode: u32,
    pub links: u32,
    pub user: u32,
    pub group: u32,
    /// A device's number.
    pub special: u64,
    pub size: u64,
    pub block: u32,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub accessed: Time,
    pub modified: Time,
    pub changed: Time,
}

impl Stat {
    /// A file of this machine's own.
    pub fn own(device: u64, inode: u64, mode: u32) -> Stat {
        Stat { device, inode, mode, links: 1, user: ID, group: ID, block: 4096, ..Stat::default() }
    }

    /// What the host says.
    #[allow(clippy::unnecessary_cast, reason = "the fields' types are each architecture's own")]
    pub fn of_host(stat: &rustix::fs::Stat) -> Stat {
        let user = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        Stat {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            mode: stat.st_mode as u32,
            links: stat.st_nlink as u32,
            user: if stat.st_uid == user { ID } else { stat.st_uid },
            group: if stat.st_gid == group { ID } else { stat.st_gid },
            special: stat.st_rdev as u64,
            size: stat.st_size as u64,
            block: stat.st_blksize as u32,
            blocks: stat.st_blocks as u64,
            accessed: (stat.st_atime as i64, stat.st_atime_nsec as u32),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }

    pub fn is(&self, kind: u32) -> bool {
        self.mode & S_IFMT == kind
    }

    /// `struct stat` of the generic ABI.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Bytes::default();
        bytes.u64(&[self.device, self.inode]);
        bytes.u32(&[self.mode, self.links, self.user, self.group]);
        bytes.u64(&[self.special, 0, self.size]);
        bytes.u32(&[self.block, 0]);
        bytes.u64(&[self.blocks]);
        for (seconds, nanoseconds) in [self.accessed, self.modified, self.changed] {
            bytes.u64(&[seconds.cast_unsigned(), nanoseconds.into()]);
        }
        bytes.of(128)
    }

    /// `struct statx`, with the basic fields.
    pub fn statx(&self) -> Vec<u8> {
        const STATX_BASIC_STATS: u32 = 0x7ff;
        let mut bytes = Bytes::default();
        bytes.u32(&[STATX_BASIC_STATS, self.block, 0, 0]);
        bytes.u32(&[self.links, self.user, self.group, self.mode & 0xffff]);
        bytes.u64(&[self.inode, self.size, self.blocks, 0]);
        for time in [self.accessed, (0, 0), self.changed, self.modified] {
            bytes.u64(&[time.0.cast_unsigned(), time.1.into()]);
        }
        for number in [self.special, self.device] {
            bytes.u32(&[major(number), minor(number)]);
        }
        bytes.of(256)
    }
}

/// The numbers of a device, as Linux packs them for programs.
pub(crate) fn major(device: u64) -> u32 {
    (device >> 8 & 0xfff | device >> 32 & 0xffff_f000) as u32
}

pub(crate) fn minor(device: u64) -> u32 {
    (device & 0xff | device >> 12 & 0xffff_ff00) as u32
}

/// A file system's sizes: `struct statfs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatFs {
    pub kind: u64,
    pub block: u64,
    pub blocks: u64,
    pub free: u64,
    pub available: u64,
    pub files: u64,
    pub free_files: u64,
}

impl StatFs {
    /// The generic ABI's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        const NAME_MAX: u64 = 255;
        let mut bytes = Bytes::default();
        bytes.u64(&[self.kind, self.block, self.blocks, self.free, self.available]);
        bytes.u64(&[self.files, self.free_files, 0, NAME_MAX, self.block]);
        bytes.of(120)
    }
}

/// A structure being filled.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u32(&mut self, words: &[u32]) {
        self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn u64(&mut self, words: &[u64]) {
        self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn of(mut self, size: usize) -> Vec<u8> {
        self.0.resize(size, 0);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_laid_out_as_linuxs() {
        let stat = Stat { size: 7, modified: (5, 6), ..Stat::own(0x103, 9, S_IFREG | 0o644) };
        let word = |bytes: &[u8], at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
        };
        let bytes = stat.bytes();
        assert_eq!((word(&bytes, 8), word(&bytes, 48), word(&bytes, 88)), (9, 7, 5));
        let bytes = stat.statx();
        assert_eq!((word(&bytes, 32), word(&bytes, 40), word(&bytes, 112)), (9, 7, 5));
        assert_eq!(word(&bytes, 136), 3 << 32 | 1, "stx_dev_major, stx_dev_minor");
    }
}
