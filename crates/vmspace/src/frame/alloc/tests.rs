extern crate std;

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

fn words(frames: u64, cpus: usize) -> Vec<AtomicU64> {
    (0..Frames::words_needed(frames, cpus)).map(|_| AtomicU64::new(0xdead)).collect()
}

/// Runs `test` on memories of awkward shapes, all frames free.
fn on_each_shape(test: impl Fn(&Frames<'_>, u64, usize)) {
    let small = [(1, 1), (63, 1), (100, 3), (256, 2), (256, 256)];
    let large = [(64, 2), (4096, 1), (5000, 4), (70_001, 7)];
    let large = if cfg!(miri) { &large[..1] } else { &large[..] };
    for &(frames, cpus) in small.iter().chain(large) {
        let words = words(frames, cpus);
        let memory = Frames::new(&words, frames, cpus).unwrap();
        assert_eq!(memory.free_count(), 0);
        memory.free_range(0, frames);
        assert_eq!(memory.free_count(), frames);
        test(&memory, frames, cpus);
    }
}

/// A small generator of pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn free_runs_miss_none_and_invent_none() {
    let mut random = Random(1);
    for round in 0..if cfg!(miri) { 20 } else { 1000 } {
        let word = match round {
            0 => 0,
            1 => !0,
            _ => random.below(!0) & random.below(!0) & random.below(!0),
        };
        for order in 0..=6 {
            let want = (0..64).step_by(1 << order).filter(|bit| word >> bit & run_mask(order) == 0);
            let want = want.fold(0u64, |set, bit| set | 1 << bit);
            assert_eq!(free_runs(word, order), want, "{word:#x} order {order}");
        }
    }
}

#[test]
fn too_few_words_are_refused() {
    let words = words(4096, 2);
    assert!(Frames::new(&words[1..], 4096, 2).is_none());
    assert!(Frames::new(&words, 4096, 2).is_some());
}

#[test]
fn every_frame_is_given_once_and_none_is_left() {
    on_each_shape(|memory, frames, cpus| {
        for cpu in [0, cpus - 1] {
            let given: BTreeSet<_> = (0..frames).map_while(|_| memory.allocate(cpu, 0)).collect();
            assert_eq!(given.len() as u64, frames);
            assert!(given.last().unwrap().0 < frames);
            assert_eq!(memory.allocate(cpu, 0), None);
            assert_eq!(memory.free_count(), 0);
            given.iter().for_each(|frame| memory.free(cpu, *frame, 0));
            assert_eq!(memory.free_count(), frames);
        }
    });
}

#[test]
fn a_single_free_run_is_found_wherever_it_lies() {
    on_each_shape(|memory, frames, cpus| {
        while memory.allocate(0, 0).is_some() {}
        let mut random = Random(frames);
        for order in (0..=MAX_ORDER).filter(|order| 1 << order <= frames) {
            for _ in 0..10 {
                let first = random.below(frames >> order) << order;
                memory.free_range(first, 1 << order);
                let cpu = random.below(cpus as u64) as usize;
                assert_eq!(memory.allocate(cpu, order), Some(Frame(first)), "order {order}");
                assert_eq!(memory.allocate(cpu, order), None);
            }
        }
    });
}

#[test]
fn every_order_fills_memory_with_aligned_runs() {
    on_each_shape(|memory, frames, cpus| {
        for order in (0..=MAX_ORDER).rev() {
            let given: Vec<_> = (0..).map_while(|_| memory.allocate(cpus - 1, order)).collect();
            assert_eq!(given.len() as u64, frames >> order, "order {order}");
            assert!(given.iter().all(|frame| frame.0 % (1 << order) == 0));
            assert_eq!(memory.free_count(), frames - (given.len() << order) as u64);
            given.iter().for_each(|frame| memory.free(0, *frame, order));
        }
        assert_eq!(memory.allocate(0, MAX_ORDER + 1), None);
        assert_eq!(memory.free_count(), frames);
    });
}

#[test]
fn random_operations_never_overlap_and_lose_nothing() {
    on_each_shape(|memory, frames, cpus| {
        let mut random = Random(frames + cpus as u64);
        let mut held: BTreeMap<u64, u32> = BTreeMap::new();
        let mut in_use = 0;
        for _ in 0..if cfg!(miri) { 300 } else { 20_000 } {
            let cpu = random.below(cpus as u64) as usize;
            if random.below(2) == 0 {
                let order = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10][random.below(14) as usize];
                let Some(Frame(first)) = memory.allocate(cpu, order) else { continue };
                let end = first + (1 << order);
                let below = held.range(..end).next_back();
                assert!(below.is_none_or(|(start, order)| start + (1 << order) <= first));
                assert!(end <= frames && first % (1 << order) == 0);
                held.insert(first, order);
                in_use += 1 << order;
            } else if let Some((&first, &order)) = held.range(random.below(frames)..).next() {
                held.remove(&first);
                in_use -= 1u64 << order;
                memory.free(cpu, Frame(first), order);
            }
            assert_eq!(memory.free_count(), frames - in_use);
        }
        held.iter().for_each(|(first, order)| memory.free(0, Frame(*first), *order));
        assert_eq!(memory.free_count(), frames);
    });
}

