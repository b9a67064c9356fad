//! `retail-operator` as a separate binary. In the image, `retail` runs under this name.

/// The reason for this allocator is in the workspace's Cargo.toml.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    retail_operator::program::main()
}
