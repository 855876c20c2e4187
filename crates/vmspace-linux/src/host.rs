//! The host's standard files, and the thread that waits for them.
//!
//! Guarantee: no hart blocks in the host. A thread of the guest that needs the host's input or room
//! for output is parked, and one thread of the host's polls for all of them. It reads nothing
//! itself: input that the program never asks for stays where it is.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use vmspace::format::Format;

use crate::Errno;
use crate::files::stat::Stat;
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
pub(crate) fn stat(number: i32) -> Result<Stat, Errno> {
    Ok(Stat::of_host(&rustix::fs::fstat(borrow(number)).map_err(errno)?))
}

/// What an ioctl of a terminal stores: TCGETS and TIOCGWINSZ, from the host's terminal.
pub(crate) fn terminal(number: i32, request: u64) -> Result<Vec<u8>, Errno> {
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

impl<'vm, F: Format> Kernel<'vm, F> {
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
                // It is readable; what it says does not matter.
                let _ = rustix::io::read(&self.poller, &mut [0; 8]);
            }
            let ready: Vec<i32> = wanted
                .iter()
                .zip(&files[1..])
                .filter(|(_, file)| !file.revents().is_empty())
                .map(|((number, _), _)| *number)
                .collect();
            self.wake_where(&mut self.lock(), |wait| match wait {
                Wait::Host { number, .. } => ready.contains(number),
                Wait::Poll(host) => ready.iter().any(|number| host[*number as usize] != 0),
                _ => false,
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
