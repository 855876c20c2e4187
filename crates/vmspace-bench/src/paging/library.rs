//! The program over the library alone: no interpreter, but the accesses themselves, each by the entry
//! that the library made. Whoever faults steals, as the host's kernel has it in a memory cgroup.

use super::host::Device;
use super::program::{self, Progress};
use super::{BYTES, PAGE, ROUNDS, Run, SWAP};
use crate::world::{self, Machine};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use vmspace::format::{Rights, Sv48};
use vmspace::{Access, Map, MaySleep, Platform, Space};
use vmspace_linux::{Swap, SwapArea};

const AT: u64 = 1 << 40;
const RW: Rights = Rights::READ.union(Rights::WRITE);

/// Runs it with a quarter of its memory, the manager's own part of that included.
pub fn measure(device: Device) -> Result<Run, String> {
    let scratch = Scratch(super::scratch());
    let area = match device {
        Device::Zram => SwapArea::Compressed(SWAP),
        Device::File => SwapArea::File(scratch.0.clone(), SWAP),
    };
    let swap =
        Swap::open::<Sv48>([&area], Path::new("")).map_err(|(_, error)| error.to_string())?;
    let vm = Machine::new(BYTES / 4 / PAGE as u64, swap.devices(), true).manager();
    // SAFETY: this thread may sleep, and holds nothing.
    let ms = &mut unsafe { MaySleep::assume() };
    vm.swap_on(ms, 1, SWAP / PAGE as u64, 0).map_err(|error| error.to_string())?;
    let space = Space::new(&vm, ms).map_err(|error| error.to_string())?;
    space.enter(0);
    let map = Map { no_reserve: true, ..Map::anonymous(BYTES, RW).at(AT) };
    space.map(ms, map).map_err(|error| error.to_string())?;
    let page = |number: usize| {
        let at = AT + (number * PAGE) as u64;
        world::touch(&space, ms, at, Access::Write);
        let frame = space.translate(&vm.walk(ms), at).expect("it was touched").frame;
        // SAFETY: the frame's bytes, reached as atomics by everybody. This thread alone takes pages
        // away, when it touches another one.
        unsafe {
            std::slice::from_raw_parts(vm.platform().frame_ptr(frame).cast::<AtomicU64>(), PAGE / 8)
        }
    };
    let began = Instant::now();
    let progress = || {
        let counted = vm.statistics();
        Progress {
            nanoseconds: began.elapsed().as_nanos() as u64,
            out: counted.pages_swapped_out,
            back: counted.pages_swapped_in,
        }
    };
    let done = program::run(BYTES as usize / PAGE, ROUNDS, page, progress);
    done.map(Run::from).map_err(|page| format!("page {page} does not hold what was written to it"))
}

/// A file's path; the file goes.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
