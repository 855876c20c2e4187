//! `pselect6`: `ppoll` with sets of bits.

use std::time::Duration;

use rustix::event::PollFlags;
use vmspace::format::Format;

use super::poll::Asked;
use super::{Call, Outcome};
use crate::Errno;
use crate::files::MOST_FILES;

/// For each of the three sets: what its files are asked for, and what counts as an answer.
const KINDS: [(PollFlags, PollFlags); 3] = [
    (PollFlags::IN, PollFlags::IN.union(PollFlags::HUP).union(PollFlags::ERR)),
    (PollFlags::OUT, PollFlags::OUT.union(PollFlags::ERR)),
    (PollFlags::PRI, PollFlags::PRI),
];

impl<F: Format> Call<'_, '_, F> {
    /// `pselect6(count, to read, to write, exceptions, timeout, mask and its size)`
    pub(super) fn pselect6(&mut self) -> Outcome {
        let [count, read, write, exceptions, timeout, mask] = self.args;
        let count = usize::try_from(count as i32).map_err(|_| Errno::EINVAL)?.min(MOST_FILES);
        let deadline = self.polling_deadline(timeout)?;
        let [mask, size] = if mask == 0 { [0; 2] } else { self.get_words(mask)? };
        let addresses = [read, write, exceptions];
        let mut sets = [[0; MOST_FILES / 64]; 3];
        let words = count.div_ceil(64);
        for (set, address) in sets.iter_mut().zip(addresses).filter(|(_, address)| *address != 0) {
            for (n, word) in (0..).zip(&mut set[..words]) {
                [*word] = self.get_words(address.wrapping_add(8 * n))?;
            }
        }
        let numbers: Vec<usize> =
            (0..count).filter(|number| sets.iter().any(|set| is_in(set, *number))).collect();
        let found = self.with_mask(mask, size, |call| {
            let asked = numbers.iter().map(|number| call.asked_in(&sets, *number)).collect();
            call.look_or_sleep(asked, deadline)
        })?;
        if found.iter().any(|flags| flags.contains(PollFlags::NVAL)) {
            return Err(Errno::EBADF.into());
        }
        let mut answered = 0;
        for ((set, address), (_, answers)) in sets.iter_mut().zip(addresses).zip(KINDS) {
            for (number, flags) in numbers.iter().zip(&found) {
                if is_in(set, *number) && !flags.intersects(answers) {
                    set[number / 64] &= !(1 << (number % 64));
                }
            }
            answered += set[..words].iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
            if address != 0 {
                self.put_words(address, &set[..words])?;
            }
        }
        self.tell_time_left(timeout, deadline)?;
        Ok(answered)
    }

    /// The file with a number, and what is asked of it by the sets that it is in.
    fn asked_in(&self, sets: &[[u64; MOST_FILES / 64]; 3], number: usize) -> Asked {
        let kinds = KINDS.iter().zip(sets).filter(|(_, set)| is_in(*set, number));
        let start = (PollFlags::empty(), PollFlags::NVAL);
        let (events, answers) =
            kinds.fold(start, |sum, (kind, _)| (sum.0 | kind.0, sum.1 | kind.1));
        let descriptor = self.task.files.get(number as u64).ok();
        Asked { descriptor, skipped: false, events, answers }
    }

    /// Linux updates the timeout, for who goes on waiting.
    fn tell_time_left(&mut self, timeout: u64, deadline: Option<Duration>) -> Result<(), Errno> {
        let Some(deadline) = deadline else { return Ok(()) };
        let left = deadline.saturating_sub(self.kernel.clock().now());
        self.put_words(timeout, &[left.as_secs(), left.subsec_nanos().into()])
    }
}

fn is_in(set: &[u64], number: usize) -> bool {
    set[number / 64] >> (number % 64) & 1 == 1
}
