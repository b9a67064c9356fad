//! `retail completions` and `retail man`: what shells, `man` and the reference read about the programs.

mod markdown;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, ValueEnum};
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
    /// Format of the pages: a page for each subcommand, or one page of Markdown, commands.md
    #[arg(long, value_enum, default_value_t)]
    format: PageFormat,
}

/// Format of manual pages.
#[derive(ValueEnum, Clone, Copy, Default, Debug)]
enum PageFormat {
    #[default]
    Roff,
    Markdown,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "retail", &mut script);
    process::finished(process::print_text(&String::from_utf8_lossy(&script)), ExitCode::SUCCESS)
}

pub(crate) fn man(args: &ManArgs, retail: Command) -> ExitCode {
    let programs = [
        retail,
        retail_processor::program::command(),
        retail_producer::program::command(),
        retail_operator::program::command(),
    ];
    match write(args.format, programs, &args.directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::failed(&format!("cannot write to {}: {error}", args.directory.display())),
    }
}

fn write(format: PageFormat, programs: [Command; 4], directory: &Path) -> std::io::Result<()> {
    match format {
        PageFormat::Roff => programs.into_iter().try_for_each(|program| clap_mangen::generate_to(program, directory)),
        PageFormat::Markdown => std::fs::write(directory.join("commands.md"), markdown::page(programs, "apply-topic")),
    }
}
