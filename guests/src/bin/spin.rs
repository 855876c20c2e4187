//! `spin [THREADS]`: one thread spins, in no call at all, until the last of the others has set a flag.
//! Without preemption it never ends on a machine that has fewer harts than threads.
#![no_std]
#![no_main]

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use guests::{Args, println, thread};

guests::main!(main);

fn main(args: Args) {
    let count = args.number(1, 64).max(2);
    let arrived = AtomicUsize::new(0);
    let flag = AtomicBool::new(false);
    thread::run(count, |index| {
        if index == 0 {
            while !flag.load(Acquire) {
                spin_loop();
            }
        } else if arrived.fetch_add(1, AcqRel) + 1 == count - 1 {
            flag.store(true, Release);
        }
    });
    println!("spin: {count} threads, the spinner saw the flag");
    println!("ok");
}
