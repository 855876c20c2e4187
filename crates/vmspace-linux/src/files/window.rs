//! Long things that are read in parts: the texts of /proc, what directories hold.
//!
//! Guarantee: of each open file one part is kept, however long the whole is. Reading on takes the
//! part that follows, by the cursor that the last one ended with; reading from the start, or from
//! another place, begins anew. So what changes meanwhile is seen or not, but what stays is given
//! exactly once, as from Linux's seq_file and as POSIX wants it of directories.

use std::sync::{Mutex, PoisonError};

use crate::Errno;

/// The part of a thing of `T`s that is being read; `C` is where the next one begins, in terms of what
/// is shown.
#[derive(Debug)]
pub(crate) struct Window<T, C>(Mutex<Part<T, C>>);

/// A part: the place of its first item, the items, and where to go on; nowhere at the end.
#[derive(Debug)]
struct Part<T, C> {
    start: u64,
    items: Vec<T>,
    next: Option<C>,
}

impl<T, C: Default> Default for Part<T, C> {
    fn default() -> Self {
        Part { start: 0, items: Vec::new(), next: Some(C::default()) }
    }
}

impl<T, C: Default> Default for Window<T, C> {
    fn default() -> Self {
        Window(Mutex::default())
    }
}

impl<T, C: Default> Window<T, C> {
    /// Uses the items from place `at` on, at least one unless it lies at the end. `take` gives the
    /// part that a cursor leads to, and the cursor of the one behind it.
    pub fn read<R>(
        &self,
        at: u64,
        mut take: impl FnMut(&C) -> Result<(Vec<T>, Option<C>), Errno>,
        body: impl FnOnce(&[T]) -> R,
    ) -> Result<R, Errno> {
        let mut part = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at == 0 || at < part.start {
            *part = Part::default();
        }
        loop {
            let skipped = usize::try_from(at - part.start).unwrap_or(usize::MAX);
            match (part.items.get(skipped..).filter(|rest| !rest.is_empty()), &part.next) {
                (Some(rest), _) => return Ok(body(rest)),
                (None, None) => return Ok(body(&[])),
                (None, Some(next)) => {
                    let (items, next) = take(next)?;
                    let start = part.start + part.items.len() as u64;
                    *part = Part { start, items, next };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of three numbers of a list, which are the cursors too.
    fn parts(all: &[u64]) -> impl FnMut(&u64) -> Result<(Vec<u64>, Option<u64>), Errno> {
        move |from| {
            let items: Vec<u64> = all.iter().copied().filter(|n| n > from).take(3).collect();
            let next = items.last().copied().filter(|_| items.len() == 3);
            Ok((items, next))
        }
    }

    #[test]
    fn what_is_removed_while_a_directory_is_read_hides_its_neighbours() {
        let window = Window::<u64, u64>::default();
        let read = |at, all: &[u64]| window.read(at, parts(all), <[u64]>::to_vec).expect("read");
        assert_eq!(read(0, &[1, 2, 3, 4, 5, 6, 7]), [1, 2, 3]);
        assert_eq!(read(2, &[]), [3], "the same part");
        assert_eq!(read(3, &[4, 5, 6, 7]), [4, 5, 6], "the first three have gone");
        assert_eq!(read(6, &[7]), [7]);
        assert_eq!(read(7, &[7]), [0; 0], "the end");
        assert_eq!(read(1, &[7, 8]), [8], "another place: anew");
        assert_eq!(read(100, &[7, 8]), [0; 0], "far behind the end");
        assert_eq!(read(0, &[9]), [9], "from the start: anew");
        assert_eq!(window.read(5, |_| Err(Errno::EIO), <[u64]>::len), Ok(0), "it has ended");
        assert_eq!(window.read(0, |_| Err(Errno::EIO), <[u64]>::len), Err(Errno::EIO));
    }

    #[test]
    fn a_text_is_kept_whole_in_the_hosts_memory() {
        let window = Window::<u8, u64>::default();
        for at in (0..1 << 20).step_by(1000) {
            let take = |from: &u64| Ok((vec![0; 100], Some(from + 1)));
            window.read(at, take, |rest| assert!(!rest.is_empty())).expect("read");
            assert!(window.0.lock().expect("free").items.len() <= 100);
        }
    }
}
