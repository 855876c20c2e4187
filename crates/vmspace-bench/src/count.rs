//! Instructions of one operation, counted by valgrind: the same for the same binary, whatever else
//! the machine is doing.

use crate::operations::{self, Operation};
use std::collections::BTreeMap;
use std::process::Command;

/// Rounds of the shorter run; the longer one has twice as many.
const ROUNDS: u64 = 60;

/// Instructions per operation by name, or why there are none.
pub type Counts = Result<BTreeMap<&'static str, f64>, String>;

/// Counts every operation.
pub fn all() -> Counts {
    let mut raw = BTreeMap::new();
    for operation in operations::ALL {
        eprintln!("counting {}", operation.name);
        let short = instructions(operation, ROUNDS)?;
        let long = instructions(operation, 2 * ROUNDS)?;
        raw.insert(operation.name, long.saturating_sub(short) as f64 / ROUNDS as f64);
    }
    Ok(operations::ALL.iter().map(|o| (o.name, net(o, &raw))).collect())
}

/// The cost without the set-up that each round contains.
fn net(operation: &Operation, raw: &BTreeMap<&'static str, f64>) -> f64 {
    let of = |name: &str| raw.get(name).copied().unwrap_or(0.0);
    // A set-up that itself contains one is subtracted whole: its own is in the round as well.
    (of(operation.name) - operation.less.map_or(0.0, of)) / operation.pages as f64
}

fn instructions(operation: &Operation, n: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["count", operation.name, &n.to_string()])
        .output()
        .map_err(|_| "valgrind is not installed (apt-get install valgrind)".to_string())?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split("Collected :").nth(1));
    collected
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| format!("valgrind could not run {}: {text}", operation.name))
}
