//! Rounds, one after another, until one fails or enough are played.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};

use crate::check::Failure;
use crate::kind::Kind;
use crate::layout::Layout;
use crate::round::{self, Played, Setting};
use crate::schedule::{Draws, Schedule};
use crate::servers::Servers;

/// Servers and the schedule of a campaign.
#[derive(Debug)]
pub struct Campaign {
    servers: Arc<Servers>,
    setting: Setting,
    draws: Draws,
    rounds: u64,
    runtime: Runtime,
    _lanes: Runtime,
}

impl Campaign {
    /// Starts the servers. `program` is the program of this package.
    pub fn start(program: &Path, draws: Draws) -> Result<Self> {
        // The lanes have threads of their own, because faults block the threads of their runtime.
        let lanes = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let servers = Arc::new(Servers::start(lanes.handle())?);
        let setting = Setting {
            program: program.to_owned(),
            clock: retail_testbed::jumping_clock(),
            directory: round::directory(),
            lanes: lanes.handle().clone(),
        };
        Ok(Self { servers, setting, draws, rounds: 0, runtime, _lanes: lanes })
    }

    /// The schedule of the next round.
    pub fn draw(&mut self) -> Schedule {
        self.draws.next_round()
    }

    /// The schedule of a round in which the registry is away for minutes.
    pub fn draw_outage(&mut self, seconds: u64) -> Schedule {
        self.draws.outage(seconds)
    }

    /// The schedule of a round with these kinds and records.
    pub fn draw_of(&mut self, kinds: &[Kind], layout: Layout) -> Schedule {
        self.draws.round_of(kinds, layout)
    }

    /// Whether the disk of Postgres can be filled.
    pub fn has_small_disks(&self) -> bool {
        self.runtime.block_on(self.servers.databases.lock()).primary.disk().is_some()
    }

    /// Plays a round.
    pub fn play(&mut self, schedule: Schedule) -> Played {
        self.rounds += 1;
        let mut played = Played::new(&schedule, self.draws.seed(), self.rounds);
        let began = Instant::now();
        let round = round::play(&self.servers, &self.setting, schedule, &mut played);
        // Servers of the testbed panic if they do not start.
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(round)));
        if ended.is_err() {
            let text = "a step of the round failed: see standard error";
            played.failure = Some(Failure::Harness(text.to_owned()));
        }
        played.seconds = began.elapsed().as_secs_f64();
        played
    }

    /// Replaces the servers by new ones.
    pub fn replace_servers(&mut self) -> Result<()> {
        self.servers = Arc::new(Servers::start(&self.setting.lanes)?);
        Ok(())
    }

    /// Where the logs of a failed round are.
    pub fn directory(&self) -> PathBuf {
        self.setting.directory.clone()
    }
}

/// Rounds in a row that say nothing about the product because servers or the trial failed.
pub const BROKEN_ROUNDS: usize = 3;

/// When a campaign ends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// After this number of rounds.
    pub rounds: u64,
    /// After the round in which this time has passed.
    pub time: Option<Duration>,
}

impl Limits {
    /// Whether a campaign that has played `rounds` since `began` is over.
    pub fn reached(&self, rounds: u64, began: Instant) -> bool {
        rounds >= self.rounds || self.time.is_some_and(|time| began.elapsed() >= time)
    }
}
