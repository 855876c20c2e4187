//! Absurd arguments to every system call.
//!
//! First each number with the same absurd value in all arguments, where only survival counts; then the
//! calls that programs use, with what Linux answers.

use guests::process::{End, child};
use guests::syscall::{self, Errno, flag, nr, prot};
use guests::{Args, Map, expect, fail, page_size, println};

/// Numbers that are tried: 0 to this, not included.
const CALLS: usize = 450;

/// Calls that end the process, make others or replace this one, whatever the arguments.
const ENDS_OR_FORKS: [usize; 6] = [93, 94, 139, 220, 221, 435];

/// Calls that qemu passes on, and that signal others or change the host where root runs it: hang-up,
/// kexec, the clocks, ptrace, kill and its kin, reboot, the host's name, seccomp; System V's
/// objects (186 to 197), which stay behind; and 186, 211 and 212, which kill qemu itself.
const HARM: [usize; 32] = [
    58, 104, 112, 117, 129, 130, 131, 138, 142, 161, 162, 170, 171, 186, 187, 188, 189, 190, 191,
    192, 193, 194, 195, 196, 197, 211, 212, 240, 266, 277, 294, 424,
];

/// Bytes of junk.
const JUNK: usize = 64 << 10;

/// Neither a file nor a length nor an address; the low half is no small number either.
const ABSURD: [usize; 4] =
    [usize::MAX, 0x8000_0000_8000_0007, i64::MAX as usize, 0x0000_7fff_ffff_fff9];

/// `badargs [strict]`: strict adds what qemu does not answer as Linux does.
pub fn run(args: Args) {
    let sweeper = child(|| {
        let map = Map::private(4);
        map.fill(0..4, 1);
        let junk = junk();
        for value in ABSURD.into_iter().chain([junk + 1]) {
            for nr in (0..CALLS).filter(|nr| !ENDS_OR_FORKS.contains(nr) && !HARM.contains(nr)) {
                // An earlier call may have written there, a path or a time that makes sense.
                fill(junk);
                // SAFETY: no argument names memory of ours other than the junk.
                unsafe { syscall::raw(nr, [value; 6]) };
            }
            map.check(0..4, 1, format_args!("badargs: memory after a sweep with {value:#x}"));
        }
        0
    });
    sweeper.expect(End::Exit(0), format_args!("badargs: the process that tries every call"));
    let tried = CALLS - ENDS_OR_FORKS.len() - HARM.len();
    println!("badargs: survived {tried} calls with {} values", ABSURD.len() + 1);
    println!("badargs: {} answers as Linux gives them", answers(args.get(2) == Some("strict")));
}

/// The address of bytes that are no path, no time and no count. As a file or a length it is negative:
/// qemu takes a length of an address on its own stack, and dies of a long one.
fn junk() -> usize {
    let flags = flag::PRIVATE | flag::FIXED_NOREPLACE;
    match syscall::mmap(0x9000_0000, JUNK, prot::RW, flags) {
        Ok(at) => {
            fill(at);
            at
        }
        Err(error) => fail!("badargs: mmap at a hint: {error}"),
    }
}

/// Fills the bytes that are no path, no time and no count.
fn fill(junk: usize) {
    // SAFETY: mapped by `junk`, and so long.
    unsafe { (junk as *mut u8).write_bytes(0xff, JUNK) };
}

