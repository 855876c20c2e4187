//! `tour [KIB [THREADS]]`: a program with threads and fork in one, which says what it does: threads
//! sort and count in mapped memory, children change their copies of it, and all is verified.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use guests::process::{End, child};
use guests::syscall::prot;
use guests::time::{millis_since, now};
use guests::{Args, Map, Rng, expect, page_size, println, thread};

guests::main!(main);

fn main(args: Args) {
    let (kib, threads) = (args.number(1, 4096), args.number(2, 4).clamp(1, 64));
    let began = now();
    let data = Map::private((kib << 10).div_ceil(page_size()).max(1));
    println!("tour: {} KiB in pages of {} bytes, {threads} threads", size(data), page_size());
    sort(data, threads);
    count(data, threads);
    copy_on_write(data);
    give_back(data);
    println!("ok: all verified ({} ms)", millis_since(began));
}

fn size(map: Map) -> usize {
    map.pages() * page_size() / 1024
}

/// All numbers of a map.
fn all(map: Map) -> &'static mut [u64] {
    // SAFETY: called while no thread works on the map, for maps that are readable and writable, and
    // each slice is gone before the next is made.
    unsafe { map.numbers(0..map.all_words()) }
}

fn sum(map: Map) -> u64 {
    all(map).iter().fold(0, |sum, number| sum.wrapping_add(*number))
}

/// Each thread fills and sorts a part; the parts are merged into new memory and copied back.
fn sort(data: Map, threads: usize) {
    let began = now();
    let part = data.all_words().div_ceil(threads);
    let start = |thread: usize| data.all_words().min(thread * part);
    thread::run(threads, |thread| {
        let mut rng = Rng::new(thread as u64);
        // SAFETY: each thread takes its own part.
        let mine = unsafe { data.numbers(start(thread)..start(thread + 1)) };
        mine.fill_with(|| rng.draw());
        mine.sort_unstable();
    });
    let (before, merged, numbers) = (sum(data), Map::private(data.pages()), all(data));
    let mut heads: [usize; 64] = core::array::from_fn(start);
    for (index, place) in all(merged).iter_mut().enumerate() {
        let left = (0..threads).filter(|&thread| heads[thread] < start(thread + 1));
        let Some(least) = left.min_by_key(|&thread| numbers[heads[thread]]) else {
            guests::fail!("merge: nothing left at number {index}")
        };
        *place = numbers[heads[least]];
        heads[least] += 1;
    }
    numbers.copy_from_slice(all(merged));
    merged.free();
    expect!(true, numbers.is_sorted(), "sort: numbers in order");
    expect!(before, sum(data), "sort: sum of all numbers");
    let ms = millis_since(began);
    println!(
        "- sorted {} numbers with {threads} threads and merged them ({ms} ms)",
        data.all_words()
    );
}

/// All threads count the numbers by their remainder in one hash table: a page of keys, and counts.
fn count(data: Map, threads: usize) {
    const SLOTS: usize = 2048;
    let began = now();
    let table = Map::private((SLOTS * 8).div_ceil(page_size()));
    let slot = |at: usize| -> [&AtomicU32; 2] {
        let word = table.word(at / Map::words(), at % Map::words()).as_ptr() as *const AtomicU32;
        // SAFETY: the two halves of a word that nobody uses otherwise.
        unsafe { [&*word, &*word.add(1)] }
    };
    let numbers = &*all(data);
    thread::run(threads, |thread| {
        for number in numbers.iter().skip(thread).step_by(threads) {
            let key = (number % 997) as u32 + 1;
            let mut at = (key.wrapping_mul(0x9e37_79b9) >> 21) as usize;
            // Linear probing: the slot becomes ours, or is another thread's who may have the same key.
            while slot(at)[0].compare_exchange(0, key, Relaxed, Relaxed).is_err_and(|k| k != key) {
                at = (at + 1) % SLOTS;
            }
            slot(at)[1].fetch_add(1, Relaxed);
        }
    });
    let used = (0..SLOTS).filter(|at| slot(*at)[0].load(Relaxed) != 0).count();
    let total = (0..SLOTS).map(|at| slot(at)[1].load(Relaxed) as usize).sum::<usize>();
    expect!(data.all_words(), total, "count: sum over the hash table");
    table.free();
    println!("- counted them in a hash table of {used} keys ({} ms)", millis_since(began));
}

/// Two children negate every number of theirs, and tell the sum in shared memory.
fn copy_on_write(data: Map) {
    let began = now();
    let (before, shared) = (sum(data), Map::shared(1));
    let children = [0, 1].map(|nth| {
        child(|| {
            all(data).iter_mut().for_each(|number| *number = number.wrapping_neg());
            shared.word(0, nth).store(sum(data), Relaxed);
            7 + nth as i32
        })
    });
    data.word(0, 0).fetch_add(1, Relaxed);
    for (nth, child) in children.into_iter().enumerate() {
        child.expect(End::Exit(7 + nth as i32), format_args!("fork: child {nth}"));
        let seen = shared.word(0, nth).load(Relaxed);
        expect!(before.wrapping_neg(), seen, "fork: sum that child {nth} told");
    }
    expect!(before.wrapping_add(1), sum(data), "fork: the parent's sum afterwards");
    shared.free();
    let ms = millis_since(began);
    println!("- forked 2 children that rewrote {} KiB each, copy-on-write ({ms} ms)", size(data));
}

/// Gives memory back, protects it and unmaps it; who reads it then dies.
fn give_back(data: Map) {
    let began = now();
    data.dontneed(0..data.pages());
    expect!(0, sum(data), "dontneed: sum of what must be zeros");
    data.protect(0..data.pages(), prot::NONE);
    let reader = || child(|| data.word(0, 0).load(Relaxed) as i32);
    reader().expect(End::SEGV, format_args!("a child that reads protected memory"));
    data.free();
    reader().expect(End::SEGV, format_args!("a child that reads unmapped memory"));
    let ms = millis_since(began);
    println!("- gave it back, protected and unmapped it; two readers died of SIGSEGV ({ms} ms)");
}
