//! `retail-bench` with mimalloc, the allocator of the product, to measure librdkafka alone with it.

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    retail_bench::main()
}
