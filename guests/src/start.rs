//! The first instructions of a program: finds the arguments and the page size on the stack that Linux
//! (or vmspace) has prepared, and calls the program's main.

use crate::{fail, syscall};
use core::arch::global_asm;
use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

global_asm!(
    ".globl _start",
    "_start:",
    "mv a0, sp", // argc, argv, null, envp, null, auxv
    "andi sp, sp, -16",
    "call {start}",
    start = sym start,
);

unsafe extern "Rust" {
    /// The program's main; [`main!`](crate::main) defines it.
    fn guest_main(args: Args);
}

/// Names the function that the program starts in: `fn(Args)`. When it returns, the program exits 0.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        // SAFETY: the only definition of the symbol that `start` declares, with the same type.
        #[unsafe(no_mangle)]
        fn guest_main(args: $crate::Args) {
            $main(args)
        }
    };
}

static PAGE: AtomicUsize = AtomicUsize::new(0);

/// The page size that the auxiliary vector told: 4 KiB, or 64 KiB on an aarch64-64k format.
pub fn page_size() -> usize {
    PAGE.load(Relaxed)
}

const AT_NULL: usize = 0;
const AT_PAGESZ: usize = 6;

extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the psABI's initial stack: argc, argc pointers, null, pointers, null, pairs up to AT_NULL.
    unsafe {
        let args = Args { count: *stack, vector: stack.add(1).cast() };
        let mut at = stack.add(args.count + 2);
        while *at != 0 {
            at = at.add(1);
        }
        at = at.add(1);
        while *at != AT_NULL {
            if *at == AT_PAGESZ {
                PAGE.store(*at.add(1), Relaxed);
            }
            at = at.add(2);
        }
        if !page_size().is_power_of_two() {
            fail!("auxiliary vector: AT_PAGESZ: expected a power of two, seen {}", page_size());
        }
        guest_main(args);
    }
    syscall::exit_group(0)
}

/// The program's arguments; number 0 is its own name.
#[derive(Clone, Copy)]
pub struct Args {
    count: usize,
    vector: *const *const core::ffi::c_char,
}

impl Args {
    /// How many there are, the program's name included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Argument `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&'static str> {
        self.string(index).map(|string| string.to_str().unwrap_or("(not UTF-8)"))
    }

    /// The same as its bytes.
    pub fn string(&self, index: usize) -> Option<&'static CStr> {
        // SAFETY: below `count` the vector holds pointers to strings that live as long as the program.
        (index < self.count).then(|| unsafe { CStr::from_ptr(*self.vector.add(index)) })
    }

    /// String `index` of the environment, if there is one.
    pub fn environment(&self, index: usize) -> Option<&'static str> {
        // SAFETY: behind the arguments and their null lie the environment's pointers and their null,
        // and none is looked at behind that.
        let string = unsafe {
            let first = self.vector.add(self.count + 1);
            if (0..=index).any(|nth| (*first.add(nth)).is_null()) {
                return None;
            }
            CStr::from_ptr(*first.add(index))
        };
        Some(string.to_str().unwrap_or("(not UTF-8)"))
    }

    /// Argument `index` as a number, or `default` where there is none; anything else ends the program.
    pub fn number(&self, index: usize, default: usize) -> usize {
        let Some(text) = self.get(index) else { return default };
        text.parse().unwrap_or_else(|_| usage(index, text, "a number"))
    }
}

/// Says that argument `index` is not what was `wanted`, and exits 2.
pub fn usage(index: usize, text: &str, wanted: &str) -> ! {
    crate::eprintln!("argument {index} is '{text}': expected {wanted}");
    syscall::exit_group(2)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    fail!("{info}")
}
