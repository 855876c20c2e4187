//! A device that keeps pages in a file of the host's.
//!
//! Guarantee: the file's blocks are set aside before it is used, so a full disk is known before the
//! program runs. Nobody else has the file for swap: it is locked (flock(2)) for as long as it is
//! open. What is read is what was written: the sum of each page is remembered, so a file that was
//! truncated or changed by others gives an error, never zeros. What somebody keeps in a file is not
//! written over: one that was there must be empty, and is again at the end; one that was made here
//! loses its name before the program runs, so that the host has its room back however the run ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};

use super::slots::Slots;
use super::{Broken, Device, SwapError, What};

/// The device.
#[derive(Debug)]
pub(super) struct SwapFile {
    file: File,
    /// The sums of the pages.
    slots: Slots<u64>,
    /// It was empty when it was locked: what is in it now is ours.
    ours: bool,
}

impl Drop for SwapFile {
    fn drop(&mut self) {
        if self.ours {
            // What cannot be cut off is refused when it is named again.
            let _ = self.file.set_len(0);
        }
    }
}

/// The name of a file that was not there before; dropped, it is removed.
#[derive(Debug)]
pub(super) struct Made {
    path: PathBuf,
    identity: (u64, u64),
}

impl Made {
    fn new(path: &Path, file: &File) -> io::Result<Made> {
        let found = file.metadata()?;
        Ok(Made { path: std::path::absolute(path)?, identity: (found.dev(), found.ino()) })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        if std::fs::symlink_metadata(&self.path).is_ok_and(|f| identity(f) == self.identity) {
            // Where it cannot be removed, the file is empty at the end.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl SwapFile {
    /// Opens or makes a file for `bytes` bytes of pages, which is not `program`; its name, if it was
    /// made.
    pub fn open(
        path: &Path,
        bytes: u64,
        program: &Path,
    ) -> Result<(SwapFile, Option<Made>), SwapError> {
        let refused = |error: io::Error| SwapError::host(What::Open, error);
        let (file, made) = match options().create_new(true).mode(0o600).open(path) {
            Ok(file) => {
                let made = Made::new(path, &file).map_err(refused)?;
                (file, Some(made))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (options().open(path).map_err(refused)?, None)
            }
            Err(error) => return Err(refused(error)),
        };
        let mut device = SwapFile::of(file);
        device.check(program)?;
        device.claim()?;
        device.set_aside(bytes)?;
        Ok((device, made))
    }

    /// Of an open file, which is not ours yet.
    pub fn of(file: File) -> SwapFile {
        SwapFile { file, slots: Slots::new(), ours: false }
    }

    /// Refuses what is no plain file, the program, and what is used for swap already.
    fn check(&self, program: &Path) -> Result<(), SwapError> {
        let found = self.file.metadata().map_err(|error| SwapError::host(What::Open, error))?;
        let kind = found.file_type();
        let what = match () {
            () if kind.is_dir() => Some("a directory"),
            () if kind.is_fifo() => Some("a FIFO"),
            () if kind.is_block_device() || kind.is_char_device() => Some("a device"),
            () if !kind.is_file() => Some("no plain file"),
            () => None,
        };
        if let Some(what) = what {
            return Err(SwapError::new(What::Kind(what)));
        }
        let same =
            |other: std::fs::Metadata| other.dev() == found.dev() && other.ino() == found.ino();
        if std::fs::metadata(program).is_ok_and(same) {
            return Err(SwapError::new(What::Kind("the program")));
        }
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(SwapError::new(What::Used)),
            Err(error) => Err(SwapError::host(What::Lock, error.into())),
        }
    }

    /// Refuses what holds something. It is locked: no other run puts something there meanwhile.
    fn claim(&mut self) -> Result<(), SwapError> {
        let found = self.file.metadata().map_err(|error| SwapError::host(What::Open, error))?;
        if found.len() != 0 {
            return Err(SwapError::new(What::Holds));
        }
        self.ours = true;
        Ok(())
    }

    /// Has the host keep blocks for all slots. Where it cannot, the file is empty again.
    fn set_aside(&self, bytes: u64) -> Result<(), SwapError> {
        let refused = |error: rustix::io::Errno| SwapError::host(What::SetAside, error.into());
        rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes).map_err(refused)
    }
}

/// How it is opened: a FIFO that nobody has open is an error, not a wait.
fn options() -> std::fs::OpenOptions {
    let mut options = File::options();
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    options.read(true).write(true).custom_flags(flags);
    options
}

/// A sum that differs between pages that differ, but for one in 2^64.
fn sum(page: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    page.as_chunks()
        .0
        .iter()
        .fold(ODD, |sum, word| (sum ^ u64::from_le_bytes(*word)).wrapping_mul(ODD).rotate_left(29))
}

