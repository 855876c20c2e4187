//! The test-only build (`--cfg vmspace_mutations`): whole programs on a library that lacks one of
//! its protections. `cargo mutations` sees that they stop.

/// Plants the mutation whose number the variable `VMSPACE_MUTATION` is, if it is set.
pub fn plant() {
    let number = std::env::var("VMSPACE_MUTATION").ok().and_then(|text| text.parse().ok());
    number.into_iter().for_each(vmspace::mutation::plant);
}
