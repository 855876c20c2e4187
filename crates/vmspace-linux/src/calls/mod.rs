//! System calls: what all of them share.
//!
//! Guarantee: whatever a program passes, a call ends: with a value, with Linux's error, or parked
//! without a hart. Every pointer is the guest's and every access goes through the library's
//! tables, so a bad one is EFAULT; every length is bounded before anything is allocated for it.

mod advice;
mod descriptor;
mod exec;
mod identity;
mod life;
mod lock;
mod map_file;
mod memory;
mod open;
mod path;
mod poll;
mod select;
mod signal;
mod status;
mod stream;
mod swap;
mod system;
mod table;
mod time;
mod transfer;

pub(crate) use system::LOCK_LIMIT;
pub(crate) use time::EPOCH;

use vmspace::MaySleep;
use vmspace::format::Format;

use crate::Errno;
use crate::kernel::Kernel;
use crate::task::Task;

/// A call being made.
pub(crate) struct Call<'a, 'vm, F: Format> {
    pub kernel: &'a Kernel<'vm, F>,
    pub task: &'a mut Task<'vm, F>,
    pub ms: &'a mut MaySleep,
    pub args: [u64; 6],
}

/// How a call ends other than with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// With an error.
    Errno(Errno),
    /// It waits; the kernel knows for what.
    Parked,
    /// With a value that others are let run before.
    Yield,
    /// The registers are as the thread shall find them.
    Resumed,
    /// The thread goes on as another program.
    Replaced,
    /// The thread ends.
    Exit(u8),
    /// The thread's process is ending.
    Dying,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Errno(errno)
    }
}

/// A value or another end.
pub(crate) type Outcome = Result<u64, Stop>;

impl<F: Format> Call<'_, '_, F> {
    /// Copies bytes from the guest; how many.
    pub fn load(&mut self, address: u64, into: &mut [u8]) -> usize {
        self.kernel.load(self.ms, self.task, address, into)
    }

    /// Copies bytes to the guest; how many.
    pub fn store(&mut self, address: u64, from: &[u8]) -> usize {
        self.kernel.store(self.ms, self.task, address, from)
    }

    /// Copies bytes from the guest.
    pub fn get(&mut self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        match self.load(address, into) == into.len() {
            true => Ok(()),
            false => Err(Errno::EFAULT),
        }
    }

    /// Copies bytes to the guest.
    pub fn put(&mut self, address: u64, from: &[u8]) -> Result<(), Errno> {
        match self.store(address, from) == from.len() {
            true => Ok(()),
            false => Err(Errno::EFAULT),
        }
    }

    /// Copies words from the guest.
    pub fn get_words<const N: usize>(&mut self, address: u64) -> Result<[u64; N], Errno> {
        let mut words = [0; N];
        let mut bytes = vec![0; N * 8];
        self.get(address, &mut bytes)?;
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Ok(words)
    }

    /// Copies words to the guest.
    pub fn put_words(&mut self, address: u64, words: &[u64]) -> Result<(), Errno> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(address, &bytes)
    }

    /// Copies a path from the guest, without its zero; ENAMETOOLONG beyond Linux's PATH_MAX.
    pub fn get_string(&mut self, address: u64) -> Result<Vec<u8>, Errno> {
        const PATH_MAX: usize = 4096;
        self.get_bounded(address, PATH_MAX)?.ok_or(Errno::ENAMETOOLONG)
    }

    /// Copies a string from the guest, without its zero; `None` when that is not among the first
    /// `most` bytes.
    pub fn get_bounded(&mut self, address: u64, most: usize) -> Result<Option<Vec<u8>>, Errno> {
        const PIECE: usize = 4096;
        let mut string = Vec::new();
        while string.len() < most {
            let mut piece = [0; PIECE];
            let piece = &mut piece[..PIECE.min(most - string.len())];
            let at = address.wrapping_add(string.len() as u64);
            let read = self.load(at, piece);
            if let Some(end) = piece[..read].iter().position(|byte| *byte == 0) {
                string.extend(&piece[..end]);
                return Ok(Some(string));
            }
            if read < piece.len() {
                return Err(Errno::EFAULT);
            }
            string.extend(&*piece);
        }
        Ok(None)
    }
}
