//! Programs that execute files beneath the root: scripts and their interpreters, and what is none.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::guests::rust;
use common::{code, directory, executable, vmspace};

/// What `exec run ARGUMENTS` writes with this root.
fn run(root: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = vmspace(["run", "--timeout", "60", "--report", "none", "--root"]);
    command.arg(root).arg("--").arg(rust("exec")).arg("run").args(arguments);
    let output = command.output().expect("the command runs");
    (code(&output), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The arguments that `hello` says it was given.
fn given(root: &Path, arguments: &[&str]) -> Vec<String> {
    let (status, text) = run(root, arguments);
    assert_eq!(status, 0, "{arguments:?}: {text}");
    text.lines()
        .filter_map(|line| Some(line.strip_prefix("argument ")?.split_once(": ")?.1.into()))
        .collect()
}

fn hello(root: &Path) {
    executable(root, "hello", &fs::read(rust("hello")).expect("the guest"));
}

#[test]
fn an_interpreter_gets_its_argument_the_script_and_the_rest() {
    let root = directory("exec-scripts");
    hello(&root);
    executable(&root, "script", b"#! /hello  -x y \nnot looked at\n");
    executable(&root, "plain", b"#!/hello\n");
    executable(&root, "twice", b"#!/script second\n");
    assert_eq!(given(&root, &["/hello", "a", ""]), ["/hello", "a", ""]);
    assert_eq!(given(&root, &["/script", "a", "b"]), ["/hello", "-x y", "/script", "a", "b"]);
    assert_eq!(given(&root, &["./plain"]), ["/hello", "./plain"]);
    assert_eq!(
        given(&root, &["/twice", "a"]),
        ["/hello", "-x y", "/script", "second", "/twice", "a"]
    );
}

#[test]
fn what_cannot_be_executed_is_refused_by_its_error() {
    const ENOENT: i32 = 2;
    const ENOEXEC: i32 = 8;
    const EACCES: i32 = 13;
    const ENOTDIR: i32 = 20;
    const ELOOP: i32 = 40;
    let root = directory("exec-refused");
    hello(&root);
    executable(&root, "text", b"no program\n");
    executable(&root, "empty", b"");
    executable(&root, "cut", &fs::read(rust("hello")).expect("the guest")[..100]);
    executable(&root, "loop", b"#!/loop\n");
    executable(&root, "orphan", b"#!/no/such/interpreter\n");
    executable(&root, "nameless", b"#!  \n");
    executable(&root, "folder-script", b"#!/folder\n");
    fs::create_dir(root.join("folder")).expect("a folder");
    fs::write(root.join("closed"), b"#!/hello\n").expect("a file");
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o644))
        .expect("its rights");
    for (path, wanted) in [
        ("/text", ENOEXEC),
        ("/empty", ENOEXEC),
        ("/cut", ENOEXEC),
        ("/nameless", ENOEXEC),
        ("/orphan", ENOENT),
        ("/nothing", ENOENT),
        ("/hello/below", ENOTDIR),
        ("/closed", EACCES),
        ("/folder", EACCES),
        ("/folder-script", EACCES),
        ("/loop", ELOOP),
    ] {
        assert_eq!(run(&root, &[path]), (1, format!("execve: error {wanted}\n")), "{path}");
    }
}
