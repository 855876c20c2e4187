//! `swaps [lost | full KIB]`: swapon, swapoff and what /dev and /proc say of swap, against what Linux answers.
//! Needs two devices, the first of 1 MiB or more. `lost`: says when pages are on the first device,
//! waits for a byte, and expects that they cannot be read back any more. `full`: has so much memory, more
//! than there is, and expects that swapoff changes nothing, and ends nobody who wants memory meanwhile.
#![no_std]
#![no_main]

use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;

use guests::process::{End, child};
use guests::syscall::{self, Errno};
use guests::{Args, Map, expect, fail, page_size, println};

guests::main!(main);

const EFAULT: Errno = Errno(14);
const EBUSY: Errno = Errno(16);
const EISDIR: Errno = Errno(21);
const HERE: usize = -100isize as usize;
const PAGEOUT: usize = 21;
const PREFER: usize = 0x8000;
const ZERO: &CStr = c"/dev/swap0";
const ONE: &CStr = c"/dev/swap1";
/// Pages that are swapped, at the most; 16 MiB of the largest would not fit the device.
const PAGES: usize = 16;

fn main(args: Args) {
    match args.get(1) {
        None => {
            listed();
            refused();
            known();
            moved();
            ordered();
        }
        Some("lost") => lost(),
        Some("full") => full((args.number(2, 6144) << 10) / page_size()),
        Some(other) => guests::start::usage(1, other, "lost or full"),
    }
    println!("ok");
}

type Answer = Result<usize, Errno>;

fn call(number: usize, arguments: [usize; 6]) -> Answer {
    // SAFETY: the buffers passed below are the program's own, which the call may fill.
    syscall::result(unsafe { syscall::raw(number, arguments) })
}

fn open(path: &CStr, flags: usize) -> Answer {
    call(56, [HERE, path.as_ptr() as usize, flags, 0o644, 0, 0])
}

fn swapon(path: &CStr, flags: usize) -> Answer {
    call(224, [path.as_ptr() as usize, flags, 0, 0, 0, 0])
}

fn swapoff(path: &CStr) -> Answer {
    call(225, [path.as_ptr() as usize, 0, 0, 0, 0, 0])
}

/// A file of /proc.
struct Text([u8; 4096], usize);

impl Text {
    fn of(path: &CStr) -> Text {
        let file = open(path, 0).unwrap_or_else(|error| fail!("open of {path:?}: {error}"));
        let mut text = Text([0; 4096], 0);
        while let Ok(read @ 1..) = syscall::read(file, &mut text.0[text.1..]) {
            text.1 += read;
        }
        expect!(Ok(0), call(57, [file, 0, 0, 0, 0, 0]), "close");
        text
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        let text = core::str::from_utf8(&self.0[..self.1]).unwrap_or_else(|_| fail!("no text"));
        text.lines()
    }

    /// The first number of the line that begins so.
    fn number(&self, name: &str) -> usize {
        let line = self.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| fail!("there is no {name}"));
        let number = line[name.len()..].split_whitespace().next().map(str::parse);
        number.and_then(Result::ok).unwrap_or_else(|| fail!("{name} without a number: {line}"))
    }
}

/// What /proc/swaps says of a device, in KiB: size, used, priority.
fn swap(path: &CStr) -> Option<(usize, usize, i32)> {
    let text = Text::of(c"/proc/swaps");
    let name = path.to_str().unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name))?;
    let mut words = line.split_whitespace().skip(1);
    expect!(Some("partition"), words.next(), "the type of {name}");
    let mut number = || words.next().and_then(|word| word.parse::<i64>().ok());
    let (size, used, priority) = (number()?, number()?, number()?);
    Some((size as usize, used as usize, priority as i32))
}

fn on_swap() -> usize {
    Text::of(c"/proc/self/status").number("VmSwap:")
}

