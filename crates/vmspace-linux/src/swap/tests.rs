//! Devices that die, under a manager; pages for the tests of each device.

use super::*;
use std::sync::atomic::AtomicU64;
use vmspace::format::{Aarch64Granule64K, Rights, Sv48};
use vmspace::{Advice, Map, Space, Vm};
use vmspace_machine::{Config, MachinePlatform};

#[test]
fn a_device_without_a_page_would_be_taken() {
    let (mut swap, program) = (Swap::default(), Path::new("/nonexistent"));
    for area in [SwapArea::Compressed(65_535), SwapArea::File("unused".into(), 0)] {
        let error = swap.add::<Aarch64Granule64K>(&area, program).expect_err("no page");
        assert_eq!(error.to_string(), "holds no page of 65536 bytes (give at least 64K)");
    }
    assert!(!Path::new("unused").exists());
    let area = SwapArea::Compressed(200_000);
    swap.add::<Aarch64Granule64K>(&area, program).expect("it holds three");
    let report = swap.report();
    assert_eq!((report.len(), report[0].slots, &*report[0].name), (1, 3, "/dev/swap0"));
}

pub const PAGE: usize = 4096;

/// Bytes that no compression makes smaller, others for each number.
pub fn noise(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}

/// Bytes that compression makes smaller.
pub fn text(length: usize) -> Vec<u8> {
    b"What is read is what was written. ".iter().copied().cycle().take(length).collect()
}

/// Serves so many requests, and no more.
#[derive(Debug)]
struct Mortal {
    device: Compressed,
    left: AtomicU64,
}

impl Mortal {
    fn serve(&self) -> Result<(), Broken> {
        let next = |left: u64| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(_) => Err(Broken::Host(rustix::io::Errno::IO.into())),
        }
    }
}

impl Device for Mortal {
    fn read(&self, slot: u64, page: &mut [u8]) -> Result<(), Broken> {
        self.serve()?;
        self.device.read(slot, page)
    }

    fn write(&self, slot: u64, page: &[u8]) -> Result<(), Broken> {
        self.serve()?;
        self.device.write(slot, page)
    }

    fn discard(&self, slot: u64) {
        self.device.discard(slot);
    }

    fn usage(&self) -> (u64, u64) {
        self.device.usage()
    }
}

/// Pages that are swapped.
const PAGES: u64 = 24;

/// Swaps pages to a device that serves so many requests, and reads them back: how many were lost.
fn lost_after(served: u64) -> u64 {
    let device = Mortal { device: Compressed::new(), left: AtomicU64::new(served) };
    let told = [const { AtomicBool::new(true) }; 2];
    let area = SwapArea::Compressed(0);
    let opened = Opened { area, slots: 2 * PAGES, device: Box::new(device), told };
    let swap = Swap { devices: vec![Arc::new(opened)], ..Swap::default() };
    let config = Config { memory: 2 << 20, ..Config::default() };
    let platform = MachinePlatform::<Sv48>::new(config).expect("a machine");
    let frames = platform.frames();
    let vm = Vm::new(platform.with_swap(swap.devices()), frames).expect("a manager");
    vm.platform().bind_other(0);
    // SAFETY: the test's own thread, which is no hart and holds nothing of the library.
    let mut ms = unsafe { MaySleep::assume() };
    vm.swap_on(&mut ms, 1, 2 * PAGES, 0).expect("a device");
    let space = Space::new(&vm, &mut ms).expect("a space");
    let length = PAGES * PAGE as u64;
    let at = space.map(&mut ms, Map::anonymous(length, Rights::READ | Rights::WRITE));
    let at = at.expect("a mapping");
    for page in 0..PAGES {
        assert_eq!(space.write(&mut ms, at + page * PAGE as u64, &noise(page, PAGE)), PAGE);
    }
    space.advise(&mut ms, at, length, Advice::PageOut).expect("advice");
    let swapped = space.swapped();
    assert_eq!(swapped, PAGES.min(served), "what cannot be written stays in memory");
    let mut lost = 0;
    for page in 0..PAGES {
        let mut bytes = vec![0; PAGE];
        match space.read(&mut ms, at + page * PAGE as u64, &mut bytes) {
            PAGE => assert!(bytes == noise(page, PAGE), "page {page} after {served} requests"),
            read => {
                assert_eq!(read, 0, "a part of page {page}");
                lost += 1;
            }
        }
    }
    assert!(lost <= swapped, "{lost} lost, {swapped} swapped");
    space.exit(&mut ms);
    vm.reap(&mut ms);
    assert_eq!(
        (
            vm.swaps().map(|swap| swap.used).sum::<u64>(),
            swap.get(1).map_or(9, |o| o.device.usage().0)
        ),
        (0, 0)
    );
    lost
}

#[test]
fn a_device_that_dies_would_take_other_pages_with_it() {
    for served in 0..=2 * PAGES {
        let lost = lost_after(served);
        match served {
            0..=PAGES => assert_eq!(lost, served, "all that was written, and only that"),
            _ => assert!(lost <= 2 * PAGES - served, "{lost} lost of those not read yet"),
        }
    }
}
