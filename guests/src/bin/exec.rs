//! `exec`: a program that goes on as itself, in every way in which a program can.
//!
//! With arguments it is the new program: each kind checks what Linux leaves it with and exits with a
//! status of its own. `exec run PATH [ARG...]` executes another one, or says the error's number.
#![no_std]
#![no_main]

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering::*};
use guests::process::{Child, End, child, vfork};
use guests::signal::{self, Action, Context, Info, number};
use guests::syscall::{self, Errno, execve, futex_wait, nr};
use guests::{Args, Map, expect, fail, page_size, println, start, thread};

guests::main!(main);

const SELF: &CStr = c"/proc/self/exe";
const ENVIRONMENT: &CStr = c"NAME=value";
const CLOEXEC: usize = 0o2_000_000;

/// What the new program exits with when it is content.
const CONTENT: i32 = 42;

fn main(args: Args) {
    let Some(kind) = args.get(1) else { return all() };
    match kind {
        "arguments" => new_arguments(args),
        "alone" => new_alone(args),
        "signals" => new_signals(),
        "descriptors" => new_descriptors(args),
        "again" => new_again(args),
        "run" => run_another(args),
        _ => start::usage(1, kind, "none, or a kind that the program itself gives"),
    }
    syscall::exit_group(CONTENT)
}

fn all() {
    arguments();
    println!("exec: arguments and environment arrive, by fork and by vfork");
    threads();
    println!("exec: the other threads end, and the process keeps its number");
    signals();
    println!("exec: handlers go; what is ignored, masked and pending stays");
    descriptors();
    println!("exec: what is to be closed is closed");
    again();
    println!("exec: 40 programs after one another, each with 8 MiB");
    errors();
    println!("exec: what fails changes nothing");
    println!("ok");
}

fn content(child: Child, what: &str) {
    child.expect(End::Exit(CONTENT), format_args!("exec: {what}"));
}

/// Executes this program; only failing comes back.
fn run(arguments: &[&CStr]) -> i32 {
    let error = execve(SELF, arguments, ENVIRONMENT);
    fail!("execve of {SELF:?}: {error}")
}

fn run_another(args: Args) {
    let mut list = [c""; 12];
    let strings = (2..).map_while(|index| args.string(index));
    let count = list.iter_mut().zip(strings).map(|(to, string)| *to = string).count();
    let error = execve(list[0], &list[..count], ENVIRONMENT);
    println!("execve: {error}");
    syscall::exit_group(1)
}

fn arguments() {
    let list = [c"a name", c"arguments", c"", c"with two  spaces", c"\xc3\xa4"];
    content(child(|| run(&list)), "arguments after fork");
    let memory = Map::private(4);
    memory.fill(0..4, 7);
    content(vfork(|| run(&list)), "arguments after vfork");
    memory.check(0..4, 7, format_args!("exec: memory of a parent that lent it"));
    memory.free();
}

fn new_arguments(args: Args) {
    for (index, wanted) in
        ["a name", "arguments", "", "with two  spaces", "\u{e4}"].iter().enumerate()
    {
        expect!(Some(*wanted), args.get(index), "exec: argument {index}");
    }
    expect!(5, args.count(), "exec: arguments");
    expect!(Some("NAME=value"), args.environment(0), "exec: environment");
    expect!(None, args.environment(1), "exec: environment");
}

