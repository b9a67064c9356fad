//! `retail-processor` as a file of its own. In the image, `retail` goes by this name.

fn main() -> std::process::ExitCode {
    retail_processor::program::main()
}
