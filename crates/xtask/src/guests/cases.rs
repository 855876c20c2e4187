//! What each Rust guest writes and how it ends: as on Linux.

use super::Setting;
use crate::process::Outcome;

/// A guest with arguments, and what it does.
pub struct Case {
    pub line: &'static str,
    pub harts: u64,
    /// Whether it has a fresh directory of the host's for its `/`.
    pub root: bool,
    /// Whether it runs data and expects to die of it, which i386's tables cannot deny.
    pub runs_data: bool,
    status: i32,
    /// Lines of standard output, in order: `*` stands for anything, `{page}` for the page size.
    output: &'static [&'static str],
}

const fn ends(line: &'static str, status: i32, output: &'static [&'static str]) -> Case {
    Case { line, harts: 2, root: false, runs_data: false, status, output }
}

const fn succeeds(line: &'static str, output: &'static [&'static str]) -> Case {
    ends(line, 0, output)
}

/// What `files` writes, wherever its files are.
const FILES: &[&str] = &[
    "files: names are made, followed, renamed, listed and removed",
    "files: bytes are where they were written",
    "files: mappings, read and write share pages; what is cut off gives SIGBUS",
    "files: locks exclude, wait, are given up, and do not wait in circles",
    "files: 10 ways out lead nowhere",
    "files: /proc says what is mapped, and what of it is in memory",
    "files: 1024 descriptors and no more",
    "ok",
];

/// All of them. 128 and the signal's number is the status of who dies of it.
pub const RUST: &[Case] = &[
    succeeds(
        "hello one two",
        &[
            "hello from riscv64",
            "page size {page}",
            "argument 0: *hello",
            "argument 1: one",
            "argument 2: two",
        ],
    ),
    succeeds("pie", &["pie: relocated itself", "pie: its pointers lead to text", "ok"]),
    succeeds("files", FILES),
    Case { root: true, ..succeeds("files", FILES) },
    succeeds(
        "tour 1024 4",
        &[
            "tour: 1024 KiB in pages of {page} bytes, 4 threads",
            "- sorted 131072 numbers with 4 threads *",
            "- counted them in a hash table *",
            "- forked 2 children that rewrote 1024 KiB each, copy-on-write *",
            "- gave it back, protected and unmapped it; two readers died of SIGSEGV *",
            "ok: all verified *",
        ],
    ),
    succeeds("paging 4 1", &["in order *", "at random *", "ok"]),
    succeeds("threads 4 10", &["threads: 4 threads, 10 rounds, checksum *", "ok"]),
    succeeds("forks 2 3", &["forks: 13 processes in a tree of depth 2 and width 3", "ok"]),
    succeeds(
        "exec",
        &[
            "exec: arguments and environment arrive, by fork and by vfork",
            "exec: the other threads end, and the process keeps its number",
            "exec: handlers go; what is ignored, masked and pending stays",
            "exec: what is to be closed is closed",
            "exec: 40 programs after one another, each with 8 MiB",
            "exec: what fails changes nothing",
            "ok",
        ],
    ),
    Case {
        runs_data: true,
        ..succeeds(
            "handlers",
            &[
                "handlers: signal, code and address of every fault",
                "handlers: alternate stacks: entered, full, disarmed",
                "handlers: what cannot be handled kills",
                "ok",
            ],
        )
    },
    Case { harts: 1, ..succeeds("spin 64", &["spin: 64 threads, the spinner saw the flag", "ok"]) },
    succeeds("spin 33", &["spin: 33 threads, the spinner saw the flag", "ok"]),
    succeeds("planted order 2 20", &["*", "ok"]),
    succeeds("planted reuse 2 20", &["ok"]),
    succeeds(
        "stale all 6",
        &[
            "stale: unmap, 6 rounds",
            "stale: protect, 6 rounds",
            "stale: fork, 6 rounds",
            "stale: cow, 6 rounds",
            "stale: dontneed, 6 rounds",
            "stale: tables, 6 rounds",
            "stale: remap, 6 rounds",
            "ok",
        ],
    ),
    succeeds(
        "remap",
        &[
            "moved pages and tables",
            "grew and shrank",
            "left an empty mapping behind",
            "mapped shared memory twice",
            "counted what is in memory",
            "locked and unlocked",
            "sealed",
            "gave advice for forks",
            "ok",
        ],
    ),
    succeeds("limits", &["ok"]),
    Case {
        runs_data: true,
        ..succeeds(
            "torture all",
            &[
                "wildjump: * each ended by signal 11",
                "nullread: * each ended by signal 11",
                "badaccess: * each ended by signal 11",
                "stackoverflow: * each ended by signal 11",
                "illegal: * each ended by signal 4",
                "ebreak: * each ended by signal 5",
                "misatomic: * each ended by signal 7",
                "abort: * each ended by signal 6",
                "badargs: survived *",
                "badargs: * answers as Linux gives them",
                "selfmod: the new code ran every time",
                "misaligned: every access across a page's end was whole",
                "ok",
            ],
        )
    },
    ends("torture raw wildjump", 139, &[]),
    ends("torture raw stackoverflow", 139, &[]),
    ends("torture raw illegal", 132, &[]),
    ends("torture raw ebreak", 133, &[]),
    ends("torture raw misatomic", 135, &[]),
    ends("torture raw abort", 134, &[]),
    ends("stale nonsense", 2, &[]),
];

impl Case {
    pub fn expected(&self) -> Expected {
        Expected {
            status: self.status,
            lines: self.output.iter().map(|line| (*line).to_owned()).collect(),
        }
    }
}

/// How a run should end.
pub struct Expected {
    pub status: i32,
    pub lines: Vec<String>,
}

impl Expected {
    /// An error that says what is otherwise.
    pub fn compare(&self, outcome: &Outcome, setting: Setting) -> Result<(), String> {
        if outcome.late {
            return Err("hangs, and was killed".to_owned());
        }
        if outcome.status != self.status {
            return Err(format!("exit status {}, not {}", outcome.status, self.status));
        }
        let page = setting.page_size.to_string();
        let mut written = outcome.stdout.lines();
        for line in &self.lines {
            let (wanted, found) = (line.replace("{page}", &page), written.next());
            if !found.is_some_and(|found| matches(&wanted, found)) {
                return Err(format!("wrote {found:?}, not {wanted:?}"));
            }
        }
        written.next().map_or(Ok(()), |line| Err(format!("wrote {line:?} besides")))
    }
}

/// Whether `text` is `pattern`, in which each `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    (0..=text.len()).any(|at| text.is_char_boundary(at) && matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(matches("a*c", "abc") && matches("a*c*", "acc") && matches("*", ""));
        assert!(!matches("a*c", "ab") && !matches("a", "ab") && !matches("b*", "ab"));
    }
}
