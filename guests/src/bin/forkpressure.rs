//! `forkpressure [KIB=4096]`: forks a process that fills most of memory, and a child of it that does.
//!
//! Each process finds what its parent had written, writes every other page, finds its own there and its
//! parent's in the others. Nobody waits for another, so all of them need their pages at once.
#![no_std]
#![no_main]

use guests::process::{End, child};
use guests::{Args, Map, page_size, pattern, println};

guests::main!(main);

/// Generations of processes, the first included.
const GENERATIONS: u64 = 3;

/// What the even and the odd pages hold.
type Versions = [u64; 2];

fn main(args: Args) {
    let kib = args.number(1, 4096);
    let pages = ((kib << 10) / page_size()).max(4);
    let map = Map::private(pages);
    pattern::write(&map, 0..pages, 1, (0, 1));
    live(&map, 1, [1, 1]);
    println!("forkpressure: {GENERATIONS} generations of {kib} KiB");
    println!("ok");
}

/// The life of a process from the fork on that made the next generation.
fn live(map: &Map, generation: u64, before: Versions) {
    let young = (generation < GENERATIONS).then(|| child(|| grow(map, generation + 1, before)));
    let half = half_of(generation);
    let now = write_half(map, half, 10 * generation, before);
    check(map, now, generation, "beside its child");
    if let Some(young) = young {
        young.expect(End::Exit(0), format_args!("generation {}", generation + 1));
    }
    check(map, now, generation, "after its child");
}

fn grow(map: &Map, generation: u64, before: Versions) -> i32 {
    check(map, before, generation, "its parent's pages");
    let now = write_half(map, 1 - half_of(generation), 10 * generation + 1, before);
    check(map, now, generation, "its own and its parent's");
    live(map, generation, now);
    0
}

fn half_of(generation: u64) -> usize {
    generation as usize % 2
}

fn half(map: &Map, half: usize) -> impl Iterator<Item = usize> {
    (half..map.pages()).step_by(2)
}

/// Writes the even or the odd pages; what all hold then.
fn write_half(map: &Map, which: usize, version: u64, mut versions: Versions) -> Versions {
    pattern::write(map, half(map, which), version, (0, 1));
    versions[which] = version;
    versions
}

fn check(map: &Map, versions: Versions, generation: u64, when: &str) {
    for (which, version) in versions.into_iter().enumerate() {
        let what = format_args!("generation {generation}, {when}");
        pattern::check(map, half(map, which), version, what);
    }
}
