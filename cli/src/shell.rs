//! `retail completions` and `retail man`: what shells and `man` read about the subcommands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;
use retail_runtime::process;

/// Arguments of `retail completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell that reads the script
    shell: Shell,
}

/// Arguments of `retail man`.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Existing directory for the pages, such as /usr/local/share/man/man1
    directory: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "retail", &mut script);
    process::finished(process::print_text(&String::from_utf8_lossy(&script)), ExitCode::SUCCESS)
}

pub(crate) fn man(args: &ManArgs, command: Command) -> ExitCode {
    match clap_mangen::generate_to(command, &args.directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::failed(&format!("cannot write to {}: {error}", args.directory.display())),
    }
}
