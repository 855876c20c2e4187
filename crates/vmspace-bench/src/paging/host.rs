//! The host's kernel short of memory for one program: a memory cgroup with a limit, and a swap device,
//! both of which go again afterwards.

use super::undo::Undo;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the kernel swaps to.
#[derive(Clone, Copy)]
pub enum Device {
    /// Compressed memory: /dev/zram0, with lz4 where it has that.
    Zram,
    /// A file in /var/tmp.
    File,
}

/// A place for a program that is to be short of memory. Dropping it undoes everything.
pub struct Shortage {
    /// A process that writes a 0 here is in it.
    pub join: PathBuf,
    _undo: Undo,
}

impl Shortage {
    /// At most `limit` bytes of memory, and swap for `swap` bytes; or why there is none.
    pub fn new(limit: u64, device: Device, swap: u64) -> Result<Shortage, String> {
        let mut undo = Undo::new()?;
        match device {
            Device::Zram => zram(&mut undo, swap)?,
            Device::File => file(&mut undo, swap)?,
        }
        Ok(Shortage { join: cgroup(&mut undo, limit)?, _undo: undo })
    }
}

/// The more, the earlier: before every device that is there already.
const FIRST: &str = "32767";

fn zram(undo: &mut Undo, bytes: u64) -> Result<(), String> {
    let control = Path::new("/sys/block/zram0");
    if read(&control.join("disksize")).map_err(|_| "the host has no zram0")?.trim() != "0" {
        return Err("the host uses zram0".into());
    }
    undo.by("echo 1 > /sys/block/zram0/reset")?;
    // Where there is no lz4, whatever it has.
    let _ = write(&control.join("comp_algorithm"), "lz4");
    write(&control.join("disksize"), &bytes.to_string())?;
    swap_on(undo, Path::new("/dev/zram0"))
}

fn file(undo: &mut Undo, bytes: u64) -> Result<(), String> {
    let path = super::scratch();
    undo.by(&format!("rm -f {}", path.display()))?;
    run(Command::new("fallocate").args(["-l", &bytes.to_string()]).arg(&path))?;
    run(Command::new("chmod").arg("600").arg(&path))?;
    swap_on(undo, &path)
}

fn swap_on(undo: &mut Undo, path: &Path) -> Result<(), String> {
    run(Command::new("mkswap").arg(path))?;
    undo.by(&format!("swapoff {}", path.display()))?;
    run(Command::new("swapon").args(["-p", FIRST]).arg(path))
}

/// A group with the limit; the file to join it by.
fn cgroup(undo: &mut Undo, limit: u64) -> Result<PathBuf, String> {
    let mounts = read(Path::new("/proc/mounts"))?;
    let (root, control) = controller(&mounts, |root| {
        let controllers = read(&root.join("cgroup.controllers"));
        controllers.is_ok_and(|text| text.split_whitespace().any(|word| word == "memory"))
    })
    .ok_or("the host has no memory cgroups")?;
    let group = root.join(format!("vmspace-bench-{}", std::process::id()));
    let shown = group.display();
    // A process that is still in it, since we were killed, goes first.
    undo.by(&format!(
        "while [ -d {shown} ] && ! rmdir {shown}; do xargs -r kill -9 < {shown}/cgroup.procs; done"
    ))?;
    fs::create_dir(&group).map_err(|error| format!("{shown}: {error}"))?;
    write(&group.join(control), &limit.to_string())?;
    Ok(group.join("cgroup.procs"))
}

/// Where the memory controller is, and the name of its limit: version 1's hierarchy, else version 2's
/// if that `has` it.
fn controller(mounts: &str, has: impl Fn(&Path) -> bool) -> Option<(PathBuf, &'static str)> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (root, kind, options) = (Path::new(words.next()?), words.next()?, words.next()?);
        let name = match kind {
            "cgroup" if options.split(',').any(|option| option == "memory") => {
                "memory.limit_in_bytes"
            }
            "cgroup2" if has(root) => "memory.max",
            _ => return None,
        };
        Some((root.to_owned(), name))
    })
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_controller_is_found_in_either_version() {
        let one = "proc /proc proc rw 0 0\n\
                   cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                   cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                   cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n";
        let found = controller(one, |_| false).expect("version 1 has it");
        assert_eq!(found, ("/sys/fs/cgroup/memory".into(), "memory.limit_in_bytes"));
        let two = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let found = controller(two, |_| true).expect("version 2 has it");
        assert_eq!(found, ("/sys/fs/cgroup".into(), "memory.max"));
        assert_eq!(controller(two, |_| false), None);
    }
}
