//! The host's standard files, and the thread that waits for them.
//!
//! Guarantee: no hart blocks in the host. A thread of the guest that needs the host's input or room
//! for output is parked, and one thread of the host's polls for all of them. It reads nothing
//! itself: input that the program never asks for stays where it is.
//!
//! Where a seed decides the run, there is no such thread: the host's files look like pipes whose
//! other end is always ahead, so that neither what they are nor when they are ready can be seen.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmspace::format::Format;

use crate::Errno;
use crate::files::stat::{S_IFIFO, Stat};
use crate::kernel::Kernel;
use crate::task::Wait;

/// One of the standard three, which stay open as long as the process runs: std never closes them,
/// and who closed one before the start has it refused by the command or left out of the table.
pub(crate) fn borrow(number: i32) -> BorrowedFd<'static> {
    match number {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    }
}

/// The guest's number for an error of the host's, which is the same.
pub(crate) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::new(error.raw_os_error())
}

/// O_RDONLY, O_WRONLY or O_RDWR, as the host has it open.
pub(crate) fn access(number: i32) -> u64 {
    let flags = rustix::fs::fcntl_getfl(borrow(number));
    flags.map_or(0, |flags| u64::from(flags.bits()) & crate::files::flag::ACCESS)
}

/// How much may be written at once without blocking when poll says that there is room.
pub(crate) fn piece(number: i32) -> usize {
    let kind =
        rustix::fs::fstat(borrow(number)).map(|s| rustix::fs::FileType::from_raw_mode(s.st_mode));
    match kind {
        Ok(rustix::fs::FileType::RegularFile) => usize::MAX,
        _ => crate::pipe::ATOMIC,
    }
}

/// Words of 32 bits as bytes.
fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// What is known about one of the standard three.
fn stat(number: i32) -> Result<Stat, Errno> {
    Ok(Stat::of_host(&rustix::fs::fstat(borrow(number)).map_err(errno)?))
}

/// What an ioctl of a terminal stores: TCGETS and TIOCGWINSZ, from the host's terminal.
fn terminal(number: i32, request: u64) -> Result<Vec<u8>, Errno> {
    const TCGETS: u64 = 0x5401;
    const TIOCGWINSZ: u64 = 0x5413;
    let file = borrow(number);
    match request {
        TCGETS => {
            let t = rustix::termios::tcgetattr(file).map_err(errno)?;
            let modes = [
                t.input_modes.bits(),
                t.output_modes.bits(),
                t.control_modes.bits(),
                t.local_modes.bits(),
            ];
            let mut bytes = bytes_of(&modes);
            bytes.resize(36, 0);
            Ok(bytes)
        }
        TIOCGWINSZ => {
            let size = rustix::termios::tcgetwinsize(file).map_err(errno)?;
            let sizes = [size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel];
            Ok(sizes.iter().flat_map(|n| n.to_le_bytes()).collect())
        }
        _ => Err(Errno::ENOTTY),
    }
}

/// What was read of the host's standard files and could not be stored where a program wanted it.
#[derive(Default)]
pub(crate) struct Unread([Left; 3]);

/// Bytes of one of them that come before what the host has.
#[derive(Default)]
pub(crate) struct Left {
    bytes: Mutex<Vec<u8>>,
    some: AtomicBool,
}

impl Unread {
    pub fn of(&self, number: i32) -> &Left {
        &self.0[number as usize]
    }
}

