//! The loop of the screen: looks at the pipeline, keys, and frames.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use retail_observe::{Observation, Observer, interval_after, until_answer};
use retail_processor::state::State;
use retail_producer::run::Sent;
use retail_runtime::args::Settings;
use retail_runtime::process;
use retail_store::snapshot::Parts;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::colours::Colours;
use super::draw::draw;
use super::model::{Local, Model, Page};
use super::terminal::{FullScreen, is_full, restore};

/// Interval of frames without news: ages grow.
const FRAME: Duration = Duration::from_millis(500);

/// Interval at which the thread of keys notices the end.
const KEYS: Duration = Duration::from_millis(100);

/// Number of lines of the log that are kept.
const LINES: usize = 200;

/// The keys of the pages.
const PAGES: [(KeyCode, Page); 6] = [
    (KeyCode::Char('p'), Page::Partitions),
    (KeyCode::Char('d'), Page::Letters),
    (KeyCode::Char('w'), Page::WhatIf),
    (KeyCode::Char('l'), Page::Log),
    (KeyCode::Char('o'), Page::Overview),
    (KeyCode::Esc, Page::Overview),
];

/// The keys that scroll, with the number of lines.
const STEPS: [(KeyCode, isize); 7] = [
    (KeyCode::Down, 1),
    (KeyCode::Char('j'), 1),
    (KeyCode::Up, -1),
    (KeyCode::Char('k'), -1),
    (KeyCode::PageDown, 10),
    (KeyCode::Char(' '), 10),
    (KeyCode::PageUp, -10),
];

/// The screen of one process, and its log.
#[derive(Clone, Default)]
pub(crate) struct Screen {
    log: Arc<Mutex<VecDeque<String>>>,
}

/// Where the screen takes its facts from, beside Postgres and Kafka.
#[derive(Clone)]
pub(crate) enum Source {
    /// Only the servers.
    Servers,
    /// A processor, and perhaps a producer and a web page, in this process.
    Process(Arc<State>, Option<Arc<Sent>>, Option<SocketAddr>),
}

impl Source {
    fn local(&self) -> Option<Local> {
        match self {
            Self::Servers => None,
            Self::Process(state, sent, _) => {
                Some(Local { sent: sent.as_ref().map(|sent| sent.events()), read: state.read() })
            }
        }
    }

    fn problems(&self) -> std::collections::BTreeMap<String, String> {
        match self {
            Self::Servers => std::collections::BTreeMap::new(),
            Self::Process(state, ..) => state.view().problems,
        }
    }

    fn web_page(&self) -> Option<SocketAddr> {
        match self {
            Self::Servers => None,
            Self::Process(_, _, page) => *page,
        }
    }
}

impl Screen {
    /// A writer for the log: its lines are kept while the screen is shown, and printed to standard error otherwise.
    pub(crate) fn log(&self) -> impl Write + Send + 'static {
        Log(self.clone())
    }

    /// Shows the screen until a signal sets `stopped`, or the user quits. In a process that runs a pipeline, quitting is a signal
    /// to the process, and the screen stays until the future is dropped.
    pub(crate) async fn show(
        &self,
        settings: &Settings,
        source: Source,
        mut stopped: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let _printed = PrintsLog(self);
        let mut terminal = FullScreen::enter()?;
        let (mut keys, _keys) = read_keys();
        let mut model = Model::new(settings.pipeline.clone());
        model.web_page = source.web_page();
        let (wanted, wants) = watch::channel(model.parts());
        let (mut looks, _looking) = look_again_and_again(settings.clone(), wants);
        let stays = matches!(source, Source::Process(..));
        let colours = Colours::of_environment();
        loop {
            model.local = source.local();
            model.problems = source.problems();
            model.log = self.lines();
            model.is_stopping = *stopped.borrow();
            terminal.draw(|frame| draw(frame, &model, colours))?;
            tokio::select! {
                Some(look) = looks.recv() => match look {
                    Ok(observation) => {
                        model.local = source.local();
                        model.look(observation);
                    }
                    Err(error) => model.error = Some(error),
                },
                Some(event) = keys.recv() => {
                    if let Event::Key(key) = event && press(&mut model, key) {
                        if !stays {
                            return Ok(());
                        }
                        process::interrupt();
                    }
                    let parts = model.parts();
                    wanted.send_if_modified(|before| std::mem::replace(before, parts.clone()) != parts);
                },
                Ok(_) = stopped.wait_for(|stopped| *stopped), if !model.is_stopping => if !stays {
                    return Ok(());
                },
                () = tokio::time::sleep(FRAME) => {}
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|line| plain(line)).collect()
    }
}

