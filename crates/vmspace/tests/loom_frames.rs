//! The frame allocator under loom: every interleaving, and every value that weak memory allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_frames`
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use vmspace::addr::Frame;
use vmspace::frame::alloc::Frames;
use vmspace::sync::AtomicU64;

/// A memory with something in each frame that only its owner may touch: loom reports a frame that
/// two hold, and one handed on without the order that makes the last owner's writes visible.
struct Memory {
    frames: Frames<'static>,
    contents: Vec<UnsafeCell<u64>>,
    words: *mut [AtomicU64],
}

// SAFETY: the words are atomics; contents are touched by a frame's owner, which loom checks; the
// pointer is used once, when the memory is dropped.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `usable` frames of `count` are free.
    fn new(count: u64, cpus: usize, usable: u64) -> Arc<Memory> {
        let words = Frames::words_needed(count, cpus);
        let words: Vec<_> = (0..words).map(|_| AtomicU64::new(0)).collect();
        let words = Box::into_raw(words.into_boxed_slice());
        // SAFETY: from `into_raw`, freed in `drop` only, after the last use of `frames`.
        let frames = Frames::new(unsafe { &*words }, count, cpus).unwrap();
        frames.free_range(0, usable);
        let contents = (0..count).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Memory { frames, contents, words })
    }

    fn allocate(&self, cpu: usize, order: u32) -> Option<Frame> {
        let frame = self.frames.allocate(cpu, order)?;
        self.touch(frame);
        Some(frame)
    }

    fn free(&self, cpu: usize, frame: Frame, order: u32) {
        self.touch(frame);
        self.frames.free(cpu, frame, order);
    }

    fn touch(&self, frame: Frame) {
        // SAFETY: the caller owns the frame, if the allocator is right; if not, loom says so.
        self.contents[frame.0 as usize].with_mut(|content| unsafe { *content += 1 });
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: from `into_raw` in `new`; `frames`, which borrows it, is not used any more.
        drop(unsafe { Box::from_raw(self.words) });
    }
}

/// Runs `first` on CPU 0 beside `second` on CPU 1, then counts.
fn beside(
    (count, cpus, usable): (u64, usize, u64),
    first: fn(&Memory),
    second: fn(&Memory),
    left: u64,
) {
    loom::model(move || {
        let memory = Memory::new(count, cpus, usable);
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || second(&other));
        first(&memory);
        thread.join().unwrap();
        assert_eq!(memory.frames.free_count(), left);
    });
}

#[test]
fn two_cpus_never_get_one_frame() {
    let both: [fn(&Memory); 2] = [
        |memory| assert!(memory.allocate(0, 0).is_some()),
        |memory| assert!(memory.allocate(1, 0).is_some()),
    ];
    beside((64, 2, 2), both[0], both[1], 0);
}

#[test]
fn the_last_frame_goes_to_one_and_comes_back() {
    let both: [fn(&Memory); 2] = [
        |memory| {
            if let Some(frame) = memory.allocate(0, 0) {
                memory.free(0, frame, 0);
            }
        },
        |memory| {
            if let Some(frame) = memory.allocate(1, 0) {
                memory.free(1, frame, 0);
            }
        },
    ];
    beside((64, 2, 1), both[0], both[1], 1);
}

#[test]
fn a_frame_in_anothers_area_is_found() {
    // Two areas of a word each; each CPU takes a frame of its own and one wherever it is.
    fn two(memory: &Memory, cpu: usize) {
        for _ in 0..2 {
            assert!(memory.allocate(cpu, 0).is_some(), "no frees, so none may be missed");
        }
    }
    beside((128, 1, 4), |memory| two(memory, 0), |memory| two(memory, 0), 0);
    loom::model(|| {
        let memory = Memory::new(256, 2, 0);
        [0, 1, 64, 192].into_iter().for_each(|frame| memory.frames.free_range(frame, 1));
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || two(&other, 1));
        two(&memory, 0);
        thread.join().unwrap();
        assert_eq!(memory.frames.free_count(), 0);
    });
}

#[test]
fn a_run_and_a_frame_inside_it_are_not_both_given() {
    fn run(memory: &Memory, cpu: usize, order: u32) {
        if let Some(frame) = memory.allocate(cpu, order) {
            memory.free(cpu, frame, order);
        }
    }
    beside((64, 2, 8), |memory| run(memory, 0, 3), |memory| run(memory, 1, 1), 8);
    // Order 7 is two words, claimed one after the other.
    beside((128, 2, 128), |memory| run(memory, 0, 7), |memory| run(memory, 1, 0), 128);
    beside((128, 2, 128), |memory| run(memory, 0, 7), |memory| run(memory, 1, 7), 128);
}

#[test]
fn a_lost_claim_of_two_words_puts_the_first_back() {
    loom::model(|| {
        let memory = Memory::new(128, 1, 128);
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || other.allocate(0, 0).is_some());
        let long = memory.allocate(0, 7).is_some();
        let single = thread.join().unwrap();
        assert!(long != single, "one of them loses, not both");
        assert_eq!(memory.frames.free_count(), if long { 0 } else { 127 });
    });
}
