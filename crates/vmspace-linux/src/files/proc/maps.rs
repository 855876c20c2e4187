//! A space's mappings, as Linux prints them: /proc/PID/maps, and `--maps`.

use std::fmt::Write;

use vmspace::format::{Format, Rights};
use vmspace::{MaySleep, ObjectId, Region, Sharing};

use crate::addresses::Addresses;
use crate::files::stat::{major, minor};
use crate::kernel::Kernel;
use crate::space::{Marks, Space};

/// The column at which names begin.
const NAMES: usize = 73;

/// A line for each mapping.
pub(crate) fn maps<F: Format>(
    ms: &mut MaySleep,
    kernel: &Kernel<'_, F>,
    space: &Space<'_, F>,
) -> String {
    let heap_end = space.brk(ms, 0);
    let mut text = String::new();
    space.for_each_region(ms, |region| match region.object {
        Some(object) => {
            let ((device, inode), name) = kernel.behind(object);
            line(&mut text, &region, device, inode, &name);
        }
        None => line(&mut text, &region, 0, 0, own_name::<F>(&region, &space.marks, heap_end)),
    });
    text
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
