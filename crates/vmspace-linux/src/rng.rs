//! Random numbers: the host's, or a stream that a seed decides.

use std::sync::{Mutex, PoisonError};

use crate::Errno;

/// A seeded stream: splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators").
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of `seed` for one purpose; other purposes draw other numbers.
    pub fn new(seed: u64, purpose: u64) -> Rng {
        let mut rng = Rng(purpose);
        Rng(seed ^ rng.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

/// Where a program's random bytes come from.
pub(crate) enum Random {
    Host,
    Seeded(Mutex<Rng>),
}

impl Random {
    /// Fills the bytes.
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), Errno> {
        let Random::Seeded(rng) = self else { return fill_from_host(bytes) };
        let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&rng.next().to_le_bytes()[..part.len()]);
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
        let draw = |seed, purpose| Rng::new(seed, purpose).next();
        assert_eq!(draw(7, 0), draw(7, 0));
        assert!(draw(7, 0) != draw(8, 0) && draw(7, 0) != draw(7, 1));
        let mut rng = Rng::new(1, 0);
        let mut seen = [false; 5];
        (0..100).for_each(|_| seen[rng.below(5) as usize] = true);
        assert_eq!(seen, [true; 5]);
        assert_eq!(rng.below(1), 0);
    }
}
