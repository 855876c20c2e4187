//! /proc about a process: what it says of mappings and of pages, also while they change.

use core::ffi::CStr;
use core::sync::atomic::Ordering::Relaxed;
use guests::calls::*;
use guests::process::{End, child};
use guests::syscall::{self, Errno, flag, nr, prot};
use guests::{Map, expect, fail, page_size, println};

const ESRCH: Errno = Errno(3);
const PRESENT: u64 = 1 << 63;
const FILE: u64 = 1 << 61;
const EXCLUSIVE: u64 = 1 << 56;

pub fn run() {
    memory();
    pages();
    long();
    ended();
    println!("files: /proc says what is mapped, and what of it is in memory");
}

fn opened(path: &CStr) -> usize {
    open(path, 0).unwrap_or_else(|error| fail!("open of {path:?}: {error}"))
}

/// A file's lines, read a few bytes at a time.
struct Lines {
    file: usize,
    piece: usize,
    text: [u8; 512],
    filled: usize,
    used: usize,
}

impl Lines {
    fn of(path: &CStr, piece: usize) -> Lines {
        Lines { file: opened(path), piece, text: [0; 512], filled: 0, used: 0 }
    }

    /// The next line, without its end; none at the end of the file.
    fn next(&mut self) -> Option<&[u8]> {
        self.text.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        loop {
            if let Some(end) = self.text[..self.filled].iter().position(|byte| *byte == b'\n') {
                self.used = end + 1;
                return Some(&self.text[..end]);
            }
            let end = (self.filled + self.piece).min(self.text.len());
            match read(self.file, &mut self.text[self.filled..end]) {
                Ok(0) => {
                    expect!(0, self.filled, "bytes behind the last line");
                    expect!(Ok(0), close(self.file), "close");
                    return None;
                }
                Ok(got) => self.filled += got,
                Err(error) => fail!("read of /proc: {error}"),
            }
        }
    }
}

/// What a line of smaps says; none that it is another mapping's first.
fn field<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    line.strip_prefix(name.as_bytes())?.strip_prefix(b":")
}

fn number(text: &[u8]) -> usize {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
}

/// Where the mapping of a line of maps begins.
fn start(line: &[u8]) -> Option<usize> {
    let end = line.iter().position(|byte| *byte == b'-')?;
    line[..end].iter().try_fold(0, |sum, digit| {
        Some(sum << 4 | usize::try_from(char::from(*digit).to_digit(16)?).ok()?)
    })
}

/// In KiB, what smaps says of the mapping that begins there: in memory, its share, dirty and alone,
/// dirty and shared, anonymous, locked; and whether its flags are these.
fn smaps(address: usize, flags: &str) -> [usize; 6] {
    const NAMES: [&str; 6] = ["Rss", "Pss", "Private_Dirty", "Shared_Dirty", "Anonymous", "Locked"];
    let mut lines = Lines::of(c"/proc/self/smaps", 100);
    let (mut here, mut found, mut said) = (false, [usize::MAX; 6], false);
    while let Some(line) = lines.next() {
        if let Some(start) = start(line) {
            here = start == address;
        }
        for (name, found) in NAMES.iter().zip(&mut found).filter(|_| here) {
            if let Some(text) = field(line, name) {
                *found = number(text);
            }
        }
        if let Some(text) = field(line, "VmFlags").filter(|_| here) {
            said = true;
            let same = text.strip_prefix(b" ").and_then(|text| text.strip_suffix(b" "));
            expect!(Some(flags.as_bytes()), same, "VmFlags of the mapping at {address:x}");
        }
    }
    expect!(true, said, "the mapping at {address:x} in /proc/self/smaps");
    found
}

/// In KiB, what /proc/self/status says.
fn status(name: &str) -> usize {
    let mut lines = Lines::of(c"/proc/self/status", 33);
    let mut found = usize::MAX;
    while let Some(line) = lines.next() {
        if let Some(text) = field(line, name) {
            found = number(text);
        }
    }
    found
}

fn memory() {
    let (map, page) = (Map::private(5), page_size());
    let kib = page >> 10;
    map.fill(1..4, 1);
    let alone = [3 * kib, 3 * kib, 3 * kib, 0, 3 * kib, 0];
    expect!(alone, smaps(map.address(0), "rd wr mr mw me ac"), "smaps");
    let size = status("VmSize");
    expect!(Ok(()), syscall::about(nr::MLOCK, map.address(0), 2 * page, 0), "mlock");
    expect!(2 * kib, status("VmLck"), "VmLck");
    expect!(size, status("VmSize"), "VmSize");
    expect!(2 * kib, smaps(map.address(0), "rd wr mr mw me lo ac")[5], "what is locked");
    expect!(Ok(()), syscall::about(nr::MUNLOCK, map.address(0), 2 * page, 0), "munlock");
    expect!(0, status("VmLck"), "VmLck after munlock");
    // Four pages are in memory, each a child's too.
    child(|| {
        map.word(1, 0).store(1, Relaxed);
        let shared = [4 * kib, kib + 3 * kib / 2, kib, 3 * kib, 4 * kib, 0];
        expect!(shared, smaps(map.address(0), "rd wr mr mw me ac"), "smaps of a child");
        0
    })
    .expect(End::Exit(0), format_args!("a child that looks at itself"));
    map.free();
    let file = fresh(c"/read-only");
    expect!(Ok(0), truncate(file, page), "ftruncate");
    expect!(Ok(0), close(file), "close");
    let file = opened(c"/read-only");
    let at = self::map(file, page, prot::READ, flag::SHARED, 0).unwrap_or(0);
    expect!(0, smaps(at, "rd mr me ms")[0], "a file that was not touched");
    expect!(Ok(()), syscall::munmap(at, page), "munmap");
    expect!(Ok(0), close(file), "close");
    expect!(Ok(0), unlink(c"/read-only"), "unlink");
}

