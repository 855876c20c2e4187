//! `files [NAME|all|shrunk|stored|input]`: files from inside, as on Linux: names, bytes, mappings, locks, /proc, and ways
//! out of the root that lead nowhere. It needs an empty `/` that it may write to: `--root` with a fresh
//! directory, or none. `shrunk` maps `/victim` and reads a byte; then whoever wrote that has made the
//! file shorter. `stored` stores a byte by `/victim`'s last mapping, and reads one when that is gone.
//! `input` reads standard input, eight bytes, three of them with a buffer that has room for no more.
#![no_std]
#![no_main]

mod bytes;
mod locks;
mod mappings;
mod names;
mod outside;
mod proc;

use guests::{Args, println, start};

guests::main!(main);

fn main(args: Args) {
    let all: [(&str, fn()); 7] = [
        ("names", names::run),
        ("bytes", bytes::run),
        ("mappings", mappings::run),
        ("locks", locks::run),
        ("outside", outside::run),
        ("proc", proc::run),
        ("exhaust", bytes::exhaust),
    ];
    match args.get(1) {
        Some("shrunk") => return mappings::shrunk(),
        Some("stored") => return mappings::stored(),
        Some("input") => return bytes::input(),
        _ => {}
    }
    let wanted = args.get(1).unwrap_or("all");
    if wanted != "all" && !all.iter().any(|(name, _)| *name == wanted) {
        start::usage(1, wanted, "names, bytes, mappings, locks, outside, proc, exhaust or all");
    }
    for (_, run) in all.iter().filter(|(name, _)| wanted == "all" || *name == wanted) {
        run();
    }
    println!("ok");
}
