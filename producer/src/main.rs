//! `retail-producer` as a file of its own. In the image, `retail` goes by this name.

fn main() -> std::process::ExitCode {
    retail_producer::program::main()
}
