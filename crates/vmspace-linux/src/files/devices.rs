//! Devices: what /dev holds beside /dev/shm.

use super::stat::{S_IFBLK, S_IFCHR, S_IFLNK, Stat};
use crate::Errno;
use crate::swap::{self, Swap};

/// The number under which /dev's files are known (`st_dev`).
pub(crate) const DEVICE: u64 = 0xfff0_0010;

/// A device that needs nothing of the host's but randomness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Device {
    Null,
    Zero,
    Full,
    Random,
    Urandom,
}

/// Their names and numbers, major and minor.
const DEVICES: [(&str, Device, u64, u64); 5] = [
    ("null", Device::Null, 1, 3),
    ("zero", Device::Zero, 1, 5),
    ("full", Device::Full, 1, 7),
    ("random", Device::Random, 1, 8),
    ("urandom", Device::Urandom, 1, 9),
];

/// Links to what a process has open.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// What stands in /dev.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InDev {
    Device(Device),
    Link(&'static str),
    /// A swap device, by its number.
    Swap(u64),
}

/// Linux's numbers for block devices of nobody's, and the group that may use them.
const LOCAL_BLOCK: u64 = 240;
const DISK: u32 = 6;

/// What /dev holds under this name.
pub(crate) fn find(name: &[u8], swap: &Swap) -> Option<InDev> {
    let device = DEVICES.iter().find(|row| row.0.as_bytes() == name);
    let link = || LINKS.iter().find(|row| row.0.as_bytes() == name);
    let swap = || swap.numbers().find(|number| file_name(*number).as_bytes() == name);
    device
        .map(|row| InDev::Device(row.1))
        .or_else(|| link().map(|row| InDev::Link(row.1)))
        .or_else(|| swap().map(InDev::Swap))
}

/// The name of a swap device in /dev.
fn file_name(number: u64) -> String {
    swap::name(number).trim_start_matches("/dev/").to_string()
}

/// All names with their modes.
pub(crate) fn list(swap: &Swap) -> Vec<(String, u32)> {
    let devices = DEVICES.iter().map(|row| (row.0.to_string(), S_IFCHR));
    let links = LINKS.iter().map(|row| (row.0.to_string(), S_IFLNK));
    let swaps = swap.numbers().map(|number| (file_name(number), S_IFBLK));
    devices.chain(links).chain(swaps).collect()
}

impl InDev {
    pub fn stat(self) -> Stat {
        match self {
            InDev::Device(device) => device.stat(),
            InDev::Link(target) => {
                let size = target.len() as u64;
                Stat { size, ..Stat::own(DEVICE, 2, S_IFLNK | 0o777) }
            }
            InDev::Swap(number) => {
                let special = LOCAL_BLOCK << 8 | (number - 1);
                let stat = Stat::own(DEVICE, 32 + number, S_IFBLK | 0o660);
                Stat { special, user: 0, group: DISK, ..stat }
            }
        }
    }
}

impl Device {
    fn row(self) -> &'static (&'static str, Device, u64, u64) {
        DEVICES.iter().find(|row| row.1 == self).unwrap_or(&DEVICES[0])
    }

    pub fn path(self) -> Vec<u8> {
        format!("/dev/{}", self.row().0).into_bytes()
    }

    pub fn stat(self) -> Stat {
        let (_, _, major, minor) = *self.row();
        let special = major << 8 | minor;
        Stat { special, user: 0, group: 0, ..Stat::own(DEVICE, 16 + minor, S_IFCHR | 0o666) }
    }

    /// Fills the bytes; how many were filled. `random` gives random ones.
    pub fn read(
        self,
        into: &mut [u8],
        random: impl FnOnce(&mut [u8]) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        match self {
            Device::Null => return Ok(0),
            Device::Zero | Device::Full => into.fill(0),
            Device::Random | Device::Urandom => random(into)?,
        }
        Ok(into.len())
    }

    /// Takes bytes; how many.
    pub fn write(self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Device::Full => Err(Errno::ENOSPC),
            _ => Ok(bytes.len()),
        }
    }
}
