//! `retail-bench`: see the library.

fn main() -> anyhow::Result<()> {
    retail_bench::main()
}
