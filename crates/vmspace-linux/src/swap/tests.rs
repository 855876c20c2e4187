//! Devices that die, under a manager; pages for the tests of each device.

use super::*;
use std::sync::atomic::AtomicU64;
use vmspace::format::{Aarch64Granule64K, Rights, Sv48};
use vmspace::{Advice, Map, Space, Vm};
use vmspace_machine::{Config, MachinePlatform};

#[test]
fn a_device_without_a_page_would_be_taken() {
    let open =
        |areas: &[SwapArea]| Swap::open::<Aarch64Granule64K>(areas, Path::new("/nonexistent"));
    let three = SwapArea::Compressed(200_000);
    for area in [SwapArea::Compressed(65_535), SwapArea::File("unused".into(), 0)] {
        let (nth, error) = open(&[three.clone(), area]).expect_err("no page");
        let text = "holds no page of 65536 bytes (give at least 64K)";
        assert_eq!((nth, &*error.to_string()), (1, text));
    }
    assert!(!Path::new("unused").exists());
    let report = open(&[three]).expect("it holds three").report();
    assert_eq!((report.len(), report[0].slots, &*report[0].name), (1, 3, "/dev/swap0"));
}

#[test]
fn compressed_pages_would_take_more_than_the_hosts_memory() {
    let (host, program) = (vmspace_machine::memory::host_memory(), Path::new("/nonexistent"));
    let two = |last| [SwapArea::Compressed(host - PAGE as u64), SwapArea::Compressed(last)];
    Swap::open::<Sv48>(&two(PAGE as u64), program).expect("it has as much");
    let (nth, error) = Swap::open::<Sv48>(&two(2 * PAGE as u64), program).expect_err("too much");
    assert_eq!(nth, 1);
    assert!(error.to_string().starts_with("the host has "), "{error}");
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

/// A machine that swaps to a device alone.
type Machine = Vm<MachinePlatform<Sv48>>;

/// Runs `test` on a machine with that device and so many slots. Nothing may be left on it.
fn beside(device: impl Device + 'static, slots: u64, test: impl FnOnce(&Machine)) {
    let told = [const { AtomicBool::new(true) }; 2];
    let area = SwapArea::Compressed(0);
    let opened = Opened { area, slots, device: Box::new(device), told };
    let swap = Swap { devices: vec![Arc::new(opened)], ..Swap::default() };
    let config = Config { memory: 2 << 20, ..Config::default() };
    let platform = MachinePlatform::<Sv48>::new(config).expect("a machine");
    let frames = platform.frames();
    let vm = Vm::new(platform.with_swap(swap.devices()), frames).expect("a manager");
    vm.platform().bind_other(0);
    // SAFETY: the test's own thread, which is no hart and holds nothing of the library.
    let mut ms = unsafe { MaySleep::assume() };
    vm.swap_on(&mut ms, 1, slots, 0).expect("a device");
    test(&vm);
    vm.reap(&mut ms);
    let used: u64 = vm.swaps().map(|swap| swap.used).sum();
    let kept = swap.get(1).map(|opened| opened.device.usage().0);
    assert_eq!((used, kept), (0, Some(0)));
}

/// Swaps the pages of a new space, and reads them back: how many were lost. They differ between
/// users.
fn lost(vm: &Machine, user: u64) -> u64 {
    // SAFETY: the test's own thread, which is no hart and holds nothing of the library.
    let mut ms = unsafe { MaySleep::assume() };
    let space = Space::new(vm, &mut ms).expect("a space");
    let length = PAGES * PAGE as u64;
    let at = space.map(&mut ms, Map::anonymous(length, Rights::READ | Rights::WRITE));
    let at = at.expect("a mapping");
    let held = |page: u64| noise(user << 32 | page, PAGE);
    for page in 0..PAGES {
        assert_eq!(space.write(&mut ms, at + page * PAGE as u64, &held(page)), PAGE);
    }
    space.advise(&mut ms, at, length, Advice::PageOut).expect("advice");
    let mut lost = 0;
    for page in 0..PAGES {
        let mut bytes = vec![0; PAGE];
        match space.read(&mut ms, at + page * PAGE as u64, &mut bytes) {
            PAGE => assert!(bytes == held(page), "page {page} of user {user}"),
            read => {
                assert_eq!(read, 0, "a part of page {page} of user {user}");
                lost += 1;
            }
        }
    }
    space.exit(&mut ms);
    lost
}

#[test]
fn a_device_that_dies_would_take_other_pages_with_it() {
    for served in 0..=2 * PAGES {
        let device = Mortal { device: Compressed::new(), left: AtomicU64::new(served) };
        beside(device, 2 * PAGES, |vm| match (served, lost(vm, 0)) {
            (0..=PAGES, lost) => assert_eq!(lost, served, "all that was written, and only that"),
            (_, lost) => assert!(lost <= 2 * PAGES - served, "{lost} lost of those not read yet"),
        });
    }
}

/// As above, while each of several threads writes and reads: whose request was the last is open.
#[test]
fn a_device_that_dies_between_threads_would_give_one_the_pages_of_another() {
    const USERS: u64 = 4;
    for served in (0..=2 * USERS * PAGES).step_by(7) {
        let device = Mortal { device: Compressed::new(), left: AtomicU64::new(served) };
        beside(device, 2 * USERS * PAGES, |vm| {
            let lost: u64 = std::thread::scope(|scope| {
                let user = |user| {
                    scope.spawn(move || {
                        vm.platform().bind_other(user as usize);
                        lost(vm, user)
                    })
                };
                let users: Vec<_> = (1..=USERS).map(user).collect();
                users.into_iter().map(|user| user.join().expect("a user")).sum()
            });
            assert!(lost <= served, "{lost} lost after {served} requests: more than were written");
        });
    }
}

/// What the host says of a disk that has filled up: pages that find no room stay in memory.
#[test]
fn a_disk_that_fills_up_would_lose_pages_or_the_device() {
    let full = std::fs::File::options().read(true).write(true).open("/dev/full");
    let file = SwapFile::of(full.expect("Linux has it"));
    let error = file.write(0, &noise(0, PAGE)).expect_err("it is full");
    assert_eq!(error.to_string(), "no space left on device");
    assert_eq!(error.refusal(), PagerError::Full);
    beside(file, 2 * PAGES, |vm| {
        assert_eq!((lost(vm, 0), lost(vm, 1)), (0, 0));
        assert_eq!(vm.statistics().pages_swapped_out, 0);
    });
}
