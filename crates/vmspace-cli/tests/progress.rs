//! `--progress`: a live line, for terminals alone.

mod common;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use common::{code, exit, program, vmspace};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// `j .`
const LOOP: u32 = 0x6f;

/// The two ends of a terminal of 100 columns.
fn terminal() -> (OwnedFd, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("its other end");
    let name = ptsname(&ours, Vec::new()).expect("its name");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let theirs = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).expect("its other end");
    let size = rustix::termios::Winsize { ws_row: 25, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size).expect("its size");
    (ours, theirs)
}

#[test]
fn a_run_would_be_silent_on_a_terminal() {
    let path = program("progress", &[LOOP]);
    let (ours, theirs) = terminal();
    let mut command = vmspace(["run", "--progress", "--timeout", "2", "--report", "none"]);
    command.args(["--swap", "zram:1M", "--", &path]).stdin(Stdio::null());
    let mut child = command.stderr(theirs).spawn().expect("the command runs");
    // Its own copy of the other end.
    drop(command);
    let (mut ours, mut shown) = (std::fs::File::from(ours), Vec::new());
    // A terminal that nobody has open any more cannot be read: EIO.
    let _ = ours.read_to_end(&mut shown);
    assert_eq!(child.wait().expect("its end").code(), Some(124));
    let shown = String::from_utf8_lossy(&shown);
    for word in ["resident", "swapped 0.0 KiB", "free", "faults/s", "stolen/s"] {
        assert!(shown.contains(word), "{word} is not in: {shown:?}");
    }
    let last = shown.rsplit('\r').next().unwrap_or_default();
    assert!(!last.contains("resident"), "the line goes at the end: {shown:?}");
}

#[test]
fn a_file_would_be_filled_with_lines() {
    let path = program("no-progress", &exit(3));
    let output = vmspace(["run", "--progress", "--report", "none", "--", &path]).output();
    let output = output.expect("the command runs");
    assert_eq!((code(&output), &output.stderr[..]), (3, &b""[..]));
}
