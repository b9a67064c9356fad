//! `retail-processor` as a file of its own. In the image, `retail` goes by this name.

/// Why not the C library's: see the workspace's Cargo.toml.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    retail_processor::program::main()
}
