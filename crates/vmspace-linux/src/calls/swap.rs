//! Calls that turn swap devices on and off: swapon(2), swapoff(2).
//!
//! Guarantee: errors are Linux's. The devices are those that the run was given; whoever runs here may
//! do what on Linux asks for CAP_SYS_ADMIN.

use vmspace::Error;
use vmspace::format::Format;

use super::memory::errno;
use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::devices::InDev;
use crate::files::node::Node;
use crate::files::stat::S_IFDIR;

/// The relative directory of swapon(2) is the process's own.
const AT_FDCWD: u64 = -100i64 as u64;

const SWAP_FLAG_PRIO_MASK: u64 = 0x7fff;
const SWAP_FLAG_PREFER: u64 = 0x8000;
/// SWAP_FLAG_DISCARD, its ONCE and its PAGES: what was discarded is forgotten here at once.
const SWAP_FLAGS_DISCARD: u64 = 0x7_0000;

impl<F: Format> Call<'_, '_, F> {
    /// The number of the device at a path of the guest's.
    fn swap_device(&mut self, path: u64) -> Result<u64, Stop> {
        let path = self.get_string(path)?;
        match self.walk(AT_FDCWD, &path, true)?.node.ok_or(Errno::ENOENT)? {
            Node::InDev(InDev::Swap(number)) => Ok(number),
            node if node.is(S_IFDIR) => Err(Errno::EISDIR.into()),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    pub(super) fn swapon(&mut self) -> Outcome {
        let [path, flags, ..] = self.args;
        // An int.
        let flags = flags & u64::from(u32::MAX);
        if flags & !(SWAP_FLAG_PRIO_MASK | SWAP_FLAG_PREFER | SWAP_FLAGS_DISCARD) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let number = self.swap_device(path)?;
        let preferred = flags & SWAP_FLAG_PREFER != 0;
        let priority = preferred.then_some((flags & SWAP_FLAG_PRIO_MASK) as i32);
        self.kernel.swap_on(self.ms, number, priority).map_err(errno)?;
        Ok(0)
    }

    pub(super) fn swapoff(&mut self) -> Outcome {
        let number = self.swap_device(self.args[0])?;
        self.kernel.swap_off(self.ms, self.task, number).map_err(|error| match error {
            // Somebody else is turning it off.
            Error::InUse => Errno::EINVAL,
            error => errno(error),
        })?;
        Ok(0)
    }
}
