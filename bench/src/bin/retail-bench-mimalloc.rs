//! `retail-bench` with the allocator of our own programs: the limit for those who have left that of the C library, too.

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    retail_bench::main()
}
