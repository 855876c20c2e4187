//! A mapped file beside anonymous memory, read and written by the same loop: the guest `mapped`, which
//! takes turns itself and prints medians.

use crate::built::Built;
use std::process::{Command, Stdio};

/// Nanoseconds a page.
pub struct Files {
    pub anonymous: f64,
    pub file: f64,
}

/// Runs the guest, or says why there is nothing.
pub fn measure(built: &Result<Built, String>) -> Result<Files, String> {
    let built = built.as_ref().map_err(String::clone)?;
    eprintln!("timing a mapped file");
    let root = std::env::temp_dir().join(format!("vmspace-bench-{}", std::process::id()));
    std::fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    let output = Command::new(&built.command)
        .args(["run", "--harts", "1", "--report", "none", "--root"])
        .arg(&root)
        .arg("--")
        .arg(built.guest("mapped"))
        .stderr(Stdio::inherit())
        .output();
    // What is left there is in the way of nobody.
    let _ = std::fs::remove_dir_all(&root);
    let output = output.map_err(|error| format!("{}: {error}", built.command.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let of = |what: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(what));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| format!("the guest `mapped` said {text:?}"))
    };
    Ok(Files { anonymous: of("anonymous ")?, file: of("file ")? })
}
