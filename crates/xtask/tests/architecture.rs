//! ARCHITECTURE.md against the code: every module is named in it, and for each contract the file
//! that keeps it and the test that shows it exist.
//!
//! A module is named by its path (`crates/vmspace/src/tree/cursor.rs`) anywhere, or, in the part
//! below the heading that names its crate, by its place in the crate (`tree/cursor`) or its own name
//! in backquotes (`cursor`). Contracts are rows of a table:
//!
//! ```text
//! | contract | file | test |
//! | flush | `crates/vmspace/src/tree/cursor.rs` | `crates/vmspace/tests/concurrency.rs: a_test` |
//! ```
//!
//! The second column holds at least one file and the third at least one `file: test` (or a file that
//! has tests, where all of them show it), each in backquotes. This fails with all that is missing.

use std::fs;
use std::path::{Path, PathBuf};

const CONTRACTS: [&str; 7] =
    ["entry", "flush", "walker", "contexts", "failure", "pager", "kernel half"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))
}

fn demand(found: &[String]) {
    assert!(found.is_empty(), "ARCHITECTURE.md and the code differ:\n- {}", found.join("\n- "));
}

#[test]
fn every_module_is_named() {
    let missing = read("ARCHITECTURE.md").map_or_else(
        |error| vec![error],
        |text| {
            let modules = modules();
            assert!(modules.len() > 20, "modules were looked for in the wrong place");
            let unnamed = modules.iter().filter(|module| !module.is_named_in(&text));
            unnamed.map(|module| format!("{} is not named", module.path)).collect()
        },
    );
    demand(&missing);
}

#[test]
fn every_contract_has_a_file_and_a_test() {
    let missing = read("ARCHITECTURE.md").map_or_else(|error| vec![error], |text| contracts(&text));
    demand(&missing);
}

/// A source file that is a module, by its place.
struct Module {
    /// `crates/vmspace/src/tree/cursor.rs`
    path: String,
    /// `vmspace`
    package: String,
    /// `tree/cursor`; empty for the crate itself
    place: String,
}

impl Module {
    fn new(package: &str, place: &str) -> Module {
        let path = format!("crates/{package}/src/{place}");
        let place = place.trim_end_matches(".rs").trim_end_matches("/mod");
        let place = if matches!(place, "lib" | "main") { "" } else { place };
        Module { path, package: package.to_owned(), place: place.to_owned() }
    }

    fn is_named_in(&self, text: &str) -> bool {
        if text.contains(&self.path) {
            return true;
        }
        let Some(part) = part(text, &self.package) else { return false };
        let name = self.place.rsplit('/').next().unwrap_or_default();
        name.is_empty()
            || self.place.contains('/') && has_word(part, &self.place)
            || part.split('`').skip(1).step_by(2).any(|quoted| has_word(quoted, name))
    }
}

/// What stands below the first heading that names the crate, up to the next heading of its rank.
fn part<'t>(text: &'t str, package: &str) -> Option<&'t str> {
    let rank = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
    let mut lines = text.split_inclusive('\n');
    let mut start = 0;
    let heading = lines.find(|line| {
        let found = rank(line) > 0 && has_word(line, package);
        start += line.len();
        found
    })?;
    let below = &text[start..];
    let next = |line: &&str| (1..=rank(heading)).contains(&rank(line));
    let length = below.split_inclusive('\n').take_while(|line| !next(line)).map(str::len).sum();
    Some(&below[..length])
}

/// Whether `word` stands in the text with no letter, digit, `_` or `-` beside it.
fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(inside) && !text[at + word.len()..].starts_with(inside)
    })
}

/// Every module of every crate, tests apart.
fn modules() -> Vec<Module> {
    let mut modules = Vec::new();
    for package in entries(&root().join("crates")) {
        let source = package.join("src");
        let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = Vec::new();
        walk(&source, &mut files);
        for file in files {
            let place = file.strip_prefix(&source).unwrap_or(&file).display().to_string();
            // `tests.rs`, the folder `tests/`: unit tests beside what they test.
            if !place.split('/').any(|part| part.trim_end_matches(".rs") == "tests") {
                modules.push(Module::new(&name, &place));
            }
        }
    }
    modules
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in entries(folder) {
        if entry.is_dir() {
            walk(&entry, files);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
}

/// What is in a folder, in order.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries: Vec<_> = found.map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

/// What is missing of the contracts' table.
fn contracts(text: &str) -> Vec<String> {
    let rows: Vec<Vec<_>> = text
        .lines()
        .skip_while(|line| !line.starts_with("| contract "))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let mut missing = Vec::new();
    for contract in CONTRACTS {
        match rows.iter().find(|row| row.len() >= 4 && row[1] == contract) {
            Some(row) => {
                let wrong = files(row[2]).into_iter().chain(tests(row[3]));
                missing.extend(wrong.map(|what| format!("{contract}: {what}")));
            }
            None => {
                missing.push(format!("no row `| {contract} | file | test |` below `| contract |`"));
            }
        }
    }
    missing
}

fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// What is wrong with the files that a cell names.
fn files(cell: &str) -> Vec<String> {
    let names = quoted(cell);
    if names.is_empty() {
        return vec![format!("{cell:?} names no file (in backquotes)")];
    }
    let missing = names.iter().filter(|name| !root().join(name).is_file());
    missing.map(|name| format!("{name} does not exist")).collect()
}

/// What is wrong with the tests that a cell names.
fn tests(cell: &str) -> Vec<String> {
    let names = quoted(cell);
    if names.is_empty() {
        return vec![format!("{cell:?} names no test (`file: test`, in backquotes)")];
    }
    names.iter().filter_map(|name| test(name).err()).collect()
}

fn test(name: &str) -> Result<(), String> {
    let (file, test) = name.split_once(": ").unwrap_or((name, ""));
    let text = read(file)?;
    match test {
        "" if text.contains("#[test]") => Ok(()),
        "" => Err(format!("{file} has no test of its own")),
        // One that is run in every format has its type to follow.
        _ if ["(", "<"].iter().any(|next| text.contains(&format!("fn {test}{next}"))) => Ok(()),
        _ => Err(format!("{file} has no test {test}")),
    }
}

#[test]
fn what_is_missing_is_found() {
    let text = "# Map\n## vmspace\nHere `tree` and tree/cursor.\n## vmspace-machine\n`tlb`\n";
    let named = |package, place| Module::new(package, place).is_named_in(text);
    assert!(named("vmspace", "lib.rs") && named("vmspace", "tree/mod.rs"));
    assert!(named("vmspace", "tree/cursor.rs") && named("vmspace-machine", "tlb/mod.rs"));
    assert!(!named("vmspace", "tlb/mod.rs") && !named("vmspace-linux", "lib.rs"));
    let table = "| contract | file | test |\n\
         | flush | `crates/xtask/src/main.rs` | `crates/xtask/tests/architecture.rs: nothing` |";
    let missing = contracts(table);
    assert_eq!(missing.len(), CONTRACTS.len());
    assert_eq!(missing[1], "flush: crates/xtask/tests/architecture.rs has no test nothing");
    let shown = table.replace("nothing", "every_module_is_named");
    assert_eq!(contracts(&shown).len(), CONTRACTS.len() - 1);
}
