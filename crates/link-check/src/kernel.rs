//! The platform of one CPU that never started, and what its kernel asks of the library.

use core::cell::UnsafeCell;
use core::convert::Infallible;
use core::hint::{black_box, spin_loop};
use core::panic::PanicInfo;
use vmspace::format::{Geometry, Rights};
use vmspace::sync::AtomicU32;
use vmspace::{
    Access, Advice, Batch, CpuSet, Error, Frame, Map, MaySleep, Native, NoPager, NoSwap, Platform,
    Space, SpaceId, Vm,
};

#[cfg(target_arch = "x86_64")]
type Tables = vmspace::format::X86_64;
#[cfg(target_arch = "aarch64")]
type Tables = vmspace::format::Aarch64Granule64K;
#[cfg(target_arch = "riscv64")]
type Tables = vmspace::format::Sv48;

const FRAMES: usize = 256;
const PAGE: usize = Tables::PAGE_SIZE as usize;

/// Aligned for the largest page of any format.
#[repr(C, align(65536))]
struct Memory(UnsafeCell<[u8; FRAMES * PAGE]>);

// SAFETY: only the library reaches the memory, which keeps to its own rules.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; FRAMES * PAGE]));

struct Kernel;

// SAFETY: the frames are one aligned static block; the only CPU has nothing cached.
unsafe impl Platform for Kernel {
    type Format = Tables;
    type Backend = Native;
    type Pager = NoPager;
    type Swap = NoSwap;

    fn backend(&self) -> &Native {
        &Native
    }

    fn pager(&self) -> &NoPager {
        &NoPager
    }

    fn swap(&self) -> &NoSwap {
        &NoSwap
    }

    fn cpus(&self) -> usize {
        1
    }

    fn cpu(&self) -> usize {
        0
    }

    fn frame_ptr(&self, frame: Frame) -> *mut u8 {
        MEMORY.0.get().cast::<u8>().wrapping_add(frame.0 as usize * PAGE)
    }

    fn zero(&self, frame: Frame) {
        // SAFETY: the library owns the frame alone.
        unsafe { self.frame_ptr(frame).write_bytes(0, PAGE) }
    }

    fn shootdown(&self, _: &CpuSet, _: SpaceId, _: &Batch<'_>) {}

    fn flush_local(&self, _: SpaceId, _: u64) {}

    fn park(&self, _: &AtomicU32, _: u32) {}

    fn unpark_all(&self, _: &AtomicU32) {}

    fn relax(&self) {
        spin_loop();
    }

    fn memory_low(&self) {}
}

/// Map, fault, fork, don't-need, protect, unmap, exit.
fn use_all() -> Result<Infallible, Error> {
    let vm = Vm::new(Kernel, 0..FRAMES as u64)?;
    // SAFETY: the only task there is, which holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let length = 16 * Tables::PAGE_SIZE;
    loop {
        let space = Space::new(&vm, &mut ms)?;
        let at = space.map(&mut ms, Map::anonymous(length, Rights::READ | Rights::WRITE))?;
        let _ = black_box(space.fault(&mut ms, at, Access::Write));
        let child = space.fork(&mut ms)?;
        child.advise(&mut ms, at, length, Advice::DontNeed)?;
        child.exit(&mut ms);
        space.protect(&mut ms, at, length, Rights::READ)?;
        space.unmap(&mut ms, at, length)?;
        space.exit(&mut ms);
    }
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let _ = black_box(use_all());
    halt()
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    halt()
}

fn halt() -> ! {
    loop {
        spin_loop();
    }
}