#[test]
fn cpus_in_their_zones_share_no_line() {
    let (frames, cpus) = (1 << 15, 8);
    let words = words(frames, cpus);
    let memory = Frames::new(&words, frames, cpus).unwrap();
    memory.free_range(0, frames);
    let lines = |cpu| -> BTreeSet<u64> {
        let mut lines = BTreeSet::new();
        for _ in 0..3 {
            let held: Vec<_> = (0..2000).map_while(|_| memory.allocate(cpu, 0)).collect();
            lines.extend(held.iter().map(|frame| frame.0 / 512));
            held.iter().for_each(|frame| memory.free(cpu, *frame, 0));
        }
        lines
    };
    let all: Vec<_> = (0..cpus).map(lines).collect();
    for (cpu, lines) in all.iter().enumerate() {
        assert!(lines.len() <= 4, "CPU {cpu} spreads over {} areas", lines.len());
        assert!(all[..cpu].iter().all(|other| other.is_disjoint(lines)));
    }
}

#[test]
fn cpus_that_outgrow_their_zones_keep_to_areas_of_their_own() {
    let (frames, cpus) = (if cfg!(miri) { 1 << 11 } else { 1 << 14 }, 2);
    let words = words(frames, cpus);
    let memory = Frames::new(&words, frames, cpus).unwrap();
    memory.free_range(0, frames);
    let area = |frame: Frame| frame.0 / 512;
    let other = area(memory.allocate(1, 0).unwrap());
    for _ in 0..frames - 512 {
        assert_ne!(area(memory.allocate(0, 0).unwrap()), other);
    }
    assert_eq!(area(memory.allocate(0, 0).unwrap()), other, "the last room is anybody's");
}

#[test]
fn single_frames_leave_long_runs_whole() {
    let (frames, cpus) = (1 << 14, 2);
    let words = words(frames, cpus);
    let memory = Frames::new(&words, frames, cpus).unwrap();
    memory.free_range(0, frames);
    let mut random = Random(7);
    let mut held = Vec::new();
    for _ in 0..if cfg!(miri) { 2000 } else { 50_000 } {
        let cpu = random.below(2) as usize;
        if held.len() < 1000 {
            held.push(memory.allocate(cpu, 0).unwrap());
        }
        if random.below(2) == 0 {
            let frame = held.swap_remove(random.below(held.len() as u64) as usize);
            memory.free(cpu, frame, 0);
        }
    }
    let long = (0..).map_while(|_| memory.allocate(0, 9)).count();
    assert!(long >= 26, "{long} of 32 runs are left beside 1000 frames");
}

#[test]
fn threads_never_share_a_frame() {
    let (frames, cpus) = (1 << 12, 4);
    let words = words(frames, cpus);
    let memory = &Frames::new(&words, frames, cpus).unwrap();
    memory.free_range(0, frames);
    let owners: &Vec<AtomicU64> = &(0..frames).map(|_| AtomicU64::new(0)).collect();
    let rounds = if cfg!(miri) { 50 } else { 20_000 };
    std::thread::scope(|scope| {
        for cpu in 0..cpus {
            scope.spawn(move || {
                let mut random = Random(cpu as u64 + 1);
                let mut held = Vec::new();
                let mark = |frame: Frame, order: u32, old, new| {
                    for owner in &owners[frame.0 as usize..][..1 << order] {
                        assert_eq!(owner.swap(new, Ordering::Relaxed), old);
                    }
                };
                let give_back = |(frame, order)| {
                    mark(frame, order, cpu as u64 + 1, 0);
                    memory.free(cpu, frame, order);
                };
                for _ in 0..rounds {
                    let order = [0, 0, 0, 3, 6, 7, 9][random.below(7) as usize];
                    if let Some(frame) = memory.allocate(cpu, order) {
                        mark(frame, order, 0, cpu as u64 + 1);
                        held.push((frame, order));
                    }
                    while held.len() > 100 || random.below(3) == 0 && !held.is_empty() {
                        let at = random.below(held.len() as u64) as usize;
                        give_back(held.swap_remove(at));
                    }
                }
                held.into_iter().for_each(give_back);
            });
        }
    });
    assert_eq!(memory.free_count(), frames);
}