/// What is wrong, a call with its arguments, and the error that it gives.
type Row = (&'static str, usize, [usize; 6], Errno);

/// Calls with one thing wrong each; how many there are.
fn answers(strict: bool) -> usize {
    let page = page_size();
    let map = Map::private(4);
    map.fill(0..4, 1);
    map.unmap(3..4);
    let (at, hole) = (map.address(0), map.address(3));
    let (rw, private) = (prot::RW, flag::PRIVATE | flag::ANONYMOUS);
    let fixed = private | flag::FIXED;
    let minus = usize::MAX;
    let table: [Row; 22] = [
        ("mmap of nothing", nr::MMAP, [0, 0, rw, private, minus, 0], Errno::EINVAL),
        ("mmap of 2^60", nr::MMAP, [0, 1 << 60, rw, private, minus, 0], Errno::ENOMEM),
        ("mmap of everything", nr::MMAP, [0, minus, rw, private, minus, 0], Errno::ENOMEM),
        ("mmap fixed, odd", nr::MMAP, [at + 1, page, rw, fixed, minus, 0], Errno::EINVAL),
        ("mmap fixed, too high", nr::MMAP, [1 << 62, page, rw, fixed, minus, 0], Errno::ENOMEM),
        (
            "mmap, neither shared nor private",
            nr::MMAP,
            [0, page, rw, 0x20, minus, 0],
            Errno::EINVAL,
        ),
        ("mmap, flags of no file", nr::MMAP, [0, page, rw, private | 3, minus, 0], Errno::EINVAL),
        ("mmap, no file", nr::MMAP, [0, page, rw, flag::PRIVATE, minus, 0], Errno::EBADF),
        ("munmap odd", nr::MUNMAP, [at + 1, page, 0, 0, 0, 0], Errno::EINVAL),
        ("munmap of nothing", nr::MUNMAP, [at, 0, 0, 0, 0, 0], Errno::EINVAL),
        (
            "munmap around the end",
            nr::MUNMAP,
            [at, 0usize.wrapping_sub(page), 0, 0, 0, 0],
            Errno::EINVAL,
        ),
        ("munmap too high", nr::MUNMAP, [1 << 62, page, 0, 0, 0, 0], Errno::EINVAL),
        ("mprotect odd", nr::MPROTECT, [at + 1, page, rw, 0, 0, 0], Errno::EINVAL),
        ("mprotect of a hole", nr::MPROTECT, [at, 4 * page, rw, 0, 0, 0], Errno::ENOMEM),
        ("mprotect, no such right", nr::MPROTECT, [at, page, 1 << 20, 0, 0, 0], Errno::EINVAL),
        ("madvise odd", nr::MADVISE, [at + 1, page, 4, 0, 0, 0], Errno::EINVAL),
        ("write from a hole", nr::WRITE, [1, hole, 8, 0, 0, 0], Errno::EFAULT),
        ("write to no file", nr::WRITE, [minus, at, 8, 0, 0, 0], Errno::EBADF),
        ("clock_gettime, no such clock", nr::CLOCK_GETTIME, [99, at, 0, 0, 0, 0], Errno::EINVAL),
        ("clock_gettime into a hole", nr::CLOCK_GETTIME, [1, hole, 0, 0, 0, 0], Errno::EFAULT),
        ("futex wait, another value", nr::FUTEX, [at, 0, 12345, 0, 0, 0], Errno::EAGAIN),
        ("wait4 without children", nr::WAIT4, [minus, 0, 0, 0, 0, 0], Errno::ECHILD),
    ];
    let no_replace = private | flag::FIXED_NOREPLACE;
    let not_in_qemu: [Row; 3] = [
        ("madvise of a hole", nr::MADVISE, [hole, page, 4, 0, 0, 0], Errno::ENOMEM),
        ("mmap no-replace", nr::MMAP, [at, page, rw, no_replace, minus, 0], Errno::EEXIST),
        ("madvise, no such advice", nr::MADVISE, [at, page, 12345, 0, 0, 0], Errno::EINVAL),
    ];
    let rows = table.iter().chain(not_in_qemu.iter().filter(|_| strict));
    for (what, nr, arguments, expected) in rows.clone() {
        // SAFETY: each call fails; where one does not, this process only exits.
        let seen = syscall::result(unsafe { syscall::raw(*nr, *arguments) });
        expect!(Err(*expected), seen, "badargs: {what}");
    }
    map.check(0..3, 1, format_args!("badargs: memory afterwards"));
    map.unmap(0..3);
    rows.count()
}
