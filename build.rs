//! How the program is linked.

fn main() {
    // At a fixed address nothing in it has to be relocated at start: every process (there is one per pod) would do that to
    // megabytes of tables, each to pages of its own. Heap, stack and libraries are still where chance puts them.
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rerun-if-changed=build.rs");
}
