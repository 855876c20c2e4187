//! What is built, and the clear words when it cannot be.

use crate::memory::START;
use bitflags::bitflags;
use std::fmt;
use vmspace::MAX_CPUS;
use vmspace::format::Format;

bitflags! {
    /// How a hart's TLB behaves, within what the manuals allow. Without any trait it is plain
    /// direct-mapped arrays: what does not fit is forgotten.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct TlbTraits: u8 {
        /// Forgets nothing unless it is told to.
        const STICKY = 1;
        /// Forgets, and walks again, at random.
        const FORGETFUL = 1 << 1;
        /// Remembers pointers to tables until a shootdown says that tables were unlinked.
        const NONLEAF = 1 << 2;
        /// Walks for pages near the one asked for: sets accessed, keeps what it finds.
        const SPECULATIVE = 1 << 3;
        /// Answers shootdowns late.
        const LATE = 1 << 4;
    }
}

impl TlbTraits {
    /// No trait.
    pub const NORMAL: TlbTraits = TlbTraits::empty();
    /// Every trait: remembers all that it has seen, and yet looks again at random.
    pub const ADVERSARIAL: TlbTraits = TlbTraits::all();
}

/// What a machine is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Bytes of guest-physical memory.
    pub memory: u64,
    /// Harts, each for a host thread: CPUs `0..harts`.
    pub harts: usize,
    /// CPU numbers for threads of the host that call the library and are no harts.
    pub other_cpus: usize,
    /// Address-space identifiers of a hart.
    pub ids: usize,
    /// How a hart's TLB behaves.
    pub tlb: TlbTraits,
    /// What the traits do at random is drawn from it, for each hart by itself.
    pub seed: u64,
    /// Compare every cached translation that is used with its entry; where the format demands
    /// break-before-make, watch for two translations of one page.
    pub check: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            memory: 256 << 20,
            harts: 1,
            other_cpus: 8,
            ids: 16,
            tlb: TlbTraits::NORMAL,
            seed: 0,
            check: false,
        }
    }
}

/// The least frames that a machine is built with, and how many there are for each hart.
const LEAST_FRAMES: u64 = 64;
const FRAMES_A_HART: u64 = 4;

/// The least memory that a machine of so many harts over tables of this format is built with, in
/// bytes. It holds what the manager keeps, and a small program.
pub fn least_memory<F: Format>(harts: usize) -> u64 {
    LEAST_FRAMES.max(FRAMES_A_HART * harts as u64) << F::PAGE_SHIFT
}

/// The most identifiers of a hart: they share a word with the page number in a TLB's tag.
pub const MAX_IDS: usize = 255;

impl Config {
    /// Refuses what cannot be built over tables of this format.
    pub(crate) fn validate<F: Format>(&self) -> Result<(), MachineError> {
        let most = MAX_CPUS.saturating_sub(self.other_cpus);
        if self.harts == 0 || self.harts > most {
            return Err(MachineError::Harts { asked: self.harts, most });
        }
        if self.ids == 0 || self.ids > MAX_IDS {
            return Err(MachineError::Ids { asked: self.ids, most: MAX_IDS });
        }
        let least = least_memory::<F>(self.harts);
        if self.memory < least {
            return Err(MachineError::TooSmall { asked: self.memory, least });
        }
        let most = (1 << (F::FRAME_BITS + F::PAGE_SHIFT)) - START;
        if self.memory > most {
            return Err(MachineError::TooHigh { asked: self.memory, most, format: F::NAME });
        }
        Ok(())
    }
}

/// Why a machine was not built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MachineError {
    /// Too little memory for the tables' own needs.
    TooSmall {
        /// Bytes asked for.
        asked: u64,
        /// Bytes that must be there.
        least: u64,
    },
    /// More memory than the host has.
    TooLarge {
        /// Bytes asked for.
        asked: u64,
        /// Bytes of the host.
        host: u64,
    },
    /// More memory than the format's entries can name.
    TooHigh {
        /// Bytes asked for.
        asked: u64,
        /// The most that there may be.
        most: u64,
        /// The format's name.
        format: &'static str,
    },
    /// The host refused the memory, though it has that much.
    Refused {
        /// Bytes asked for.
        asked: u64,
    },
    /// A number of harts that cannot be.
    Harts {
        /// Harts asked for.
        asked: usize,
        /// The most there may be.
        most: usize,
    },
    /// A number of address-space identifiers that cannot be.
    Ids {
        /// Identifiers asked for.
        asked: usize,
        /// The most there may be.
        most: usize,
    },
}

/// A size in words: MiB where it is at least one, else KiB.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 20 => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            MachineError::TooSmall { asked, least } => {
                write!(f, "{} of memory are too few: give at least {}", Size(asked), Size(least))
            }
            MachineError::TooLarge { asked, host } => {
                write!(
                    f,
                    "{} of memory are beyond the host's {}: ask for less",
                    Size(asked),
                    Size(host)
                )
            }
            MachineError::TooHigh { asked, most, format } => {
                write!(
                    f,
                    "{} of memory are beyond the {} that entries of {format} reach: ask for less, \
                     or take another format",
                    Size(asked),
                    Size(most)
                )
            }
            MachineError::Refused { asked } => {
                write!(f, "the host refused {} of memory: ask for less, or free some", Size(asked))
            }
            MachineError::Harts { asked, most } => {
                write!(f, "{asked} harts cannot be: give between 1 and {most}")
            }
            MachineError::Ids { asked, most } => {
                write!(f, "{asked} address-space identifiers cannot be: give between 1 and {most}")
            }
        }
    }
}

impl std::error::Error for MachineError {}

#[cfg(test)]
mod tests {
    use super::*;
    use vmspace::format::{Aarch64Granule64K, I386};

    #[test]
    fn refusals_name_the_thing_and_the_cure() {
        let refused = |config: Config| config.validate::<I386>().unwrap_err().to_string();
        let zero = refused(Config { harts: 0, ..Config::default() });
        assert_eq!(zero, "0 harts cannot be: give between 1 and 248");
        let many = refused(Config { harts: 100_000, ..Config::default() });
        assert_eq!(many, "100000 harts cannot be: give between 1 and 248");
        let small = refused(Config { memory: 4096, ..Config::default() });
        assert_eq!(small, "4 KiB of memory are too few: give at least 256 KiB");
        let ids = refused(Config { ids: 256, ..Config::default() });
        assert_eq!(ids, "256 address-space identifiers cannot be: give between 1 and 255");
        let high = refused(Config { memory: 4 << 30, ..Config::default() });
        assert_eq!(
            high,
            "4096 MiB of memory are beyond the 2048 MiB that entries of i386 reach: ask for less, or \
             take another format"
        );
        assert_eq!(Config::default().validate::<Aarch64Granule64K>(), Ok(()));
    }
}
