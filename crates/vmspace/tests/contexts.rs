//! The contract of contexts: what must not be done in a context is a program that does not compile.
//!
//! Guarantee: for each rule, the program that breaks it is refused with the error that the rule is
//! made of, at the line that breaks it; and its twin, which differs by that one line, compiles. So
//! a rule that is lost, and a program that fails for another reason, both fail here.
//!
//! Mechanism: each file of `contexts/` is a pair: without its line `//~ allowed` it is the program
//! that breaks the rule, without its line `//~ forbidden CODE` the twin. All of them are binaries
//! of one package, made below the target directory, which one `cargo check` looks at.

#![cfg(not(any(miri, loom)))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FORBIDDEN: &str = "//~ forbidden";
const ALLOWED: &str = "//~ allowed";

/// What every program ends with: its errors keep the line numbers of its file.
const EPILOGUE: &str = "
use vmspace::format::Rights;
use vmspace::{Access, Frame, Map, MaySleep, Pinned, Platform, Space, Vm};

fn main() {}
";

/// A rule: a program with one line that breaks it and one that does not.
struct Rule {
    name: String,
    lines: Vec<String>,
}

impl Rule {
    fn read(path: &Path) -> Rule {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        Rule { name, lines: text.lines().map(str::to_owned).collect() }
    }

    /// The index of the one line with that mark.
    fn line(&self, mark: &str) -> usize {
        let marked = |line: &usize| self.lines[*line].contains(mark);
        let lines: Vec<_> = (0..self.lines.len()).filter(marked).collect();
        assert_eq!(lines.len(), 1, "{}: one line is marked `{mark}`", self.name);
        lines[0]
    }

    /// The program without its line of that mark.
    fn without(&self, mark: &str) -> String {
        let mut lines = self.lines.clone();
        lines[self.line(mark)].clear();
        lines.join("\n") + EPILOGUE
    }

    /// Whether these errors of the program that breaks the rule, as `file:line:column: error[code]:
    /// text`, lie in the marked line and have its code.
    fn is_refused_by(&self, errors: &[&str]) -> bool {
        let line = self.line(FORBIDDEN);
        let (_, code) = self.lines[line].split_once(FORBIDDEN).unwrap();
        let (code, at) = (format!(" error[{}]: ", code.trim()), format!(":{}:", line + 1));
        errors.iter().any(|error| error.contains(&code))
            && errors.iter().all(|error| error.contains(&at))
    }
}

/// Where a program's text is, in the package.
fn source(side: &str, name: &str) -> String {
    format!("src/bin/{side}_{name}.rs")
}

fn rules() -> Vec<Rule> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contexts");
    let mut files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| Rule::read(path)).collect()
}

/// A package that depends on the library and has both programs of each rule.
fn package(rules: &[Rule]) -> PathBuf {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contexts");
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Programs of rules that have gone must not be looked at.
    let _ = fs::remove_dir_all(package.join("src"));
    fs::create_dir_all(package.join("src/bin")).unwrap();
    let manifest = format!(
        "[package]\nname = \"contexts\"\nedition = \"2024\"\n\n\
         [dependencies]\nvmspace = {{ path = {library:?} }}\n\n\
         [lints.rust]\nunused = \"allow\"\n\n[workspace]\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    // The workspace's versions, which have been downloaded.
    fs::copy(library.join("../../Cargo.lock"), package.join("Cargo.lock")).unwrap();
    for rule in rules {
        let broken = package.join(source("broken", &rule.name));
        fs::write(broken, rule.without(ALLOWED)).unwrap();
        fs::write(package.join(source("twin", &rule.name)), rule.without(FORBIDDEN)).unwrap();
    }
    package
}

#[test]
fn each_program_that_breaks_a_rule_is_refused_for_it_and_its_twin_is_not() {
    let rules = rules();
    let package = package(&rules);
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--bins", "--keep-going"])
        .args(["--message-format=short", "--target-dir=target"])
        .current_dir(&package)
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    let errors = |side: &str, rule: &Rule| -> Vec<&str> {
        let file = source(side, &rule.name);
        messages.lines().filter(|line| line.starts_with(&file)).collect()
    };
    for rule in &rules {
        let refusals = errors("broken", rule);
        assert!(rule.is_refused_by(&refusals), "{} may be broken: {refusals:#?}", rule.name);
        assert_eq!(errors("twin", rule), [""; 0], "the twin of {} is refused", rule.name);
    }
    // Whatever else is wrong (the library, the package) would leave the twins unlooked at.
    let failed = messages.lines().filter(|line| line.starts_with("error")).count();
    assert_eq!(failed, rules.len(), "not only the programs fail:\n{messages}");
}