impl Device for SwapFile {
    fn read(&self, slot: u64, page: &mut [u8]) -> Result<(), Broken> {
        let written = self.slots.get(slot).ok_or(Broken::Never)?;
        self.file.read_exact_at(page, slot * page.len() as u64).map_err(|error| {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => Broken::Short,
                _ => Broken::Host(error),
            }
        })?;
        if sum(page) == written { Ok(()) } else { Err(Broken::Changed) }
    }

    fn write(&self, slot: u64, page: &[u8]) -> Result<(), Broken> {
        self.file.write_all_at(page, slot * page.len() as u64).map_err(Broken::Host)?;
        self.slots.put(slot, sum(page));
        Ok(())
    }

    fn discard(&self, slot: u64) {
        self.slots.remove(slot);
    }

    fn usage(&self) -> (u64, u64) {
        self.slots.usage()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PAGE, noise, text};
    use super::*;

    const SLOTS: u64 = 16;
    const BYTES: u64 = SLOTS * PAGE as u64;

    /// A name of the test's own that does not exist.
    fn name(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("vmspace-{test}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn open(path: &Path) -> Result<(SwapFile, Option<Made>), SwapError> {
        SwapFile::open(path, BYTES, Path::new("/proc/self/exe"))
    }

    #[test]
    fn a_page_would_come_back_as_another() {
        let path = name("swap-back");
        let (device, made) = open(&path).expect("a file");
        assert_eq!(std::fs::metadata(&path).expect("the file").len(), BYTES);
        drop(made);
        assert!(!path.exists());
        for slot in 0..SLOTS {
            device.write(slot, &noise(slot, PAGE)).expect("there is room");
        }
        for slot in (0..SLOTS).rev() {
            let mut page = vec![0; PAGE];
            device.read(slot, &mut page).expect("it was written");
            assert!(page == noise(slot, PAGE), "slot {slot}");
        }
        device.discard(3);
        assert!(matches!(device.read(3, &mut [0; PAGE]), Err(Broken::Never)));
        assert_eq!(device.usage(), (SLOTS - 1, SLOTS));
    }

    /// Truncated, and made long again by the next write, so that what was there reads as zeros.
    #[test]
    fn a_truncated_file_would_give_zeros() {
        let path = name("swap-truncated");
        let (device, _made) = open(&path).expect("a file");
        device.write(0, &text(PAGE)).expect("there is room");
        device.write(1, &text(PAGE)).expect("there is room");
        device.file.set_len(PAGE as u64 / 2).expect("it is shorter");
        let mut page = vec![0; PAGE];
        assert!(matches!(device.read(0, &mut page), Err(Broken::Short)));
        assert!(matches!(device.read(1, &mut page), Err(Broken::Short)));
        device.write(2, &text(PAGE)).expect("the file grows again");
        assert!(matches!(device.read(0, &mut page), Err(Broken::Changed)));
        assert!(matches!(device.read(1, &mut page), Err(Broken::Changed)));
        device.read(2, &mut page).expect("it was written");
        assert!(page == text(PAGE));
    }

    #[test]
    fn a_file_that_was_there_would_be_removed() {
        let path = name("swap-kept");
        std::fs::write(&path, b"").expect("a file");
        drop(open(&path).expect("a file"));
        assert_eq!(std::fs::read(&path).expect("the file"), b"", "it is empty again");
        // One that somebody else has put in its place is not ours.
        std::fs::remove_file(&path).expect("it goes");
        let made = open(&path).expect("a file");
        std::fs::remove_file(&path).expect("it goes");
        std::fs::write(&path, b"theirs").expect("a file");
        drop(made);
        assert_eq!(std::fs::read(&path).expect("the file"), b"theirs");
        std::fs::remove_file(&path).expect("it goes");
    }

    #[test]
    fn what_somebody_keeps_in_a_file_would_be_written_over() {
        let path = name("swap-mine");
        std::fs::write(&path, b"mine").expect("a file");
        let error = open(&path).expect_err("it is somebody's").to_string();
        assert!(error.contains("holds something"), "{error}");
        assert_eq!(std::fs::read(&path).expect("the file"), b"mine");
        std::fs::remove_file(&path).expect("it goes");
    }

    #[test]
    fn one_file_would_hold_the_pages_of_two_devices() {
        let (path, other) = (name("swap-twice"), name("swap-twice-link"));
        let first = open(&path).expect("a file");
        std::fs::hard_link(&path, &other).expect("another name");
        for name in [&path, &other] {
            let error = open(name).expect_err("it is in use").to_string();
            assert!(error.contains("is used for swap already"), "{error}");
        }
        drop(first);
        std::fs::remove_file(&other).expect("it goes");
    }

    #[test]
    fn what_cannot_hold_pages_would_be_taken_for_a_file() {
        for (path, words) in [
            (std::env::temp_dir(), "directory"),
            (PathBuf::from("/dev/null"), "is a device"),
            (PathBuf::from("/nonexistent/swap"), "directory"),
            (std::env::current_exe().expect("the test"), ""),
        ] {
            let error = open(&path).expect_err("it is no swap file").to_string();
            assert!(error.contains(words) && error.ends_with(')'), "{error}");
        }
        let path = name("swap-full");
        std::fs::write(&path, b"").expect("a file");
        let program = Path::new("/proc/self/exe");
        let error = SwapFile::open(&path, 1 << 60, program).expect_err("no disk has that");
        assert!(error.to_string().ends_with(')'), "{error}");
        assert_eq!(std::fs::read(&path).expect("the file"), b"");
        std::fs::remove_file(&path).expect("it goes");
    }
}
