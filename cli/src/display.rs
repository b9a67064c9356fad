//! What a terminal shows of a `retail run`: a screen, or the rows of each trigger with live lines below them.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use retail_processor::state::State;
use retail_producer::run::Sent;
use retail_runtime::args::Settings;
use tokio::sync::watch;

use crate::live::{Screen as LiveLines, Stderr, Stdout};
use crate::top::{Screen, Source};

/// The display of a `retail run`.
pub(crate) enum Display {
    /// The screen of `retail top`.
    Full(Screen),
    /// Rows and live lines; without a terminal, log lines.
    Rows(LiveLines),
}

impl Display {
    /// The screen, if input and outputs are terminals.
    pub(crate) fn new(prints_rows: bool) -> Self {
        let on_terminal =
            std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        if on_terminal && !prints_rows { Self::Full(Screen::default()) } else { Self::Rows(LiveLines::new()) }
    }

    /// Whether it shows the rows of each trigger.
    pub(crate) const fn prints_rows(&self) -> bool {
        matches!(self, Self::Rows(_))
    }

    /// A writer for the log.
    pub(crate) fn log(&self) -> Box<dyn Write + Send> {
        match self {
            Self::Full(screen) => Box::new(screen.log()),
            Self::Rows(lines) => Box::new(Stderr(lines.clone())),
        }
    }

    /// A writer for the rows.
    pub(crate) fn rows(&self) -> Box<dyn Write + Send> {
        match self {
            Self::Full(_) => Box::new(std::io::sink()),
            Self::Rows(lines) => Box::new(Stdout(lines.clone())),
        }
    }

    /// Shows the state until the future is dropped; `sent` with a producer only, `page` with a web page only.
    pub(crate) async fn show(
        &self,
        settings: &Settings,
        state: &Arc<State>,
        sent: Option<&Arc<Sent>>,
        page: Option<SocketAddr>,
        stopped: watch::Receiver<bool>,
    ) {
        match self {
            Self::Full(screen) => {
                let source = Source::Process(Arc::clone(state), sent.cloned(), page);
                if let Err(error) = screen.show(settings, source, stopped).await {
                    tracing::warn!("cannot use the terminal: {error}; --print-rows needs less of it");
                }
                std::future::pending::<()>().await;
            }
            Self::Rows(lines) => lines.show(state, sent.map(AsRef::as_ref)).await,
        }
    }
}