/// Memory of a pattern, on swap.
fn swapped(tag: u64) -> Map {
    let map = Map::private(PAGES.min((1 << 20) / page_size()));
    map.fill(0..map.pages(), tag);
    page_out(map);
    map
}

fn page_out(map: Map) {
    let result = syscall::madvise(map.address(0), map.pages() * page_size(), PAGEOUT);
    expect!(Ok(()), result, "madvise(MADV_PAGEOUT)");
}

fn kib(map: Map) -> usize {
    (map.pages() * page_size()) >> 10
}

/// As they were given, in the layout of Linux's.
fn listed() {
    let text = Text::of(c"/proc/swaps");
    let mut lines = text.lines();
    let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority";
    expect!(Some(head), lines.next(), "/proc/swaps, the first line");
    let name = "/dev/swap0                              partition\t";
    let first = lines.next().unwrap_or_default();
    expect!(true, first.starts_with(name) && first.ends_with("\t\t0\t\t-2"), "{first}");
    expect!(true, lines.next().unwrap_or_default().ends_with("\t\t0\t\t-3"), "the second device");
    expect!(None, lines.next(), "a third device");
    let meminfo = Text::of(c"/proc/meminfo");
    let total: usize = [ZERO, ONE].iter().filter_map(|path| Some(swap(path)?.0)).sum();
    expect!(total, meminfo.number("SwapTotal:"), "SwapTotal");
    expect!(total, meminfo.number("SwapFree:"), "SwapFree");
    let mut words = [0usize; 14];
    expect!(Ok(0), call(179, [words.as_mut_ptr() as usize, 0, 0, 0, 0, 0]), "sysinfo");
    expect!((total << 10, total << 10), (words[8], words[9]), "sysinfo's totalswap and freeswap");
    println!("listed");
}

fn refused() {
    expect!(Err(EBUSY), swapon(ZERO, 0), "swapon of what is on");
    expect!(Err(Errno::ENOENT), swapon(c"/dev/swap9", 0), "swapon of what is not there");
    expect!(Err(Errno::ENOENT), swapon(c"", 0), "swapon of no name");
    expect!(Err(EISDIR), swapon(c"/dev", 0), "swapon of a directory");
    expect!(Err(Errno::EINVAL), swapon(c"/dev/null", 0), "swapon of another device");
    expect!(Err(Errno::EINVAL), swapon(ZERO, 0x8_0000), "swapon with an unknown flag");
    expect!(Err(EFAULT), call(224, [8, 0, 0, 0, 0, 0]), "swapon of a bad address");
    expect!(Err(Errno::EINVAL), swapon(c"/proc/swaps", 0), "swapon of a file");
    expect!(Err(Errno::EINVAL), swapoff(c"/dev/zero"), "swapoff of another device");
    expect!(Err(Errno::ENOENT), swapoff(c"/dev/swap9"), "swapoff of what is not there");
    println!("refused");
}

/// A block device, which nobody here may open.
fn known() {
    const BLOCK: u32 = 0o060_660;
    let mut stat = [0u32; 32];
    let buffer = stat.as_mut_ptr() as usize;
    let arguments = [HERE, ONE.as_ptr() as usize, buffer, 0, 0, 0];
    expect!(Ok(0), call(79, arguments), "stat");
    expect!((BLOCK, 240 << 8 | 1), (stat[4], stat[8]), "its mode and number");
    expect!(Err(Errno::EACCES), open(ONE, 2), "open");
    println!("known");
}

