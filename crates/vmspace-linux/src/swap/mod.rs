//! Swap devices: what pages are swapped to.
//!
//! Guarantee: everything that can be wrong with a device is found by [`Swap::open`], before a program
//! runs. What is read from a slot is what was last written to it, or an error; what goes wrong
//! later is told once, in a line on standard error. Devices have numbers from 1, in the order in
//! which they were added; the first is /dev/swap0.

mod compressed;
mod file;
mod slots;
mod turn;

pub use self::compressed::Compression;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use vmspace::format::{Format, Geometry};
use vmspace::{MaySleep, Page, PagerError, SwapDevices};
use vmspace_machine::memory::host_memory;

use self::compressed::Compressed;
use self::file::{Made, SwapFile};
use crate::error::in_words;
use crate::trace;

/// A place for pages, as it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SwapArea {
    /// The host's memory, compressed: bytes of pages before compression.
    Compressed(u64),
    /// A file of the host's, of so many bytes.
    File(PathBuf, u64),
}

/// The devices of a run.
#[derive(Clone, Debug, Default)]
pub struct Swap {
    devices: Vec<Arc<Opened>>,
    /// Held by who turns one on.
    turning: Arc<Mutex<()>>,
    leaving: Arc<turn::Leaving>,
}

/// What pages are stored in, a page by its slot.
trait Device: Send + Sync + fmt::Debug {
    fn read(&self, slot: u64, page: &mut [u8]) -> Result<(), Broken>;
    fn write(&self, slot: u64, page: &[u8]) -> Result<(), Broken>;
    fn discard(&self, slot: u64);
    /// How many slots hold a page, and how many did at the most.
    fn usage(&self) -> (u64, u64);
    /// What compression has done, where there is any.
    fn compression(&self) -> Option<Compression> {
        None
    }
}

/// Why a device could not do what it was asked for.
#[derive(Debug)]
enum Broken {
    /// Nothing was written to the slot.
    Never,
    /// The file has become shorter.
    Short,
    /// What is there is not what was written.
    Changed,
    /// The host says so.
    Host(io::Error),
}

/// A device in use.
#[derive(Debug)]
struct Opened {
    area: SwapArea,
    slots: u64,
    device: Box<dyn Device>,
    /// That reading, and writing, has failed.
    told: [AtomicBool; 2],
}

/// What a device was used for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SwapReport {
    /// Its name in the machine.
    pub name: String,
    /// What was asked for.
    pub area: SwapArea,
    /// Pages that it takes.
    pub slots: u64,
    /// Pages on it now.
    pub used: u64,
    /// Pages on it at the most.
    pub peak: u64,
    /// What compression has done, where there is any.
    pub compression: Option<Compression>,
}

impl Swap {
    /// Opens devices for pages that entries of format `F` map. A file must not be `program`; one that
    /// was made has no name when this returns.
    ///
    /// # Errors
    /// Which device is refused, from 0, and what is wrong with it. Nothing is left behind.
    pub fn open<'a, F: Format>(
        areas: impl IntoIterator<Item = &'a SwapArea>,
        program: &Path,
    ) -> Result<Swap, (usize, SwapError)> {
        let mut swap = Swap::default();
        // Until all are open: a file that is given twice is known by its name.
        let mut names = Vec::new();
        for (nth, area) in areas.into_iter().enumerate() {
            names.push(swap.add::<F>(area, program).map_err(|error| (nth, error))?);
        }
        Ok(swap)
    }

    /// Adds a device; the name of its file, if that was made.
    fn add<F: Format>(
        &mut self,
        area: &SwapArea,
        program: &Path,
    ) -> Result<Option<Made>, SwapError> {
        let (SwapArea::Compressed(bytes) | SwapArea::File(_, bytes)) = *area;
        let (page, most) = (F::PAGE_SIZE, F::SWAP.devices());
        let slots = bytes / page;
        if slots == 0 {
            return Err(SwapError::new(What::TooSmall(page)));
        }
        if slots > F::SWAP.slots() {
            return Err(SwapError::new(What::TooLarge(F::NAME, F::SWAP.slots() * page)));
        }
        if self.devices.len() >= most.into() {
            return Err(SwapError::new(What::TooMany(F::NAME, most)));
        }
        let (device, made): (Box<dyn Device>, _) = match area {
            SwapArea::Compressed(_) if bytes > host_memory().saturating_sub(self.compressed()) => {
                return Err(SwapError::new(What::Host(host_memory())));
            }
            SwapArea::Compressed(_) => (Box::new(Compressed::new()), None),
            SwapArea::File(path, _) => {
                let (file, made) = SwapFile::open(path, slots * page, program)?;
                (Box::new(file), made)
            }
        };
        let told = [const { AtomicBool::new(false) }; 2];
        self.devices.push(Arc::new(Opened { area: area.clone(), slots, device, told }));
        Ok(made)
    }

    /// Bytes of pages that go to the host's memory, at the most.
    fn compressed(&self) -> u64 {
        let bytes = self.devices.iter().map(|opened| match opened.area {
            SwapArea::Compressed(bytes) => bytes,
            SwapArea::File(..) => 0,
        });
        bytes.sum()
    }

    /// What the machine stores pages through.
    pub fn devices(&self) -> Box<dyn SwapDevices + Send + Sync> {
        Box::new(self.clone())
    }

    /// The devices' numbers.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        1..=self.devices.len() as u64
    }

    /// How many pages a device takes, if there is one of that number.
    fn slots(&self, number: u64) -> Option<u64> {
        Some(self.get(number)?.slots)
    }

    /// What each was used for.
    pub(crate) fn report(&self) -> Vec<SwapReport> {
        let report = |(number, opened): (u64, &Arc<Opened>)| {
            let (used, peak) = opened.device.usage();
            let (area, slots) = (opened.area.clone(), opened.slots);
            let compression = opened.device.compression();
            SwapReport { name: name(number), area, slots, used, peak, compression }
        };
        (1..).zip(&self.devices).map(report).collect()
    }

    fn get(&self, number: u64) -> Option<&Opened> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.devices.get(index).map(|opened| &**opened)
    }
}

