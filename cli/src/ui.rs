//! `retail ui`: the web page of a pipeline, without running it.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use retail_page::PageArgs;
use retail_runtime::args::PipelineArgs;
use retail_runtime::process;
use tokio::sync::watch;

#[derive(Args, Debug)]
pub(crate) struct UiArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Address of the page
    #[arg(long = "ui", value_name = "ADDR", default_value = "127.0.0.1:8081", env = "RETAIL_UI")]
    address: SocketAddr,

    #[command(flatten)]
    page: PageArgs,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot serve the web page at {address}: {source}; choose another address with --ui")]
struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

pub(crate) fn ui(args: UiArgs) -> ExitCode {
    let UiArgs { pipeline, address, page } = args;
    let _log = process::log_to_stderr();
    let settings = match pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    let (stop, mut stopped) = watch::channel(false);
    process::on_first_signal(move || {
        stop.send_replace(true);
    });
    process::run(async {
        let server = match retail_page::serve(address, settings, page).await {
            Ok(server) => server,
            Err(source) => return process::failed(&BindError { address, source }),
        };
        tokio::select! {
            never = server => match never {},
            _ = stopped.wait_for(|stop| *stop) => ExitCode::SUCCESS,
        }
    })
}
