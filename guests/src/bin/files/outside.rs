//! Ways out of the root, none of which leads anywhere.

use core::ffi::CStr;
use guests::calls::*;
use guests::{expect, println};

/// What the host has, and the root has not.
const WAYS: [&CStr; 10] = [
    c"/../etc/passwd",
    c"../../../../etc/passwd",
    c"/o/up/etc/passwd",
    c"/o/far/passwd",
    c"/o/absolute",
    c"/proc/self/root/../etc/passwd",
    c"/proc/self/cwd/../../etc/passwd",
    c"/proc/1/root/etc/passwd",
    c"/proc/1/cwd",
    c"/proc/kcore",
];

pub fn run() {
    expect!(Ok(0), mkdir(c"/o"), "mkdir");
    expect!(Ok(0), symlink(c"../../../../..", c"/o/up"), "a link upwards");
    expect!(Ok(0), symlink(c"/../../etc", c"/o/far"), "a link to a directory outside");
    expect!(Ok(0), symlink(c"/etc/passwd", c"/o/absolute"), "a link to a file outside");
    for way in WAYS {
        expect!(Err(ENOENT), open(way, 0), "{way:?}");
    }
    // What a link seems to lead out to is made inside.
    expect!(Ok(0), symlink(c"/../../outside", c"/o/made"), "a link to what is not there");
    let made = open(c"/o/made", CREATE | READ_WRITE);
    expect!(true, made.is_ok(), "a file made by a link upwards");
    expect!(Ok(0), close(made.unwrap_or(0)), "close");
    expect!(Ok(0), unlink(c"/outside"), "the file is in the root");
    let root = open(c"/", DIRECTORY).unwrap_or(usize::MAX);
    expect!(Err(ENOENT), call(56, [root, c"../etc/passwd".as_ptr() as usize, 0, 0, 0, 0]), "..");
    expect!(Ok(0), close(root), "close");
    expect!(Ok(0), chdir(c"/o/up"), "chdir by a link upwards");
    let mut path = [0; 8];
    expect!((Ok(2), b'/'), (getcwd(&mut path), path[0]), "the root above the root");
    expect!(Err(ENXIO), open(c"/proc/self/fd/99", 0).or(Err(ENXIO)), "a descriptor that is none");
    for path in [c"/o/up", c"/o/far", c"/o/absolute", c"/o/made"] {
        expect!(Ok(0), unlink(path), "unlink {path:?}");
    }
    expect!(Ok(0), rmdir(c"/o"), "rmdir");
    println!("files: {} ways out lead nowhere", WAYS.len());
}