/// Executes a key. Returns whether the user quits.
fn press(model: &mut Model, key: KeyEvent) -> bool {
    if key.kind != KeyEventKind::Press {
        return false;
    }
    if key.code == KeyCode::Char('q') || (key.code, key.modifiers) == (KeyCode::Char('c'), KeyModifiers::CONTROL) {
        return true;
    }
    if let Some((_, page)) = PAGES.iter().find(|(code, _)| *code == key.code) {
        // The key of a page leads back too.
        model.page = if *page == model.page { Page::Overview } else { *page };
        model.scroll = 0;
    }
    if let Some((_, step)) = STEPS.iter().find(|(code, _)| *code == key.code) {
        model.scroll = model.scroll.saturating_add_signed(*step);
    }
    false
}

/// A task that looks at the pipeline. A page that shows other parts is a reason to look at once.
fn look_again_and_again(
    settings: Settings,
    mut wanted: watch::Receiver<Parts>,
) -> (mpsc::Receiver<Result<Observation, String>>, Looking) {
    let (results, looks) = mpsc::channel(1);
    let task = tokio::spawn(async move {
        let mut observer = Observer::new(settings, "retail status");
        loop {
            let parts = wanted.borrow_and_update().clone();
            let began = Instant::now();
            let silent = |error| drop(results.try_send(Err(error)));
            let look = until_answer(observer.look(&parts), silent).await.map_err(|error| error.to_string());
            if results.send(look).await.is_err() {
                return;
            }
            let took = began.elapsed();
            tokio::select! {
                () = tokio::time::sleep(interval_after(took) - took) => {}
                Ok(()) = wanted.changed() => {}
            }
        }
    });
    (looks, Looking(task.abort_handle()))
}

/// The task of the looks, which ends with this value.
struct Looking(AbortHandle);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A thread that reads keys and changes of the size until the guard is dropped.
fn read_keys() -> (mpsc::UnboundedReceiver<Event>, KeysEnd) {
    let (sender, keys) = mpsc::unbounded_channel();
    let ended = Arc::new(AtomicBool::new(false));
    let end = KeysEnd(Arc::clone(&ended));
    std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            match event::poll(KEYS) {
                Ok(true) => {
                    // The terminal is gone, or the screen.
                    let Ok(event) = event::read() else { return };
                    if sender.send(event).is_err() {
                        return;
                    }
                }
                Ok(false) => {}
                Err(_) => return,
            }
        }
    });
    (keys, end)
}

struct KeysEnd(Arc<AtomicBool>);

impl Drop for KeysEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Prints the kept lines of the log when the screen ends.
struct PrintsLog<'a>(&'a Screen);

impl Drop for PrintsLog<'_> {
    fn drop(&mut self) {
        restore();
        let lines = std::mem::take(&mut *self.0.log.lock().unwrap_or_else(PoisonError::into_inner));
        for line in lines {
            let _closed = io::stderr().write_all(line.as_bytes());
        }
    }
}

struct Log(Screen);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !is_full() {
            return io::stderr().write(bytes);
        }
        let mut lines = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(String::from_utf8_lossy(bytes).into_owned());
        if lines.len() > LINES {
            lines.pop_front();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A line of the log without its own colours.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line.trim_end();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain += before;
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_log_loses_its_colours() {
        assert_eq!(plain("\u{1b}[2m2025\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m created\n"), "2025  INFO created");
        assert_eq!(plain("cut \u{1b}[3"), "cut ");
    }

    #[test]
    fn keys_select_a_page_and_lead_back() {
        let pipeline = crate::top::draw::tests::pipeline(1);
        let mut model = Model::new(pipeline);
        let mut key = |code: KeyCode, modifiers| {
            let quits = press(&mut model, KeyEvent::new(code, modifiers));
            (quits, model.page, model.scroll)
        };
        let plain = KeyModifiers::NONE;
        assert_eq!(key(KeyCode::Char('p'), plain), (false, Page::Partitions, 0));
        assert_eq!(key(KeyCode::Down, plain), (false, Page::Partitions, 1));
        assert_eq!(key(KeyCode::PageUp, plain), (false, Page::Partitions, 0));
        assert_eq!(key(KeyCode::Char('p'), plain), (false, Page::Overview, 0));
        assert_eq!(key(KeyCode::Char('w'), plain), (false, Page::WhatIf, 0));
        assert_eq!(key(KeyCode::Char('d'), plain), (false, Page::Letters, 0));
        assert_eq!(key(KeyCode::Esc, plain), (false, Page::Overview, 0));
        assert_eq!(key(KeyCode::Char('c'), plain), (false, Page::Overview, 0));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL).0 && key(KeyCode::Char('q'), plain).0);
    }
}
