//! `retail top`, and the screen of `retail run`: the state of a pipeline, as it changes, on a whole terminal.
//!
//! `model` is everything that a screen shows at one moment, and [`draw`] a pure function of it. `terminal` owns the terminal,
//! `screen` reads keys and looks at the pipeline again and again.

mod colours;
mod draw;
mod model;
mod screen;
mod terminal;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use retail_runtime::args::PipelineArgs;
use retail_runtime::process;
use tokio::sync::watch;

pub(crate) use screen::{Screen, Source};
pub(crate) use terminal::restore;

/// Arguments of `retail top`.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

pub(crate) fn top(args: TopArgs) -> ExitCode {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return process::misused(&"retail top needs a terminal; `retail status --watch` prints the state as text");
    }
    let screen = Screen::default();
    let _log = process::log_to(screen.log());
    process::before_exit(restore);
    process::end_on_panic();
    let settings = match args.pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    let (stop, stopped) = watch::channel(false);
    process::on_first_signal(move || {
        stop.send_replace(true);
    });
    let shown = process::run(screen.show(&settings, Source::Servers, stopped));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::failed(&format_args!("cannot use the terminal: {error}")),
    }
}