/// The words of /proc/self/pagemap for the pages from an address on.
fn words<const N: usize>(address: usize) -> [u64; N] {
    let file = opened(c"/proc/self/pagemap");
    let mut words = [0u64; N];
    let at = words.as_mut_ptr() as usize;
    let offset = address / page_size() * 8;
    expect!(Ok(8 * N), call(67, [file, at, 8 * N, offset, 0, 0]), "pread of pagemap");
    expect!(Ok(0), close(file), "close");
    words
}

fn pages() {
    let (private, shared) = (Map::private(4), Map::shared(2));
    private.fill(1..3, 2);
    shared.fill(0..1, 3);
    let own = PRESENT | EXCLUSIVE;
    expect!([0, own, own, 0], words(private.address(0)), "pagemap of private pages");
    expect!([own | FILE, 0], words(shared.address(0)), "pagemap of shared pages");
    child(|| {
        private.word(2, 0).store(1, Relaxed);
        expect!([0, PRESENT, own], words(private.address(0)), "pagemap of a child");
        0
    })
    .expect(End::Exit(0), format_args!("a child that looks at its pages"));
    private.unmap(0..4);
    expect!([0; 4], words(private.address(0)), "pagemap of a hole");
    shared.free();
    let file = opened(c"/proc/self/pagemap");
    let mut bytes = [0; 16];
    expect!(Err(EINVAL), pread(file, &mut bytes, 4), "pagemap, an odd place");
    expect!(Err(EINVAL), pread(file, &mut bytes[..12], 0), "pagemap, an odd length");
    expect!(Err(EINVAL), call(67, [file, bytes.as_ptr() as usize, (1 << 20) + 4, 0, 0, 0]), "long");
    expect!(Ok(0), pread(file, &mut bytes, 1 << 60), "pagemap beyond the last page");
    expect!(Err(EACCES), open(c"/proc/self/pagemap", WRITE_ONLY), "pagemap to be written");
    expect!(Ok(0), close(file), "close");
}

/// More mappings than any one read shows; some go while the list is read.
fn long() {
    const PAGES: usize = 1000;
    let map = Map::private(PAGES);
    (0..PAGES).step_by(2).for_each(|page| map.protect(page..page + 1, prot::READ));
    let range = map.address(0)..map.address(PAGES - 1) + page_size();
    let mut lines = Lines::of(c"/proc/self/maps", 7);
    let (mut found, mut last) = (0, 0);
    while let Some(line) = lines.next() {
        let Some(at) = start(line) else { fail!("a line of /proc/self/maps without an address") };
        expect!(true, at > last, "ascending addresses in /proc/self/maps");
        last = at;
        if range.contains(&at) {
            found += 1;
            if found == PAGES / 2 {
                // What has been read goes: none of the rest may be missed.
                map.unmap(0..PAGES / 4);
            }
        }
    }
    expect!(PAGES, found, "mappings in /proc/self/maps");
    map.unmap(PAGES / 4..PAGES);
}

/// A process's file, when the process has ended.
fn ended() {
    let ends = syscall::pipe2(0).unwrap_or([-1; 2]).map(|end| end as usize);
    let waiting = child(|| {
        let _ = close(ends[1]);
        let _ = read(ends[0], &mut [0]);
        0
    });
    let mut path = *b"/proc/0000000000/maps\0";
    let mut rest = waiting.number();
    for digit in path[6..16].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let digits = path[6..16].iter().position(|digit| *digit != b'0').unwrap_or(0);
    path.copy_within(6 + digits.., 6);
    let path = CStr::from_bytes_until_nul(&path).unwrap_or(c"");
    let file = opened(path);
    expect!(Ok(1), read(file, &mut [0]), "a byte of another's maps");
    expect!(Ok(0), close(ends[1]), "close");
    waiting.expect(End::Exit(0), format_args!("a child that waits"));
    expect!(Err(ESRCH), pread(file, &mut [0], 0), "maps of a process that has ended");
    for file in [file, ends[0]] {
        expect!(Ok(0), close(file), "close");
    }
}
