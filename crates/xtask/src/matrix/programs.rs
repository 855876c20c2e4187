//! The programs of the matrix: those that touch more than four times the least memory of a format,
//! 64 pages, of which tables, which are not swapped, are a small part; and that write the same whenever
//! they run. SQLite on pages of 64 KiB touches less, however many rows it has.
//!
//! Left out: `hello`, `pie`, `handlers`, `limits`, `spin`, `planted`, `torture`, `remap`, `files`,
//! `float`, `stdio`, `signals` and `waits`, which touch less, whatever their arguments; `tour`, `paging`,
//! `mapped`, `compute` and `bench`, which write times; `hog`, `mlocked`, `swapper` and `swaps`, which
//! ask for a machine of their own, in the tests of `vmspace-cli`.

use crate::guests::{Run, Setting};

/// A program, with arguments for pages of a size.
pub struct Program {
    pub name: &'static str,
    run: fn(&str, Setting) -> Run,
    arguments: fn(u64) -> String,
    /// Whether it has a fresh directory of the host's for its `/`.
    rooted: bool,
    /// The largest pages of which it touches enough.
    largest: u64,
}

/// How many pages those programs touch that are told how much.
const PAGES: u64 = 512;

/// So many pages of a size, in KiB.
fn kib(page: u64) -> u64 {
    (PAGES * page) >> 10
}

const fn rust(name: &'static str, arguments: fn(u64) -> String) -> Program {
    Program { name, run: Run::rust, arguments, rooted: false, largest: u64::MAX }
}

const fn c(name: &'static str, arguments: fn(u64) -> String) -> Program {
    Program { name, run: Run::c, arguments, rooted: false, largest: u64::MAX }
}

/// All of them. What takes bytes rather than pages is asked for more where pages are large.
pub const PROGRAMS: [Program; 12] = [
    rust("pressure", |page| format!("{} 2 2", kib(page))),
    rust("forkpressure", |page| format!("{}", kib(page))),
    rust("shmpressure", |page| format!("{} 2", kib(page))),
    Program { rooted: true, ..rust("filepressure", |page| format!("{} 2", kib(page))) },
    rust("threads", |_| "24 2".to_owned()),
    rust("forks", |_| "1 3 128".to_owned()),
    rust("stale", |_| "all 6".to_owned()),
    rust("exec", |_| String::new()),
    c("malloc_threads", |page| format!("{} 150", (page >> 10).max(8))),
    c("fork_tree", |page| format!("1 2 {}", kib(page) / 4)),
    c("barrier", |_| "3 5 160".to_owned()),
    Program { rooted: true, largest: 16 << 10, ..c("sqlite", |_| "test.db 100 2 2".to_owned()) },
];

impl Program {
    /// Whether it touches enough pages of a size.
    pub fn fills(&self, page: u64) -> bool {
        page <= self.largest
    }

    /// A run of it.
    pub fn run(&self, setting: Setting) -> Run {
        let line = format!("{} {}", self.name, (self.arguments)(setting.page_size));
        (self.run)(line.trim_end(), setting).rooted(self.rooted)
    }
}
