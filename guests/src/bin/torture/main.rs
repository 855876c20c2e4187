//! `torture NAME|all|raw NAME [NUMBER]`: absurd programs, each of which ends as on Linux.
//!
//! Every deed is done in a forked child, whose end is compared with Linux's; `raw NAME` does the first
//! deed of a deadly kind in this process instead, which dies of it. `all` leaves out what takes a
//! machine's last memory or last process: exhaust and forkbomb.
#![no_std]
#![no_main]

mod badargs;
mod code;
mod deadly;
mod limits;

use guests::process::{End, child};
use guests::{Args, println, start};

guests::main!(main);

/// Deeds that kill: a name, how Linux ends the process, and the deeds.
pub struct Deadly {
    name: &'static str,
    end: End,
    deeds: &'static [fn()],
}

type Run = fn(Args);

/// Deeds that a process survives, or whose children at least do no harm to their parent.
const HARMLESS: [(&str, Run); 5] = [
    ("badargs", badargs::run),
    ("selfmod", code::selfmod),
    ("misaligned", code::misaligned),
    ("exhaust", limits::exhaust),
    ("forkbomb", limits::forkbomb),
];

/// How many of them `all` runs.
const IN_ALL: usize = 3;

fn main(args: Args) {
    let name = args.get(1).unwrap_or("all");
    if name == "raw" {
        return raw(args.get(2).unwrap_or(""));
    }
    let mut known = name == "all";
    for kind in deadly::KINDS.iter().filter(|kind| name == "all" || name == kind.name) {
        known = true;
        for (nth, deed) in kind.deeds.iter().enumerate() {
            let doomed = child(|| {
                deed();
                0
            });
            doomed.expect(kind.end, format_args!("{}, deed {nth}", kind.name));
        }
        println!("{}: {} deeds, each ended by {}", kind.name, kind.deeds.len(), kind.end);
    }
    for (index, (harmless, run)) in HARMLESS.iter().enumerate() {
        if name == *harmless || name == "all" && index < IN_ALL {
            known = true;
            run(args);
        }
    }
    if !known {
        start::usage(1, name, "a name that README.md lists, all, or raw NAME");
    }
    println!("ok");
}

fn raw(name: &str) {
    match deadly::KINDS.iter().find(|kind| kind.name == name) {
        Some(kind) => kind.deeds[0](),
        None => start::usage(2, name, "the name of a deadly kind"),
    }
    guests::fail!("{name}: expected death, seen none")
}