/// Pages go and come back, by faults and by swapoff, to a child too.
fn moved() {
    let map = swapped(1);
    expect!((kib(map), Some(kib(map))), (on_swap(), swap(ZERO).map(|swap| swap.1)), "VmSwap, Used");
    let left = Text::of(c"/proc/meminfo").number("SwapTotal:") - kib(map);
    expect!(left, Text::of(c"/proc/meminfo").number("SwapFree:"), "SwapFree");
    let vmstat = Text::of(c"/proc/vmstat");
    expect!(true, vmstat.number("pswpout ") >= map.pages(), "pswpout");
    expect!(true, vmstat.number("pgpgout ") >= kib(map), "pgpgout");
    let reader = child(|| {
        map.check(0..map.pages(), 1, format_args!("a child reads"));
        0
    });
    reader.expect(End::Exit(0), format_args!("a child of a process that is on swap"));
    map.check(0..map.pages(), 1, format_args!("back by faults"));
    expect!(0, on_swap(), "VmSwap when all is back");
    let vmstat = Text::of(c"/proc/vmstat");
    expect!(true, vmstat.number("pswpin ") >= map.pages(), "pswpin");
    expect!(true, vmstat.number("pgpgin ") >= kib(map), "pgpgin");
    map.fill(0..map.pages(), 2);
    page_out(map);
    expect!(kib(map), on_swap(), "VmSwap of what was written again");
    expect!(Ok(0), swapoff(ZERO), "swapoff");
    expect!((0, None), (on_swap(), swap(ZERO)), "VmSwap and /proc/swaps after swapoff");
    map.check(0..map.pages(), 2, format_args!("back by swapoff"));
    expect!(Err(Errno::EINVAL), swapoff(ZERO), "swapoff of what is off");
    map.free();
    println!("moved");
}

/// Priorities: those that nobody asked for follow one another below all others.
fn ordered() {
    let priority = |path| swap(path).map(|swap| swap.2);
    expect!(Some(-2), priority(ONE), "the priority of the only one");
    expect!(Ok(0), swapon(ZERO, 0), "swapon");
    expect!((Some(-3), Some(-2)), (priority(ZERO), priority(ONE)), "the last one has the lowest");
    expect!(Ok(0), swapoff(ZERO), "swapoff");
    expect!(Ok(0), swapon(ZERO, PREFER | 7), "swapon with a priority");
    expect!((Some(7), Some(-2)), (priority(ZERO), priority(ONE)), "the one that was asked for");
    let map = swapped(3);
    let used = |path| swap(path).map(|swap| swap.1);
    expect!((Some(kib(map)), Some(0)), (used(ZERO), used(ONE)), "the highest is filled first");
    expect!((Ok(0), Ok(0)), (swapoff(ZERO), swapoff(ONE)), "swapoff of both");
    expect!(0, Text::of(c"/proc/meminfo").number("SwapTotal:"), "SwapTotal without swap");
    map.check(0..map.pages(), 3, format_args!("back by swapoff"));
    println!("ordered");
}

fn lost() {
    let kept = Map::private(1);
    kept.fill(0..1, 4);
    let user = child(|| {
        let map = swapped(5);
        println!("swaps: out");
        expect!(Ok(1), syscall::read(0, &mut [0]), "a byte");
        map.word(0, 0).load(Relaxed) as i32
    });
    user.expect(End::BUS, format_args!("a child whose pages are lost"));
    kept.check(0..1, 4, format_args!("its parent's memory"));
}

fn full(pages: usize) {
    let (map, over) = (Map::private(pages), Map::shared(1));
    map.fill(0..pages, 6);
    let user = child(|| {
        while over.word(0, 0).load(Relaxed) == 0 {
            map.check(0..pages, 6, format_args!("who wants memory beside swapoff"));
        }
        7
    });
    let before = swap(ZERO).map(|swap| (swap.0, swap.2));
    for _ in 0..3 {
        expect!(Err(Errno::ENOMEM), swapoff(ZERO), "swapoff without room");
        expect!(before, swap(ZERO).map(|swap| (swap.0, swap.2)), "the device afterwards");
    }
    over.word(0, 0).store(1, Relaxed);
    user.expect(End::Exit(7), format_args!("who wanted memory beside swapoff"));
    map.check(0..pages, 6, format_args!("after swapoff without room"));
}