/// The path of a device in the machine, by its number.
pub(crate) fn name(number: u64) -> String {
    format!("/dev/swap{}", number - 1)
}

impl SwapDevices for Swap {
    fn read(
        &self,
        _: &mut MaySleep,
        number: u64,
        slot: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError> {
        let opened = self.get(number).ok_or(PagerError::Failed)?;
        let mut bytes = vec![0; page.len()];
        opened.device.read(slot, &mut bytes).map_err(|error| {
            let what = "a page cannot be read back";
            opened.tell(number, false, format_args!("{what}: {error} (its users get SIGBUS)"));
            PagerError::Failed
        })?;
        page.write(0, &bytes);
        Ok(())
    }

    fn write(
        &self,
        _: &mut MaySleep,
        number: u64,
        slot: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError> {
        let opened = self.get(number).ok_or(PagerError::Failed)?;
        let mut bytes = vec![0; page.len()];
        page.read(0, &mut bytes);
        opened.device.write(slot, &bytes).map_err(|error| {
            let what = "a page cannot be written";
            opened.tell(number, true, format_args!("{what}: {error} (it stays in memory)"));
            error.refusal()
        })
    }

    fn discard(&self, number: u64, slot: u64) {
        if let Some(opened) = self.get(number) {
            opened.device.discard(slot);
        }
    }
}

impl Opened {
    /// A line about the first failure to read, or to write.
    fn tell(&self, number: u64, write: bool, what: fmt::Arguments<'_>) {
        if self.told[usize::from(write)].swap(true, Ordering::Relaxed) {
            return;
        }
        let name = name(number);
        trace::line(match &self.area {
            SwapArea::Compressed(_) => format!("vmspace: {name}: {what}"),
            SwapArea::File(path, _) => format!("vmspace: {name}, file {path:?}: {what}"),
        });
    }
}

impl Broken {
    fn refusal(&self) -> PagerError {
        match self {
            Broken::Host(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PagerError::Full,
                _ => PagerError::Failed,
            },
            _ => PagerError::Failed,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Never => f.write_str("nothing was written there"),
            Broken::Short => f.write_str("somebody has made the file shorter"),
            Broken::Changed => f.write_str("somebody has changed what was written"),
            Broken::Host(error) => f.write_str(&in_words(error)),
        }
    }
}

/// What was being done when a device was refused, or what it is.
#[derive(Clone, Copy, Debug)]
enum What {
    Open,
    Lock,
    SetAside,
    /// Something else than a plain file.
    Kind(&'static str),
    Used,
    Holds,
    /// Pages have so many bytes.
    TooSmall(u64),
    /// The format's entries name so many bytes of a device, and so many devices.
    TooLarge(&'static str, u64),
    TooMany(&'static str, u8),
    /// The host has so many bytes of memory.
    Host(u64),
}

/// Why something cannot be a swap device. Its text says what is wrong and, in brackets, what helps;
/// whoever shows it puts the device's name in front.
#[derive(Debug)]
pub struct SwapError {
    what: What,
    error: Option<io::Error>,
}

impl SwapError {
    fn new(what: What) -> SwapError {
        SwapError { what, error: None }
    }

    fn host(what: What, error: io::Error) -> SwapError {
        SwapError { what, error: Some(error) }
    }
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.error.as_ref().map_or(io::ErrorKind::Other, io::Error::kind);
        let error = self.error.as_ref().map_or_else(String::new, in_words);
        match (self.what, kind) {
            (What::TooSmall(page), _) => {
                write!(f, "holds no page of {page} bytes (give at least {}K)", page >> 10)
            }
            (What::TooLarge(format, most), _) => {
                let most = most >> 30;
                write!(f, "is more than entries of {format} name (give at most {most}G)")
            }
            (What::TooMany(format, most), _) => {
                write!(f, "is one too many for entries of {format} (give at most {most})")
            }
            (What::Host(bytes), _) => {
                let mib = bytes >> 20;
                write!(f, "the host has {mib}M of memory for all that is compressed (give less)")
            }
            (What::Kind(kind), _) => write!(f, "is {kind} (name a plain file, or a new one)"),
            (What::Used, _) => {
                write!(f, "is used for swap already (give each device a file of its own)")
            }
            (What::Holds, _) => {
                write!(f, "holds something already (name a new file, or an empty one)")
            }
            (What::Lock, _) => write!(f, "cannot be locked: {error} (name a file on a local disk)"),
            (What::Open, io::ErrorKind::IsADirectory) => {
                write!(f, "is a directory (name a plain file, or a new one)")
            }
            (What::Open, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                write!(f, "cannot be made: {error} (make its directory first)")
            }
            (What::Open, _) => {
                write!(f, "cannot be opened: {error} (name a file that you may read and write)")
            }
            (What::SetAside, io::ErrorKind::Unsupported) => {
                write!(f, "lies where no room can be set aside (name a file on another disk)")
            }
            (What::SetAside, _) => {
                write!(f, "cannot be made so large: {error} (free some space, or give less)")
            }
        }
    }
}

impl std::error::Error for SwapError {}

#[cfg(test)]
mod tests;
