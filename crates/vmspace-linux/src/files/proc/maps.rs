//! A space's mappings, as Linux prints them: /proc/PID/maps and smaps, and `--maps`.

use std::fmt::Write;

use vmspace::format::{Format, Geometry, Rights};
use vmspace::{MaySleep, ObjectId, Region, Sharing, Smaps, Traits};

use crate::addresses::Addresses;
use crate::files::stat::{major, minor};
use crate::kernel::Kernel;
use crate::space::{Marks, Space};

/// The column at which names begin.
const NAMES: usize = 73;

/// A part of a listing ends with the mapping that makes it so long.
const PART: usize = 4096;

/// A line for each mapping.
pub(crate) fn maps<F: Format>(
    ms: &mut MaySleep,
    kernel: &Kernel<'_, F>,
    space: &Space<'_, F>,
) -> String {
    let (mut text, mut next) = (String::new(), Some(0));
    while let Some(from) = next {
        let (part, rest) = listing(ms, kernel, space, from, false);
        text.push_str(&part);
        next = rest;
    }
    text
}

/// The lines of the mappings from an address on, and the address to go on from; with what is in
/// memory of each, if `smaps`.
pub(super) fn listing<F: Format>(
    ms: &mut MaySleep,
    kernel: &Kernel<'_, F>,
    space: &Space<'_, F>,
    mut from: u64,
    smaps: bool,
) -> (String, Option<u64>) {
    let heap_end = space.heap_end();
    let mut text = String::new();
    while let Some(region) = space.next_region(ms, from) {
        from = region.end;
        match region.object {
            Some(object) => {
                let ((device, inode), name) = kernel.behind(object);
                line(&mut text, &region, device, inode, &name);
            }
            None => line(&mut text, &region, 0, 0, own_name::<F>(&region, &space.marks, heap_end)),
        }
        if smaps {
            let in_memory = space.smaps_of(ms, &region);
            counts(&mut text, &region, &in_memory, F::PAGE_SIZE);
        }
        if text.len() >= PART {
            return (text, Some(from));
        }
    }
    (text, None)
}

/// What Linux calls a mapping that is no file's.
fn own_name<F: Format>(region: &Region, marks: &Marks, heap_end: u64) -> &'static str {
    match () {
        () if region.start <= heap_end && region.end > marks.heap && heap_end > marks.heap => {
            "[heap]"
        }
        () if (region.start..region.end).contains(&marks.stack) => "[stack]",
        () if region.start == Addresses::of::<F>().trampoline() => "[vdso]",
        () => "",
    }
}

impl<F: Format> Kernel<'_, F> {
    /// A mapped file's identity and path; shared memory without one has the name that Linux gives.
    fn behind(&self, object: ObjectId) -> ((u64, u64), String) {
        let Some((inode, _)) = self.inode_of(object) else {
            return ((0, 0), "/dev/zero (deleted)".to_string());
        };
        let path = self.file_path(&inode).unwrap_or_default();
        (
            self.shown_identity(inode.identity()),
            String::from_utf8_lossy(&path).replace('\n', "\\012"),
        )
    }
}

/// `start-end rights offset device inode name`
fn line(text: &mut String, region: &Region, device: u64, inode: u64, name: &str) {
    let may = |right, letter| if region.rights.contains(right) { letter } else { '-' };
    let sharing = if region.sharing == Sharing::Shared { 's' } else { 'p' };
    let (read, write) = (may(Rights::READ, 'r'), may(Rights::WRITE, 'w'));
    let execute = may(Rights::EXECUTE, 'x');
    let (offset, major, minor) = (region.offset, major(device), minor(device));
    let mut line = format!(
        "{:08x}-{:08x} {read}{write}{execute}{sharing} {offset:08x} {major:02x}:{minor:02x} \
         {inode} ",
        region.start, region.end,
    );
    if !name.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(line, "{:width$}{name}", "", width = NAMES.saturating_sub(line.len()));
    }
    text.push_str(&line);
    text.push('\n');
}

/// The lines that smaps has below that of a mapping, in the order of Linux's `show_smap`; pages are
/// neither merged nor huge here.
fn counts(text: &mut String, region: &Region, smaps: &Smaps, page: u64) {
    let rows = [
        ("Size", region.end - region.start),
        ("KernelPageSize", page),
        ("MMUPageSize", page),
        ("Rss", smaps.rss),
        ("Pss", smaps.pss),
        ("Pss_Dirty", smaps.pss_dirty),
        ("Shared_Clean", smaps.shared_clean),
        ("Shared_Dirty", smaps.shared_dirty),
        ("Private_Clean", smaps.private_clean),
        ("Private_Dirty", smaps.private_dirty),
        ("Referenced", smaps.referenced),
        ("Anonymous", smaps.anonymous),
        ("KSM", 0),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", smaps.swap),
        ("SwapPss", smaps.swap_pss),
        ("Locked", smaps.locked),
    ];
    for (name, bytes) in rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}:{:width$} kB", bytes >> 10, width = 23 - name.len());
    }
    let _ = writeln!(text, "THPeligible:{:12}", 0);
    text.push_str("VmFlags: ");
    for (_, letters) in flags(region).iter().filter(|(set, _)| *set) {
        text.push_str(letters);
        text.push(' ');
    }
    text.push('\n');
}

/// The flags of a mapping that there are here, in the order of Linux's bits.
fn flags(region: &Region) -> [(bool, &'static str); 18] {
    let (may, is) = (|right| region.rights.contains(right), |said| region.traits.contains(said));
    let shared = region.sharing == Sharing::Shared;
    let never_write = is(Traits::NEVER_WRITE);
    let counted = !shared && may(Rights::WRITE) && !is(Traits::NO_RESERVE);
    [
        (may(Rights::READ), "rd"),
        (may(Rights::WRITE), "wr"),
        (may(Rights::EXECUTE), "ex"),
        (shared && !never_write, "sh"),
        (true, "mr"),
        (!never_write, "mw"),
        (true, "me"),
        (shared, "ms"),
        (region.grows_down, "gd"),
        (region.locked, "lo"),
        (is(Traits::SEQUENTIAL), "sr"),
        (is(Traits::RANDOM), "rr"),
        (is(Traits::DONT_FORK), "dc"),
        (is(Traits::LOCK_ON_FAULT), "lf"),
        (counted, "ac"),
        (is(Traits::NO_RESERVE), "nr"),
        (is(Traits::WIPE_ON_FORK), "wf"),
        (is(Traits::SEALED), "sl"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaps_lines_are_laid_out_as_linuxs() {
        let region = Region {
            start: 0x1_0000,
            end: 0x3_0000,
            rights: Rights::READ | Rights::WRITE,
            sharing: Sharing::Private,
            grows_down: true,
            object: None,
            offset: 0,
            locked: true,
            traits: Traits::WIPE_ON_FORK,
        };
        let mut text = String::new();
        counts(&mut text, &region, &Smaps { rss: 4096, ..Smaps::default() }, 65_536);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 24);
        assert_eq!(lines[0], "Size:                128 kB");
        assert_eq!(lines[1], "KernelPageSize:       64 kB");
        assert_eq!(lines[3], "Rss:                   4 kB");
        assert_eq!(lines[18], "Private_Hugetlb:       0 kB");
        assert_eq!(lines[21], "Locked:                0 kB");
        assert_eq!(lines[22], "THPeligible:           0");
        assert_eq!(lines[23], "VmFlags: rd wr mr mw me gd lo ac wf ");
    }
}
