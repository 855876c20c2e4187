//! Names: making, finding, renaming and removing them.

use core::ffi::CStr;
use guests::calls::*;
use guests::{expect, println};

pub fn run() {
    expect!(Ok(0), mkdir(c"/n"), "mkdir");
    expect!(Err(EEXIST), mkdir(c"/n"), "mkdir again");
    expect!(Err(ENOENT), mkdir(c"/no/n"), "mkdir in nothing");
    let file = fresh(c"/n/file");
    expect!(Err(EEXIST), open(c"/n/file", CREATE | EXCLUSIVE | READ_WRITE), "O_EXCL");
    expect!(Err(ENOTDIR), open(c"/n/file/", 0), "a file with a slash behind it");
    expect!(Err(ENOTDIR), open(c"/n/file/x", 0), "a file as a directory");
    expect!(Err(ENOTDIR), open(c"/n/file", DIRECTORY), "O_DIRECTORY of a file");
    expect!(Err(EISDIR), open(c"/n", READ_WRITE), "a directory to be written");
    expect!(Err(EISDIR), open(c"/n/new/", CREATE | READ_WRITE), "a new file with a slash");
    expect!(Err(ENOENT), open(c"", 0), "no path");
    links(file);
    expect!(Err(ENOTEMPTY), rmdir(c"/n"), "rmdir of a full directory");
    expect!(Err(ENOTDIR), rmdir(c"/n/file"), "rmdir of a file");
    expect!(Err(EISDIR), unlink(c"/n"), "unlink of a directory");
    expect!(Err(EINVAL), rmdir(c"/n/."), "rmdir of .");
    expect!(Err(EBUSY), rmdir(c"/proc"), "rmdir of /proc");
    renames();
    directories();
    large();
    expect!(Ok(0), unlink(c"/n/file"), "unlink");
    expect!(Ok((0o100_644, 0, 0)), stat(file), "a file without names");
    expect!(Ok(0), close(file), "close");
    expect!(Err(EBADF), close(file), "close again");
    expect!(Ok(0), rmdir(c"/n"), "rmdir");
    println!("files: names are made, followed, renamed, listed and removed");
}

fn links(file: usize) {
    expect!(Ok(0), link(c"/n/file", c"/n/other"), "link");
    expect!(Ok((0o100_644, 2, 0)), stat(file), "a file with two names");
    expect!(Err(EPERM), link(c"/n", c"/n/directory"), "link of a directory");
    expect!(Ok(0), unlink(c"/n/other"), "unlink of the second name");
    expect!(Ok(0), symlink(c"file", c"/n/soft"), "symlink");
    expect!(Err(EEXIST), symlink(c"file", c"/n/soft"), "symlink again");
    expect!(Err(ENOENT), symlink(c"", c"/n/empty"), "symlink to nothing");
    expect!(Err(ELOOP), open(c"/n/soft", NOFOLLOW), "O_NOFOLLOW of a link");
    let mut target = [0; 3];
    expect!(Ok(3), readlink(c"/n/soft", &mut target), "readlink, cut short");
    expect!(b"fil", &target, "readlink");
    expect!(Err(EINVAL), readlink(c"/n/file", &mut target), "readlink of a file");
    let same = open(c"/n/soft", 0);
    expect!(true, same.is_ok(), "open by a link");
    expect!(Ok(0), close(same.unwrap_or(0)), "close");
    expect!(Ok(0), symlink(c"two", c"/n/one"), "a link of a circle");
    expect!(Ok(0), symlink(c"one", c"/n/two"), "a link of a circle");
    expect!(Err(ELOOP), open(c"/n/one", 0), "a circle of links");
    // A link that leads to nothing: what is made is what it leads to.
    expect!(Ok(0), symlink(c"/n/made", c"/n/dangling"), "a link to nothing");
    let made = open(c"/n/dangling", CREATE | READ_WRITE);
    expect!(true, made.is_ok(), "made by a link");
    expect!(Ok(0), close(made.unwrap_or(0)), "close");
    for path in [c"/n/made", c"/n/dangling", c"/n/one", c"/n/two", c"/n/soft"] {
        expect!(Ok(0), unlink(path), "unlink {path:?}");
    }
    nameless();
    let mut long = [b'x'; 300];
    long[299] = 0;
    let long = core::ffi::CStr::from_bytes_until_nul(&long).unwrap_or(c"");
    expect!(Err(ENAMETOOLONG), open(long, CREATE | READ_WRITE), "a name of 299 bytes");
}

/// What has no name any more gets none, nor does a memory file; O_TMPFILE's files do.
fn nameless() {
    const TMPFILE: usize = 0o20_000_000;
    const FOLLOW: usize = 0x400;
    let name = |file: usize, path: &core::ffi::CStr| {
        let mut by = *b"/proc/self/fd/0\0";
        by[14] += file as u8;
        expect!(true, file < 10, "a number of one digit");
        call(37, [HERE, by.as_ptr() as usize, HERE, path.as_ptr() as usize, FOLLOW, 0])
    };
    let gone = fresh(c"/n/gone");
    expect!(Ok(0), unlink(c"/n/gone"), "unlink");
    expect!(Err(ENOENT), name(gone, c"/n/again"), "a name for what was unlinked");
    expect!(Ok(0), close(gone), "close");
    let memory = memory_file(c"memory").unwrap_or(0);
    expect!(Err(EXDEV), name(memory, c"/dev/shm/memory"), "a name for a memory file");
    expect!(Ok(0), close(memory), "close");
    // The host's file system may not know them.
    if let Ok(file) = open(c"/n", TMPFILE | DIRECTORY | READ_WRITE) {
        expect!(Ok(0), name(file, c"/n/named"), "a name for O_TMPFILE's file");
        expect!(Ok(0), unlink(c"/n/named"), "unlink");
        expect!(Ok(0), close(file), "close");
    }
}

