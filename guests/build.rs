//! Links every program so that it runs on any format: segments aligned to 64 KiB, the largest page.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    assert!(
        target.starts_with("riscv64"),
        "the guests are riscv64 programs: build with --target riscv64gc-unknown-none-elf"
    );
    println!("cargo:rustc-link-arg-bins=-zmax-page-size=65536");
    for arg in ["-pie", "--no-dynamic-linker"] {
        println!("cargo:rustc-link-arg-bin=pie={arg}");
    }
}
