//! Where things are, and cargo called on them.
//!
//! Everything runs in the workspace's folder, so that commands printed can be repeated there. What
//! is built goes to the target folder that this program was itself built in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The target of the guests, and what their folder of programs is called by.
pub const GUEST_TARGET: &str = "riscv64gc-unknown-none-elf";

/// The workspace's folder.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The folder that things are built in.
pub fn target() -> &'static Path {
    static TARGET: LazyLock<PathBuf> = LazyLock::new(|| {
        // target/debug/xtask
        let program = std::env::current_exe().unwrap_or_default();
        program.ancestors().nth(2).unwrap_or(Path::new("target")).to_path_buf()
    });
    &TARGET
}

/// A folder for what a run leaves behind.
pub fn folder(name: &str) -> PathBuf {
    target().join("roots").join(name)
}

/// Makes a folder, empty.
pub fn empty(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// A path as it is printed: from the workspace's folder on, if it lies there.
pub fn shown(path: &Path) -> String {
    let root = root().canonicalize().unwrap_or_default();
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// A command in the workspace's folder.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// A cargo command, given as one would type it.
pub fn cargo(line: &str) -> Command {
    // What `cargo run` tells this program about itself is nothing to the next cargo.
    let mut command = command("cargo");
    command.args(line.split_whitespace()).env_remove("CARGO_MANIFEST_DIR");
    command.env("CARGO_TARGET_DIR", target());
    command
}

/// A cargo command with another `--cfg` (or several, with spaces between), and a target folder of
/// its own for what that builds.
pub fn cargo_with(cfgs: &str, line: &str) -> Command {
    let flags: String = cfgs.split(' ').map(|cfg| format!(" --cfg {cfg}")).collect();
    cargo_flagged(&flags, &target_with(cfgs), line)
}

/// A cargo command with more flags for rustc, and a target folder of its own for what that builds.
pub fn cargo_flagged(flags: &str, target: &Path, line: &str) -> Command {
    let given = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut command = cargo(line);
    command.env("RUSTFLAGS", format!("{given} {flags}").trim());
    command.env("CARGO_TARGET_DIR", target);
    command
}

/// The target folder of these `--cfg`s: the first one's.
pub fn target_with(cfgs: &str) -> PathBuf {
    let first = cfgs.split(' ').next().unwrap_or_default();
    target().join(first.trim_start_matches("vmspace_"))
}
