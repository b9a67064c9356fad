//! `retail-processor` as an executable of its own. In the image, it is a link to `retail`.

/// The workspace's Cargo.toml gives the reason for this allocator.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    retail_processor::program::main()
}
