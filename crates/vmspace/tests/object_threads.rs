//! Threads that map, read, write, truncate, sync, fork and fill a file that is larger than memory,
//! all at once, lose nothing of each other's: each knows what its own pages hold.

mod host;
#[path = "model/linux.rs"]
mod linux;
#[path = "model/ops.rs"]
mod ops;

use host::{Host, be_cpu};
use ops::Random;
use std::thread;
use vmspace::format::{Format, Rights, Sv48, X86_64};
use vmspace::{Access, Map, MaySleep, Object, Space, Vm};

const FILE: u64 = 5;
const PAGE: u64 = 4096;
const RW: Rights = Rights::READ.union(Rights::WRITE);
const THREADS: u64 = 4;
/// Pages that a thread alone writes; then pages that nobody writes, more than there is memory; then
/// pages that come and go.
const OWN: u64 = 8;
const COLD: u64 = THREADS * OWN;
const TAIL: u64 = COLD + 300;
const END: u64 = TAIL + 16;
const FRAMES: u64 = 280;
const STEPS: usize = 400;
/// Where threads map what is private to them.
const PRIVATE: u64 = 1 << 30;

fn may_sleep() -> MaySleep {
    // SAFETY: called first on each of a test's threads, which hold nothing.
    unsafe { MaySleep::assume() }
}

struct Worker<'a, 'vm, F: Format> {
    space: &'a Space<'vm, Host<F>>,
    file: &'a Object<'vm, Host<F>>,
    ms: MaySleep,
    random: Random,
    first: u64,
    /// The whole file, shared; mapped where each thread unmaps and maps its own part.
    base: u64,
    own: [u8; OWN as usize],
}

impl<F: Format> Worker<'_, '_, F> {
    fn run(&mut self) {
        for step in 0..STEPS {
            let n = self.random.below(OWN);
            let (page, at) = (self.first + n, self.random.below(PAGE - 8));
            let (offset, address) = (page * PAGE + at, self.base + page * PAGE + at);
            match self.random.below(16) {
                0..3 => {
                    let value = self.random.next() as u8;
                    self.fill(n, value);
                    assert_eq!(
                        self.file.write(&mut self.ms, page * PAGE, &[value; 4096]),
                        Ok(4096)
                    );
                }
                3..6 => {
                    let value = self.random.next() as u8;
                    self.fill(n, value);
                    let start = self.base + page * PAGE;
                    assert_eq!(self.space.write(&mut self.ms, start, &[value; 4096]), 4096);
                }
                6 | 7 => {
                    let mut bytes = [0; 8];
                    assert_eq!(self.file.read(&mut self.ms, offset, &mut bytes), Ok(8));
                    assert_eq!(bytes, [self.own[n as usize]; 8], "read, step {step}");
                }
                8 | 9 => self.check(self.space, address, n),
                10 => self.file.sync(&mut self.ms, offset..offset + 2 * PAGE).unwrap(),
                11 => self.private(page, n),
                12 => {
                    let start = self.base + self.first * PAGE;
                    self.space.unmap(&mut self.ms, start, OWN * PAGE).unwrap();
                    let map = Map::anonymous(OWN * PAGE, RW).at(start).shared();
                    let offset = self.first * PAGE;
                    self.space.map_object(&mut self.ms, map, self.file, offset).unwrap();
                }
                13 if step % 8 == 0 => {
                    let child = self.space.fork(&mut self.ms).unwrap();
                    self.check(&child, address, n);
                    child.exit(&mut self.ms);
                }
                14 => self.cold(),
                _ => self.tail(),
            }
        }
    }

    fn fill(&mut self, n: u64, value: u8) {
        self.own[n as usize] = value;
    }

    fn check(&mut self, space: &Space<'_, Host<F>>, address: u64, n: u64) {
        let mut bytes = [0; 8];
        assert_eq!(space.read(&mut self.ms, address, &mut bytes), 8);
        assert_eq!(bytes, [self.own[n as usize]; 8], "page {n} of {}", self.first);
    }

    /// A private copy changes nothing.
    fn private(&mut self, page: u64, n: u64) {
        // Not anywhere: another thread's part may be unmapped just now.
        let map = Map::anonymous(PAGE, RW).at(PRIVATE + self.first * PAGE);
        let at = self.space.map_object(&mut self.ms, map, self.file, page * PAGE).unwrap();
        self.check(self.space, at, n);
        assert_eq!(self.space.write(&mut self.ms, at + 1, b"private"), 7);
        self.space.unmap(&mut self.ms, at, PAGE).unwrap();
    }

    /// Takes memory: pages have to be given up.
    fn cold(&mut self) {
        let from = COLD + self.random.below(TAIL - COLD - 40);
        for page in from..from + 40 {
            let mut byte = [0];
            assert_eq!(self.file.read(&mut self.ms, page * PAGE + 7, &mut byte), Ok(1));
            assert_eq!(byte, [page as u8]);
        }
    }

    /// What comes and goes: either there and whole, or not there.
    fn tail(&mut self) {
        let page = TAIL + self.random.below(END - TAIL);
        match self.random.below(4) {
            0 => self.file.set_len(&mut self.ms, page * PAGE).unwrap(),
            1 => self.file.set_len(&mut self.ms, END * PAGE).unwrap(),
            2 => drop(self.space.write(&mut self.ms, self.base + page * PAGE, b"tail")),
            _ => drop(self.space.fault(&mut self.ms, self.base + page * PAGE, Access::Read)),
        }
    }
}

fn fight<F: Format>(seed: u64) {
    let host = Host::<F>::new(FRAMES, THREADS as usize);
    let bytes = (0..END * PAGE).map(|at| (at / PAGE) as u8).collect();
    host.files.bytes.lock().unwrap().insert(FILE, bytes);
    let vm: Vm<Host<F>> = host.manager();
    let free = vm.free_frames();
    let mut ms = may_sleep();
    let file = vm.object(&mut ms, END * PAGE, FILE).unwrap();
    let space = Space::new(&vm, &mut ms).unwrap();
    let map = Map::anonymous(END * PAGE, RW).shared();
    let base = space.map_object(&mut ms, map, &file, 0).unwrap();
    let owned: Vec<_> = thread::scope(|threads| {
        let worker = |number: u64| {
            let (space, file) = (&space, &file);
            move || {
                be_cpu(number as usize);
                let first = number * OWN;
                let own = core::array::from_fn(|n| (first as usize + n) as u8);
                let random = Random(seed << 8 | number);
                let mut worker = Worker { space, file, ms: may_sleep(), random, first, base, own };
                worker.run();
                worker.own
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|number| threads.spawn(worker(number))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    vm.check(&mut ms).unwrap();
    assert!(vm.statistics().pages_stolen > 0, "memory was never short");
    drop(file);
    space.exit(&mut ms);
    let stored = vm.platform().files.of(FILE);
    for (page, value) in owned.into_iter().enumerate() {
        let bytes = &stored[page * PAGE as usize..][..PAGE as usize];
        assert!(bytes.iter().all(|byte| *byte == value), "page {page} was not stored");
    }
    vm.synchronize(&mut ms);
    assert_eq!((vm.free_frames(), vm.slab_in_use()), (free, 0), "something leaked");
}

#[test]
fn threads_lose_what_they_wrote_to_a_file() {
    for seed in 0..4 {
        fight::<Sv48>(seed);
        fight::<X86_64>(seed);
    }
}