fn renames() {
    const NOREPLACE: usize = 1;
    close(fresh(c"/n/from")).unwrap_or(0);
    expect!(Err(EEXIST), rename(c"/n/from", c"/n/file", NOREPLACE), "RENAME_NOREPLACE");
    expect!(Ok(0), rename(c"/n/from", c"/n/to", 0), "rename");
    expect!(Err(ENOENT), open(c"/n/from", 0), "the old name");
    expect!(Ok(0), mkdir(c"/n/d"), "mkdir");
    expect!(Err(EISDIR), rename(c"/n/to", c"/n/d", 0), "rename of a file to a directory");
    expect!(Err(ENOTDIR), rename(c"/n/d", c"/n/to", 0), "rename of a directory to a file");
    expect!(Err(EINVAL), rename(c"/n/d", c"/n/d/e", 0), "rename into itself");
    expect!(Err(EBUSY), rename(c"/proc", c"/n/proc", 0), "rename of /proc");
    let mut path = [0; 16];
    expect!(Ok(0), chdir(c"/n/d"), "chdir");
    expect!(Ok(0), rename(c"/n/d", c"/n/e", 0), "rename of the working directory");
    expect!(Ok(5), getcwd(&mut path), "getcwd");
    expect!(b"/n/e\0", &path[..5], "the directory's new name");
    expect!(Ok(0), chdir(c".."), "up");
    expect!(Ok(3), getcwd(&mut path), "getcwd after ..");
    expect!(Err(ENOTDIR), chdir(c"file"), "chdir to a file");
    expect!(Ok(0), chdir(c"/"), "chdir");
    expect!(Ok(0), rmdir(c"/n/e"), "rmdir");
    expect!(Ok(0), unlink(c"/n/to"), "unlink");
}

/// Names come sorted, each once, in as many calls as it takes.
fn directories() {
    for path in [c"/n/c", c"/n/a", c"/n/b"] {
        close(fresh(path)).unwrap_or(0);
    }
    let directory = open(c"/n", DIRECTORY).unwrap_or(usize::MAX);
    let mut names = [0u8; 64];
    let mut length = 0;
    let mut buffer = [0; 48];
    expect!(Err(EINVAL), entries(directory, &mut buffer[..8]), "getdents64, too little room");
    while let Ok(1..) = entries(directory, &mut buffer) {
        let mut at = 0;
        while at + 19 < buffer.len() && buffer[at + 16] != 0 {
            let name = &buffer[at + 19..at + usize::from(buffer[at + 16])];
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
            names[length..length + end].copy_from_slice(&name[..end]);
            names[length + end] = b' ';
            length += end + 1;
            at += usize::from(buffer[at + 16]);
        }
        buffer = [0; 48];
    }
    expect!(b". .. a b c file ", &names[..length], "the names in a directory");
    expect!(Ok(0), close(directory), "close");
    for path in [c"/n/c", c"/n/a", c"/n/b"] {
        expect!(Ok(0), unlink(path), "unlink {path:?}");
    }
}

/// A name from a number.
fn numbered(number: usize, name: &mut [u8; 13]) -> &CStr {
    *name = *b"/large/0000\0\0";
    let mut rest = number;
    for digit in name[7..11].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    CStr::from_bytes_until_nul(name).unwrap_or(c"")
}

/// A directory with more names than are listed at once, which go while they are read.
fn large() {
    const NAMES: usize = 1500;
    expect!(Ok(0), mkdir(c"/large"), "mkdir");
    let mut name = [0; 13];
    for number in (0..NAMES).rev() {
        close(fresh(numbered(number, &mut name))).unwrap_or(0);
    }
    let directory = open(c"/large", DIRECTORY).unwrap_or(usize::MAX);
    let (mut buffer, mut found) = ([0; 4096], 0);
    while let Ok(length @ 1..) = entries(directory, &mut buffer) {
        let mut at = 0;
        while at < length {
            if buffer[at + 19] != b'.' {
                let path = numbered(found, &mut name);
                let same = buffer[at + 19..].starts_with(&path.to_bytes()[7..]);
                expect!(true, same, "name {found} of a large directory");
                expect!(Ok(0), unlink(path), "unlink of name {found}");
                found += 1;
            }
            at += usize::from(buffer[at + 16]);
        }
    }
    expect!(NAMES, found, "names in a large directory");
    expect!(Ok(0), seek(directory, 0, 0), "lseek");
    expect!(Ok(48), entries(directory, &mut buffer), "the dots that are left");
    expect!(Ok(0), close(directory), "close");
    expect!(Ok(0), rmdir(c"/large"), "rmdir");
}