impl Left {
    /// The bytes, held by who reads: what one cannot store is the next one's.
    pub fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who holds the bytes has changed them.
    pub fn note(&self, bytes: &[u8]) {
        self.some.store(!bytes.is_empty(), Ordering::Relaxed);
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// What a host's file is ready for now. Where a seed decides the run, that is everything.
    pub fn host_ready(&self, number: i32, events: PollFlags) -> PollFlags {
        if self.seed.is_some() {
            return events & (PollFlags::IN | PollFlags::OUT);
        }
        if self.unread.of(number).some.load(Ordering::Relaxed) && events.contains(PollFlags::IN) {
            return PollFlags::IN;
        }
        let mut files = [PollFd::from_borrowed_fd(borrow(number), events)];
        match poll(&mut files, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => files[0].revents(),
            Err(_) => PollFlags::ERR,
        }
    }

    /// Reads from a host's file that is ready. Where a seed decides the run, all that was asked for,
    /// or all that is left: how much of it has arrived is the host's affair. A terminal gives a line.
    pub fn read_host(&self, number: i32, bytes: &mut [u8]) -> Result<usize, Errno> {
        let file = borrow(number);
        if self.seed.is_none() {
            return rustix::io::read(file, bytes).map_err(errno);
        }
        let mut done = 0;
        while done < bytes.len() {
            self.await_host(number, PollFlags::IN)?;
            match rustix::io::read(file, &mut bytes[done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) if done == 0 => return Err(errno(error)),
                Err(_) => break,
            }
            if rustix::termios::isatty(file) {
                break;
            }
        }
        Ok(done)
    }

    /// Writes to a host's file that is ready. Where a seed decides the run, all of it.
    pub fn write_host(&self, number: i32, bytes: &[u8]) -> Result<usize, Errno> {
        let file = borrow(number);
        if self.seed.is_none() {
            return rustix::io::write(file, bytes).map_err(errno);
        }
        let mut done = 0;
        while done < bytes.len() {
            self.await_host(number, PollFlags::OUT)?;
            match rustix::io::write(file, &bytes[done..]) {
                Ok(written) => done += written,
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(errno(error)),
            }
        }
        Ok(done)
    }

    /// Blocks until the file is ready, or the run ends.
    fn await_host(&self, number: i32, events: PollFlags) -> Result<(), Errno> {
        loop {
            if self.is_over() {
                return Err(Errno::EINTR);
            }
            let ours = PollFd::from_borrowed_fd(self.poller.as_fd(), PollFlags::IN);
            let mut files = [ours, PollFd::from_borrowed_fd(borrow(number), events)];
            let polled = poll(&mut files, None);
            let [ours, theirs] = files;
            if polled.is_ok() && !theirs.revents().is_empty() {
                return Ok(());
            }
            if !ours.revents().is_empty() {
                self.drain_poller();
            }
        }
    }

    /// Whoever polls has been woken.
    fn drain_poller(&self) {
        // It is readable; what it says does not matter.
        let _ = rustix::io::read(&self.poller, &mut [0; 8]);
    }

    /// What the guest is told about a host's file.
    pub fn host_stat(&self, number: i32) -> Result<Stat, Errno> {
        match self.seed {
            // Inodes that no pipe of the machine's has.
            Some(_) => {
                Ok(Stat::own(0, u64::MAX - u64::from(number.unsigned_abs()), S_IFIFO | 0o600))
            }
            None => stat(number),
        }
    }

    /// What an ioctl of a terminal stores, if the host's file is one.
    pub fn host_terminal(&self, number: i32, request: u64) -> Result<Vec<u8>, Errno> {
        match self.seed {
            Some(_) => Err(Errno::ENOTTY),
            None => terminal(number, request),
        }
    }

    /// The polling thread: until the run ends, waits for what parked threads wait for.
    pub fn poll_host(&self) {
        while !self.is_over() {
            let wanted = self.wanted();
            let mut files = vec![PollFd::from_borrowed_fd(self.poller.as_fd(), PollFlags::IN)];
            files.extend(wanted.iter().map(|(n, f)| PollFd::from_borrowed_fd(borrow(*n), *f)));
            if poll(&mut files, None).is_err() {
                continue;
            }
            if !files[0].revents().is_empty() {
                self.drain_poller();
            }
            let ready: Vec<i32> = wanted
                .iter()
                .zip(&files[1..])
                .filter(|(_, file)| !file.revents().is_empty())
                .map(|((number, _), _)| *number)
                .collect();
            self.wake_where(&mut self.lock(), |wait| {
                ready.iter().any(|number| wait.is_for_host(*number))
            });
        }
    }

    /// The files that threads wait for.
    fn wanted(&self) -> Vec<(i32, PollFlags)> {
        let state = self.lock();
        let mut events = [PollFlags::empty(); 3];
        for wait in state.threads.values().filter_map(|thread| thread.wait) {
            match wait {
                Wait::Host { number, write: true } => events[number as usize] |= PollFlags::OUT,
                Wait::Host { number, write: false } => events[number as usize] |= PollFlags::IN,
                Wait::Poll(host) => {
                    for (events, wanted) in events.iter_mut().zip(host) {
                        *events |= PollFlags::from_bits_truncate(wanted);
                    }
                }
                _ => {}
            }
        }
        (0..).zip(events).filter(|(_, events)| !events.is_empty()).collect()
    }
}
