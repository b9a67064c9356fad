//! `retail-operator` as a file of its own. In the image, `retail` goes by this name.

fn main() -> std::process::ExitCode {
    retail_operator::program::main()
}
