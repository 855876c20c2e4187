//! The host's files as the pager of objects.
//!
//! Guarantee: what a page is brought from, and stored to, is the file that was opened, whatever has
//! become of its name. A page that lies beyond the end of the host's file, because somebody outside
//! made it shorter, cannot be brought: who touches it gets SIGBUS. The host's descriptors are opened
//! once for reading and once for writing, and closed when the object has ended.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;
use vmspace::{MaySleep, Page, Pager, PagerError};

/// The host's descriptors of one file.
#[derive(Debug, Default)]
pub(crate) struct Backing {
    pub reader: OnceLock<OwnedFd>,
    pub writer: OnceLock<OwnedFd>,
    /// The object is being given the length that the host's file has already.
    pub adopting: AtomicBool,
}

/// Those of all objects, by the numbers that the library knows them by.
#[derive(Debug, Default)]
pub(crate) struct Backings {
    table: Mutex<BTreeMap<u64, Arc<Backing>>>,
    last: AtomicU64,
}

impl Backings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Backing>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one, and its number.
    pub fn add(&self) -> (u64, Arc<Backing>) {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let backing = Arc::new(Backing::default());
        self.lock().insert(number, backing.clone());
        (number, backing)
    }

    pub fn remove(&self, number: u64) {
        self.lock().remove(&number);
    }

    fn get(&self, number: u64) -> Result<Arc<Backing>, PagerError> {
        self.lock().get(&number).cloned().ok_or(PagerError::Failed)
    }
}

/// The pager over them.
pub(crate) struct HostPager(pub Arc<Backings>);

fn refusal(error: Errno) -> PagerError {
    match error {
        Errno::NOSPC | Errno::DQUOT => PagerError::Full,
        Errno::FBIG => PagerError::TooLarge,
        _ => PagerError::Failed,
    }
}

/// Writes all of it, or what the host takes; how much, at least one byte.
fn write_at(file: &OwnedFd, offset: u64, from: &[u8]) -> Result<usize, PagerError> {
    let mut done = 0;
    while done < from.len() {
        match rustix::io::pwrite(file, &from[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(error) if done == 0 => return Err(refusal(error)),
            Err(_) => break,
        }
    }
    if done == 0 { Err(PagerError::Full) } else { Ok(done) }
}

impl Pager for HostPager {
    fn page_in(
        &self,
        _: &mut MaySleep,
        pager: u64,
        index: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError> {
        let backing = self.0.get(pager)?;
        let file = backing.reader.get().ok_or(PagerError::Failed)?;
        let mut bytes = vec![0; page.len()];
        let offset = index * page.len() as u64;
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::pread(file, &mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        if done == 0 {
            return Err(PagerError::Failed);
        }
        page.write(0, &bytes);
        Ok(())
    }

    fn page_out(
        &self,
        _: &mut MaySleep,
        pager: u64,
        index: u64,
        page: Page<'_>,
        bytes: usize,
    ) -> Result<(), PagerError> {
        let backing = self.0.get(pager)?;
        let file = backing.writer.get().ok_or(PagerError::Failed)?;
        let mut from = vec![0; bytes];
        page.read(0, &mut from);
        let written = write_at(file, index * page.len() as u64, &from)?;
        if written < bytes { Err(PagerError::Full) } else { Ok(()) }
    }

    fn write(
        &self,
        _: &mut MaySleep,
        pager: u64,
        offset: u64,
        from: &[u8],
    ) -> Result<usize, PagerError> {
        let backing = self.0.get(pager)?;
        write_at(backing.writer.get().ok_or(PagerError::Failed)?, offset, from)
    }

    fn resize(&self, _: &mut MaySleep, pager: u64, bytes: u64) -> Result<(), PagerError> {
        let backing = self.0.get(pager)?;
        if backing.adopting.load(Ordering::Relaxed) {
            return Ok(());
        }
        let file = backing.writer.get().ok_or(PagerError::Failed)?;
        rustix::fs::ftruncate(file, bytes).map_err(refusal)
    }

    fn end(&self, _: &mut MaySleep, pager: u64) {
        self.0.remove(pager);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_would_be_told_as_written() {
        // SAFETY: the test's own thread, which holds nothing of the library.
        let mut ms = unsafe { MaySleep::assume() };
        let backings = Arc::new(Backings::default());
        let (number, backing) = backings.add();
        let pager = HostPager(backings);
        assert_eq!(pager.write(&mut ms, number, 0, b"x"), Err(PagerError::Failed), "not open");
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        backing.writer.set(full.into()).expect("it was not set");
        assert_eq!(pager.write(&mut ms, number, 0, b"x"), Err(PagerError::Full));
        pager.end(&mut ms, number);
        assert_eq!(pager.write(&mut ms, number, 0, b"x"), Err(PagerError::Failed), "it has ended");
    }
}
