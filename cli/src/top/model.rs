//! Everything that the screen shows at one moment.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use retail_api::Pipeline;
use retail_engine::Timestamp;
use retail_observe::{Observation, Rates, Speeds, Status};
use retail_store::snapshot::{
    Detail, Groups, LargestGroups, LateCount, LateSteps, Letter, NewestLetters, Parts, WindowRange, WindowSums,
};

/// The span of speeds.
const SPEEDS: Duration = Duration::from_secs(10);

/// Number of speeds that are kept for the curves: more than a terminal has columns.
const CURVE: usize = 400;

/// Number of closed windows that are read: a few screens.
const CLOSED_WINDOWS: i64 = 48;

/// Number of groups that are read.
const GROUPS: i64 = 50;

/// Number of dead letters that are read.
const LETTERS: i64 = 200;

/// Number of the newest dead letters whose late events are counted.
pub(super) const LATE_EVENTS: i64 = 20_000;

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
    /// The status of the last look that succeeded.
    pub(crate) status: Option<Status>,
    /// The last windows and groups: only their page reads them.
    pub(crate) windows: Vec<WindowSums>,
    pub(crate) groups: Groups,
    /// The newest dead letters, once the page was shown.
    pub(crate) letters: Option<Vec<Letter>>,
    /// The late events between the additional delays, once the page was shown.
    pub(crate) late: Option<Vec<LateCount>>,
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
            status: None,
            windows: Vec::new(),
            groups: Groups::default(),
            letters: None,
            late: None,
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
        let Observation { status, detail } = observation;
        let Detail { windows, groups, letters, reasons: _, late } = detail;
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
        self.windows = windows.unwrap_or_else(|| std::mem::take(&mut self.windows));
        self.groups = groups.unwrap_or_else(|| std::mem::take(&mut self.groups));
        self.letters = letters.or_else(|| self.letters.take());
        self.late = late.or_else(|| self.late.take());
        self.error = None;
        self.status = Some(status);
    }

    /// The time of the last look.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        self.status.as_ref().map(|status| status.taken_at)
    }

    /// All problems, of the pipeline and of this process.
    pub(crate) fn all_problems(&self) -> Vec<String> {
        let seen = self.status.iter().flat_map(|status| status.problems.clone());
        let local = self.problems.iter().map(|(component, problem)| format!("{component}: {problem}"));
        self.error.clone().into_iter().chain(local).chain(seen).collect()
    }

    /// The parts that the present page shows.
    pub(crate) fn parts(&self) -> Parts {
        match self.page {
            Page::Overview => Parts {
                windows: Some(WindowRange { closed: CLOSED_WINDOWS, most: None }),
                groups: Some(LargestGroups { most: GROUPS, closed: Some(CLOSED_WINDOWS) }),
                ..Parts::default()
            },
            Page::Letters => Parts {
                letters: Some(NewestLetters { number: LETTERS, reason: None, payloads: false }),
                ..Parts::default()
            },
            Page::WhatIf => Parts {
                late: Some(LateSteps { among: LATE_EVENTS, steps: self.additional_delays() }),
                ..Parts::default()
            },
            Page::Partitions | Page::Log => Parts::default(),
        }
    }

    /// The delays of the what-if page, in addition to that of the pipeline.
    pub(crate) fn additional_delays(&self) -> Vec<Duration> {
        let delay = Duration::from(self.pipeline.rules.delay).max(Duration::from(self.pipeline.rules.window));
        [delay / 4, delay / 2, delay, delay * 2, delay * 5, delay * 23].to_vec()
    }

    /// The time in which the watermark reaches an instant at its present speed; `None` if it stands still.
    pub(crate) fn time_until(&self, instant: Timestamp) -> Option<Duration> {
        let watermark = self.status.as_ref()?.watermark?;
        let distance = Duration::from(instant.since(watermark)).as_secs_f64();
        // A watermark that stands still for most of the span is not fast.
        (self.speeds.watermark > 0.01).then(|| Duration::try_from_secs_f64(distance / self.speeds.watermark).ok())?
    }
}
