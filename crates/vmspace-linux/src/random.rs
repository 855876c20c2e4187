//! Random numbers: the host's, or a stream that a seed decides.

use std::sync::{Mutex, PoisonError};

use vmspace_machine::random::SplitMix64;

use crate::Errno;

/// The stream of `seed` for one purpose; other purposes draw other numbers.
pub(crate) fn stream(seed: u64, purpose: u64) -> SplitMix64 {
    SplitMix64::new(seed ^ SplitMix64::new(purpose).bits())
}

/// Where a program's random bytes come from.
pub(crate) enum Random {
    Host,
    Seeded(Mutex<SplitMix64>),
}

impl Random {
    /// Fills the bytes.
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), Errno> {
        let Random::Seeded(stream) = self else { return fill_from_host(bytes) };
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&stream.bits().to_le_bytes()[..part.len()]);
        }
        Ok(())
    }

    /// What a program's own random numbers begin with; zeros when the host has none to give.
    pub fn sixteen(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let _ = self.fill(&mut bytes);
        bytes
    }
}

fn fill_from_host(bytes: &mut [u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        done += rustix::rand::getrandom(&mut bytes[done..], flags).map_err(crate::host::errno)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_seeds_and_its_purposes() {
        let draw = |seed, purpose| stream(seed, purpose).bits();
        assert_eq!(draw(7, 0), draw(7, 0));
        assert!(draw(7, 0) != draw(8, 0) && draw(7, 0) != draw(7, 1));
    }
}