/// Decimal digits, as a string.
fn digits(mut number: usize, into: &mut [u8; 24]) -> &CStr {
    let mut at = into.len() - 1;
    into[at] = 0;
    loop {
        at -= 1;
        into[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    CStr::from_bytes_until_nul(&into[at..]).unwrap_or(c"")
}

/// Threads that spin and threads that sleep while another, or the first, executes a program.
fn threads() {
    for executes in [0, 3, usize::MAX] {
        let process = child(|| {
            let pid = syscall::getpid();
            let alone = || run(&[c"exec", c"alone", digits(pid, &mut [0; 24])]);
            let never = core::sync::atomic::AtomicU32::new(0);
            let there = AtomicU64::new(0);
            thread::run(6, |index| {
                there.fetch_add(1, AcqRel);
                if index == executes || executes == usize::MAX {
                    while there.load(Acquire) < 6 {
                        core::hint::spin_loop();
                    }
                    alone();
                }
                // Nobody wakes them: half of them sleep and half of them spin until they are ended.
                while never.load(Acquire) == 0 {
                    if index % 2 == 1 {
                        futex_wait(&never, 0);
                    }
                }
            });
            1
        });
        content(process, "a process with threads");
    }
}

fn new_alone(args: Args) {
    let pid = args.number(2, 0);
    expect!((pid, pid), (syscall::getpid(), syscall::gettid()), "exec: process and thread");
    expect!(Err(Errno::ECHILD), syscall::wait4(-1), "exec: children");
}

extern "C" fn handler(_: usize, _: &Info, _: &mut Context) {
    fail!("exec: a handler ran");
}

fn signals() {
    let process = child(|| {
        let (one, two) = (number::USR1, number::USR2);
        signal::set(one, Action { handler: signal::IGNORE, flags: signal::NODEFER, mask: 2 });
        signal::set(two, Action::handler(handler, signal::ONSTACK));
        signal::set(number::TERM, Action::handler(handler, 0));
        let stack = Map::private(4);
        let given = signal::alternate_stack([stack.address(0), 0, 4 * page_size()]);
        expect!(true, given.is_ok(), "exec: an alternate stack");
        signal::set_mask(signal::bit(number::TERM));
        signal::raise(number::TERM);
        run(&[c"exec", c"signals"])
    });
    content(process, "signals");
}

fn new_signals() {
    let ignored = Action { handler: signal::IGNORE, ..Action::default() };
    expect!(ignored, signal::action(number::USR1), "exec: a signal that was ignored");
    for handled in [number::USR2, number::TERM] {
        expect!(Action::default(), signal::action(handled), "exec: signal {handled}");
    }
    let term = signal::bit(number::TERM);
    expect!(term, signal::pending(), "exec: pending signals");
    let alternate = signal::alternate_stack([0, signal::NO_STACK, 0]);
    expect!(Ok([0, signal::NO_STACK, 0]), alternate, "exec: no alternate stack");
    expect!(term, signal::set_mask(term), "exec: the mask");
}

fn descriptors() {
    let process = child(|| {
        let (kept, closed) = (pipe(0), pipe(CLOEXEC));
        let sent = syscall::write(kept[1] as usize, b"through");
        expect!(Ok(7), sent, "exec: a write to a pipe");
        let mut texts = [[0; 24]; 3];
        let [one, two, three] = &mut texts;
        let (one, two) = (digits(kept[0] as usize, one), digits(closed[0] as usize, two));
        run(&[c"exec", c"descriptors", one, two, digits(closed[1] as usize, three)])
    });
    content(process, "descriptors");
}

fn pipe(flags: usize) -> [i32; 2] {
    syscall::pipe2(flags).unwrap_or_else(|error| fail!("pipe2: {error}"))
}

fn new_descriptors(args: Args) {
    let mut bytes = [0; 16];
    let read = syscall::read(args.number(2, 0), &mut bytes);
    expect!((Ok(7), &b"through"[..]), (read, &bytes[..7]), "exec: the pipe that was kept");
    for index in [3, 4] {
        let closed = syscall::close_on_exec(args.number(index, 0));
        expect!(Err(Errno::EBADF), closed, "exec: a descriptor to be closed");
    }
}

fn again() {
    content(child(|| run(&[c"exec", c"again", c"40"])), "again and again");
}

fn new_again(args: Args) {
    let left = args.number(2, 0);
    let map = Map::private((8 << 20) / page_size());
    map.check(0..map.pages(), 0, format_args!("exec: fresh memory"));
    map.fill(0..map.pages(), 1 + left as u64);
    if left > 0 {
        run(&[c"exec", c"again", digits(left - 1, &mut [0; 24])]);
    }
}

fn errors() {
    let map = Map::private(64);
    let hole = map.address(63);
    syscall::munmap(hole, page_size()).unwrap_or_else(|error| fail!("munmap: {error}"));
    // SAFETY: fresh memory that is mapped, and nobody else's.
    let words = unsafe { map.numbers(0..63 * Map::words()) };
    let bytes = words.as_mut_ptr().cast::<u8>();
    let long = |at: usize, length: usize| {
        // SAFETY: within the map, as the lengths below are.
        unsafe {
            bytes.add(at).write_bytes(b'x', length);
            bytes.add(at + length).write(0);
        }
        bytes as usize + at
    };
    let path = SELF.as_ptr() as usize;
    let own = [path, 0];
    let long_path = long(0, 4096);
    let list_in_hole = [hole, 0];
    let cut_list = hole - 8;
    // SAFETY: the last word in front of the hole: a list without an end.
    unsafe { (cut_list as *mut usize).write(path) };
    let empty = c"".as_ptr() as usize;
    let nowhere = c"/no/such/program".as_ptr() as usize;
    let own_list = own.as_ptr() as usize;
    let mut table = [
        ("nothing there", [nowhere, own_list, 0], Errno::ENOENT),
        ("an empty path", [empty, own_list, 0], Errno::ENOENT),
        ("a path in a hole", [hole, own_list, 0], Errno::EFAULT),
        ("a path that is too long", [long_path, own_list, 0], Errno::ENAMETOOLONG),
        ("arguments in a hole", [path, hole, 0], Errno::EFAULT),
        ("an argument in a hole", [path, list_in_hole.as_ptr() as usize, 0], Errno::EFAULT),
        ("a list that ends in a hole", [path, cut_list, 0], Errno::EFAULT),
        ("an environment in a hole", [path, own_list, hole], Errno::EFAULT),
        ("an argument that is too long", [path, 0, 0], Errno::E2BIG),
    ];
    let long_argument = [long(0, 128 << 10), 0];
    table[8].1[1] = long_argument.as_ptr() as usize;
    for (what, [path, arguments, environment], wanted) in table {
        // SAFETY: the call fails; where it does not, the new program says so by its status.
        let seen = unsafe { syscall::raw(nr::EXECVE, [path, arguments, environment, 0, 0, 0]) };
        expect!(Err(wanted), syscall::result(seen), "execve with {what}");
    }
    // SAFETY: as above.
    let seen = unsafe { syscall::raw(nr::EXECVEAT, [usize::MAX, path, own_list, 0, 1 << 20, 0]) };
    expect!(Err(Errno::EINVAL), syscall::result(seen), "execveat with unknown flags");
    many_arguments(path);
}

/// More than 2 MiB of arguments, none of which is too long.
fn many_arguments(path: usize) {
    let text = Map::private((128usize << 10) / page_size());
    // SAFETY: fresh memory of our own.
    let (words, list) =
        unsafe { (text.numbers(0..text.all_words()), Map::private(1).numbers(0..18)) };
    words.fill(u64::from_le_bytes(*b"argument"));
    words[words.len() - 1] = 0;
    list[..17].fill(text.address(0) as u64);
    // SAFETY: the call fails.
    let seen = unsafe { syscall::raw(nr::EXECVE, [path, list.as_ptr() as usize, 0, 0, 0, 0]) };
    expect!(Err(Errno::E2BIG), syscall::result(seen), "execve with too many arguments");
}
