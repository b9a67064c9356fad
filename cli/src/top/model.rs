//! Everything that the screen shows at one moment.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use retail_api::Pipeline;
use retail_engine::Timestamp;
use retail_observe::{Observation, Rates, Speeds};
use retail_store::overview::{LetterSnapshot, MissedBy, Overview};

/// The span of speeds.
const SPEEDS: Duration = Duration::from_secs(10);

/// Number of speeds that are kept for the curves: more than a terminal has columns.
const CURVE: usize = 400;

/// The part of the screen that keys select.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Page {
    /// Windows, groups and partitions.
    #[default]
    Overview,
    /// All partitions.
    Partitions,
    /// The newest dead letters.
    Letters,
    /// Late events with longer delays.
    WhatIf,
    /// Problems and the log.
    Log,
}

/// The facts of a `retail run`, which knows more than the servers: how many purchases it has sent, and read before their commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Local {
    /// Purchases sent; `None` without a producer.
    pub(crate) sent: Option<u64>,
    /// Records read, committed or not.
    pub(crate) read: u64,
}

/// The state of the screen.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(crate) pipeline: Pipeline,
    /// The last look that succeeded.
    pub(crate) seen: Option<Observation>,
    /// The last windows and groups: they are read less often if reading them takes long.
    pub(crate) overview: Overview,
    /// The newest dead letters, once the page was shown.
    pub(crate) letters: Option<Vec<LetterSnapshot>>,
    /// The late events by additional delay, once the page was shown.
    pub(crate) missed_by: Option<MissedBy>,
    /// The error of the last look; `None` if it succeeded.
    pub(crate) error: Option<String>,
    /// The problems of this process, by component; empty in `retail top`.
    pub(crate) problems: BTreeMap<String, String>,
    /// The totals of this process; `None` in `retail top`.
    pub(crate) local: Option<Local>,
    pub(crate) speeds: Speeds,
    /// Speeds of sending and reading, the newest last.
    pub(crate) sent_curve: VecDeque<u64>,
    pub(crate) read_curve: VecDeque<u64>,
    pub(crate) page: Page,
    /// Number of lines of the page above the screen.
    pub(crate) scroll: usize,
    /// The newest lines of the log.
    pub(crate) log: Vec<String>,
    /// Address of the web page of this process.
    pub(crate) web_page: Option<SocketAddr>,
    /// Whether the program is ending.
    pub(crate) is_stopping: bool,
    /// Speeds over ten seconds, and those between two looks for the curves.
    rates: Rates,
    steps: Rates,
}

impl Model {
    pub(crate) fn new(pipeline: Pipeline) -> Self {
        Self {
            pipeline,
            seen: None,
            overview: Overview::default(),
            letters: None,
            missed_by: None,
            error: None,
            problems: BTreeMap::new(),
            local: None,
            speeds: Speeds::default(),
            sent_curve: VecDeque::new(),
            read_curve: VecDeque::new(),
            page: Page::default(),
            scroll: 0,
            log: Vec::new(),
            web_page: None,
            is_stopping: false,
            rates: Rates::over(SPEEDS),
            steps: Rates::over(Duration::from_millis(1)),
        }
    }

    /// Takes the result of a look.
    pub(crate) fn look(&mut self, observation: Observation) {
        let Observation { status, overview, letters, missed_by } = &observation;
        let sent = self.local.and_then(|local| local.sent).map_or(status.log_ends, |sent| i64::try_from(sent).ok());
        let read = self.local.map_or(status.next_offsets, |local| i64::try_from(local.read).unwrap_or(i64::MAX));
        // A total that is unknown keeps its curve at zero.
        let sent = sent.unwrap_or_default();
        self.speeds = self.rates.add(status.taken_at, sent, read, status.watermark);
        let step = self.steps.add(status.taken_at, sent, read, status.watermark);
        for (curve, speed) in [(&mut self.sent_curve, step.sent), (&mut self.read_curve, step.read)] {
            curve.push_back(speed.round() as u64);
            if curve.len() > CURVE {
                curve.pop_front();
            }
        }
        if let Some(overview) = overview {
            self.overview = overview.clone();
        }
        self.letters = letters.clone().or_else(|| self.letters.take());
        self.missed_by = missed_by.clone().or_else(|| self.missed_by.take());
        self.error = None;
        self.seen = Some(observation);
    }

    /// The time of the last look.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        self.seen.as_ref().map(|seen| seen.status.taken_at)
    }

    /// All problems, of the pipeline and of this process.
    pub(crate) fn all_problems(&self) -> Vec<String> {
        let seen = self.seen.iter().flat_map(|seen| seen.status.problems.clone());
        let local = self.problems.iter().map(|(component, problem)| format!("{component}: {problem}"));
        self.error.clone().into_iter().chain(local).chain(seen).collect()
    }

    /// The delays of the what-if page, in addition to that of the pipeline.
    pub(crate) fn additional_delays(&self) -> Vec<Duration> {
        let delay = Duration::from(self.pipeline.rules.delay).max(Duration::from(self.pipeline.rules.window));
        [delay / 4, delay / 2, delay, delay * 2, delay * 5, delay * 23].to_vec()
    }

    /// The time in which the watermark reaches an instant at its present speed; `None` if it stands still.
    pub(crate) fn time_until(&self, instant: Timestamp) -> Option<Duration> {
        let watermark = self.seen.as_ref()?.status.watermark?;
        let distance = Duration::from(instant.since(watermark)).as_secs_f64();
        // A watermark that stands still for most of the span is not fast.
        (self.speeds.watermark > 0.01).then(|| Duration::try_from_secs_f64(distance / self.speeds.watermark).ok())?
    }
}
