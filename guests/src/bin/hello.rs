//! `hello [ARG…]`: what a program is given at its start: its arguments and the page size.
#![no_std]
#![no_main]

use guests::{Args, page_size, println};

guests::main!(main);

fn main(args: Args) {
    println!("hello from riscv64");
    println!("page size {}", page_size());
    for index in 0..args.count() {
        println!("argument {index}: {}", args.get(index).unwrap_or(""));
    }
}
