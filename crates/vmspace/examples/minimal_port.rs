//! The least that a port needs: a `Platform`, and a space that maps, faults, forks and exits.
//!
//! Frames are memory of this process, the one CPU has a TLB of one entry, and user code is a
//! function that loads and stores through it. Run: `cargo run -p vmspace --example minimal_port`.

use std::sync::Mutex;
use vmspace::format::{Geometry, Rights, X86_64};
use vmspace::{
    Access, Batch, CpuSet, Frame, Map, MaySleep, Native, NoPager, NoSwap, Platform, Space, SpaceId,
    Vm, sync::AtomicU32,
};

const FRAMES: usize = 1024;
const PAGE: usize = X86_64::PAGE_SIZE as usize;

#[repr(C, align(4096))]
struct Memory([u8; FRAMES * PAGE]);

/// What the CPU remembers of the last translation.
struct Tlb {
    space: SpaceId,
    page: u64,
    frame: Frame,
    write: bool,
}

struct Port {
    memory: *mut Memory,
    tlb: Mutex<Option<Tlb>>,
}

// SAFETY: the memory is this port's own, and the library reaches what is shared by atomics.
unsafe impl Sync for Port {}

// SAFETY: `frame_ptr` stays inside one aligned block that lives as long as the port; `shootdown`
// has emptied the only TLB when it returns.
unsafe impl Platform for Port {
    type Format = X86_64;
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
        self.memory.cast::<u8>().wrapping_add(frame.0 as usize * PAGE)
    }
    fn zero(&self, frame: Frame) {
        // SAFETY: the library owns the frame alone.
        unsafe { self.frame_ptr(frame).write_bytes(0, PAGE) }
    }
    fn shootdown(&self, _: &CpuSet, _: SpaceId, _: &Batch<'_>) {
        *self.tlb.lock().unwrap() = None;
    }
    fn flush_local(&self, _: SpaceId, _: u64) {
        *self.tlb.lock().unwrap() = None;
    }
    // One CPU that never runs two tasks at once never waits for another.
    fn park(&self, _: &AtomicU32, _: u32) {}
    fn unpark_all(&self, _: &AtomicU32) {}
    fn relax(&self) {
        std::hint::spin_loop();
    }
    fn memory_low(&self) {}
}

/// What the processor does: translate, fault into the library when that fails, try again.
fn user_byte(
    vm: &Vm<Port>,
    space: &Space<'_, Port>,
    ms: &mut MaySleep,
    at: u64,
    store: Option<u8>,
) -> u8 {
    let (page, access) =
        (at / PAGE as u64, if store.is_some() { Access::Write } else { Access::Read });
    loop {
        if let Some(tlb) = &*vm.platform().tlb.lock().unwrap()
            && (tlb.space, tlb.page) == (space.id(), page)
            && (tlb.write || store.is_none())
        {
            let byte = vm.platform().frame_ptr(tlb.frame).wrapping_add(at as usize % PAGE);
            // SAFETY: the TLB names a frame that is mapped until the next shootdown.
            unsafe {
                if let Some(value) = store {
                    byte.write_volatile(value);
                }
                return byte.read_volatile();
            }
        }
        let found = space.translate(&vm.walk(ms), at);
        match found {
            Some(t) if access.allowed_by(t.rights) => {
                let write = t.rights.contains(Rights::WRITE);
                let tlb = Tlb { space: space.id(), page, frame: t.frame, write };
                *vm.platform().tlb.lock().unwrap() = Some(tlb);
            }
            _ => space.fault(ms, at, access).expect("this program touches only what it mapped"),
        }
    }
}

fn main() -> Result<(), vmspace::Error> {
    // SAFETY: a block of zeros is a valid `Memory`; it goes with the process.
    let memory = unsafe { std::alloc::alloc_zeroed(std::alloc::Layout::new::<Memory>()) };
    let port = Port { memory: memory.cast(), tlb: Mutex::new(None) };
    let vm = Vm::new(port, 0..FRAMES as u64)?;
    // SAFETY: this thread may sleep, and holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let free = vm.free_frames();

    let parent = Space::new(&vm, &mut ms)?;
    parent.enter(0);
    let at = parent.map(&mut ms, Map::anonymous(1 << 20, Rights::READ | Rights::WRITE))?;
    user_byte(&vm, &parent, &mut ms, at, Some(1));

    let child = parent.fork(&mut ms)?;
    child.enter(0);
    user_byte(&vm, &child, &mut ms, at, Some(2));
    println!(
        "parent reads {}, child reads {}",
        user_byte(&vm, &parent, &mut ms, at, None),
        user_byte(&vm, &child, &mut ms, at, None)
    );

    child.exit(&mut ms);
    parent.exit(&mut ms);
    vm.synchronize(&mut ms);
    println!("{:?}\nframes leaked: {}", vm.statistics(), free - vm.free_frames());
    Ok(())
}
