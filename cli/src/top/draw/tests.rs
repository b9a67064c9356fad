//! Screens of random streams, and of one stream at three sizes.

use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use retail_api::Pipeline;
use retail_connection::text::amount;
use retail_engine::{Counts, Money, Timestamp};
use retail_observe::{Observation, Status};
use retail_store::progress::Progress;
use retail_store::snapshot::{Detail, GroupSums, Groups, LateCount, Letter, WindowSums};
use retail_store::{PartitionSnapshot, Rejected, Snapshot};

use super::*;
use crate::text::count;
use crate::top::model::Local;

const WINDOW: i64 = 300;
const START: i64 = 1_735_689_600;

pub(in crate::top) fn pipeline(speed: i32) -> Pipeline {
    let yaml = format!(
        "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: shop}}\nspec:\n  \
         kafka: {{bootstrapServers: \"k:9092\"}}\n  topic: {{name: t}}\n  database: {{host: p, name: d}}\n  \
         producer: {{speed: {speed}}}\n"
    );
    Pipeline::parse(&yaml).unwrap()
}

/// Random numbers by multiplication: the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as i64) % limit.max(1)
    }
}

/// A stream of events and its totals, as the servers would show them.
struct Stream {
    random: Random,
    second: i64,
    partitions: Vec<PartitionSnapshot>,
    ends: Vec<i64>,
    events: Vec<i64>,
}

impl Stream {
    fn new(seed: u64, partitions: i32) -> Self {
        let partition = |partition| PartitionSnapshot {
            partition,
            start_offset: 10,
            next_offset: 10,
            newest_event: None,
            is_idle: false,
            idle_since: None,
            owner: Some("host/1/worker-0\u{1b}[2J".to_owned()),
            committed_at: None,
            counts: Counts::default(),
        };
        let partitions: Vec<PartitionSnapshot> = (0..partitions).map(partition).collect();
        let ends = vec![0; partitions.len()];
        Self { random: Random(seed), second: START + 4000, partitions, ends, events: Vec::new() }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.partitions.iter().for_each(|partition| counts += partition.counts);
        counts
    }

    /// A second later, after more events.
    fn step(&mut self) {
        self.second += 1;
        for (partition, end) in self.partitions.iter_mut().zip(&mut self.ends) {
            let random = &mut self.random;
            let more = Counts {
                applied: random.below(5000),
                late: random.below(40),
                invalid: random.below(30),
                future: random.below(3),
                filtered: 0,
                duplicate: random.below(9),
                gaps: random.below(2),
            };
            partition.counts += more;
            partition.next_offset += more.total();
            partition.committed_at = Some(Timestamp::from_secs(self.second));
            let newest = Timestamp::from_secs(START + 3600 + (self.second - START) * 10 - random.below(200));
            partition.newest_event = partition.newest_event.max(Some(newest));
            *end = (*end).max(partition.next_offset + random.below(10_000));
            let window = usize::try_from(((self.second - START) / 5) % 40).unwrap();
            self.events.resize(self.events.len().max(window + 1), 1);
            self.events[window] += more.applied;
        }
    }

    fn observation(&mut self, pipeline: &Pipeline) -> Observation {
        let earliest = self.partitions.iter().filter_map(|partition| partition.newest_event).min();
        let watermark = earliest.map(|earliest| earliest.minus(pipeline.rules.delay));
        let closed_until = watermark.map(|watermark| watermark.floor(pipeline.rules.window));
        let held_by =
            self.partitions.iter().min_by_key(|partition| partition.newest_event).map(|partition| partition.partition);
        let counts = self.counts();
        let snapshot = Snapshot {
            taken_at: Timestamp::from_secs(self.second),
            progress: Progress {
                watermark,
                complete_through: closed_until,
                counts,
                last_commit: Some(Timestamp::from_secs(self.second)),
                ..Progress::default()
            },
            held_by,
            open_windows: 13,
            next_close: closed_until.map(|time| time.plus(pipeline.rules.window)),
            partitions: self.partitions.clone(),
            proof: None,
            hold: None,
            rejected: vec![Rejected { reason: "malformed_json".to_owned(), records: counts.invalid }],
            speed: None,
            detail: Detail::default(),
        };
        let logs = self.ends.iter().map(|end| 0..*end).collect();
        let status = Status::new(pipeline, &snapshot, Some(Ok(&logs)));
        let closed = closed_until.map_or(0, |time| time.as_micros() / 1_000_000);
        let first = closed - 8 * WINDOW;
        let windows = self.events.iter().zip(0..).map(|(events, number)| WindowSums {
            start: Timestamp::from_secs(first + number * WINDOW),
            end: Timestamp::from_secs(first + (number + 1) * WINDOW),
            events: *events,
            quantity: *events,
            amount: "1.500000".to_owned(),
            is_final: number < 8,
        });
        let hostile = ["Hair\u{1b}[31m", "雑貨と化粧品の長い名前 that is cut", "a\nb\tc", "\u{202e}evil", ""];
        let groups = hostile.iter().zip(0..).map(|(name, number)| GroupSums {
            dimensions: vec![(*name).to_owned(), "COD".to_owned()],
            amount: format!("{}.100000", 99_999 - number),
            share: 0.01,
        });
        let letters = (0..30).map(|number| Letter {
            partition: 0,
            offset: 100 - number,
            reason: if number % 2 == 0 { "late".to_owned() } else { "bad_price".to_owned() },
            detail: (number % 2 == 1).then(|| "price is \"\u{1b}[0m free\"".to_owned()),
            event_time: Some(Timestamp::from_secs(START)),
            missed_by: (number % 2 == 0).then_some(Duration::from_secs(90)),
            stored_at: Timestamp::from_secs(self.second),
            payload: None,
        });
        let late = (1..=6).map(|step| LateCount {
            events: counts.late * step / 6 - counts.late * (step - 1) / 6,
            amount: Money::from_millionths(1_000_000),
        });
        let detail = Detail {
            windows: Some(windows.collect()),
            groups: Some(Groups { largest: groups.collect(), number: 132 }),
            letters: Some(letters.collect()),
            reasons: None,
            late: Some(late.chain([LateCount::default()]).collect()),
        };
        Observation { status, detail }
    }
}

/// A model after so many seconds of a stream.
fn model(seed: u64, partitions: i32, seconds: usize, speed: i32) -> (Model, Stream) {
    let (pipeline, mut stream) = (pipeline(speed), Stream::new(seed, partitions));
    let mut model = Model::new(pipeline);
    for _ in 0..seconds {
        stream.step();
        let observation = stream.observation(&model.pipeline);
        model.look(observation);
    }
    (model, stream)
}

fn screen(model: &Model, width: u16, height: u16, colours: Colours) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, colours)).unwrap();
    terminal
}

/// The screen as text, without the blanks at the ends of lines.
fn text(model: &Model, width: u16, height: u16) -> String {
    let terminal = screen(model, width, height, Colours::with(true));
    let cells = terminal.backend().buffer().content();
    let line = |cells: &[ratatui::buffer::Cell]| {
        let mut line = String::new();
        let mut skip = 0;
        for cell in cells {
            // A wide character takes the next cell too.
            if skip == 0 {
                line += cell.symbol();
                skip = Span::raw(cell.symbol()).width().saturating_sub(1);
            } else {
                skip -= 1;
            }
        }
        line.trim_end().to_owned() + "\n"
    };
    cells.chunks(usize::from(width)).map(line).collect()
}

const PAGES: [Page; 5] = [Page::Overview, Page::Partitions, Page::Letters, Page::WhatIf, Page::Log];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn screen_of_a_random_stream_shows_its_totals(
        seed in any::<u64>(), partitions in 1..40, seconds in 1usize..20, width in 60u16..150, height in 15u16..50,
    ) {
        let (mut model, stream) = model(seed, partitions, seconds, 1);
        let overview = text(&model, width, height);
        let counts = stream.counts();
        let flat = overview.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assert!(flat.contains(&format!("{} offsets = {} applied", count(counts.total()), count(counts.applied))), "{}", overview);
        prop_assert!(flat.contains(&format!("{} gaps", count(counts.gaps))), "{}", overview);
        let held = model.status.as_ref().unwrap().hold.as_ref().unwrap().partition;
        let of = if width < 80 { "" } else { "the newest event of " };
        prop_assert!(overview.contains(&format!("1h behind {of}partition {held}")), "{}", overview);
        prop_assert!(overview.contains(" final"), "{}", overview);
        let lag: i64 = stream.partitions.iter().zip(&stream.ends).map(|(at, end)| end - at.next_offset).sum();
        prop_assert!(overview.contains(&format!("lag {}", count(lag))), "{}", overview);
        if width >= 80 && height >= 24 {
            prop_assert!(overview.contains(&amount("99999.100000")), "{}", overview);
        }
        for page in PAGES {
            model.page = page;
            for scroll in [0, 3, 1000] {
                model.scroll = scroll;
                let shown = text(&model, width, height);
                prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{:?}", shown);
            }
        }
    }

    #[test]
    fn screen_of_any_size_is_drawn(seed in any::<u64>(), seconds in 0usize..3, width in 1u16..200, height in 1u16..70) {
        let (mut model, _) = model(seed, 5, seconds, 1);
        for page in PAGES {
            model.page = page;
            screen(&model, width, height, Colours::with(true));
        }
    }
}

#[test]
fn screen_without_colours_has_none() {
    let (mut model, _) = model(1, 4, 12, 60);
    for page in PAGES {
        model.page = page;
        let plain = screen(&model, 80, 24, Colours::with(false));
        assert!(
            plain.backend().buffer().content().iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset))
        );
    }
    let coloured = screen(&model, 80, 24, Colours::with(true));
    assert!(coloured.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset));
}

#[test]
fn screen_before_the_first_look_and_with_errors() {
    let mut model = Model::new(pipeline(1));
    assert!(text(&model, 80, 24).contains("reading Postgres and Kafka"));
    model.error = Some("cannot reach postgres at db:5432: start it".to_owned());
    let shown = text(&model, 80, 24);
    assert!(shown.contains("NO ANSWER") && shown.contains("! cannot reach postgres at db:5432"), "{shown}");
    let (mut model, _) = self::model(1, 4, 12, 1);
    model.local = Some(Local { sent: Some(0), read: 0 });
    model.problems.extend((0..4).map(|number| (format!("part{number}"), "is broken".to_owned())));
    let shown = text(&model, 80, 24);
    assert!(
        shown.contains("NOT READY") && shown.contains("! part1: is broken") && shown.contains("and 2 more: l"),
        "{shown}"
    );
    model.page = Page::Log;
    model.log = (0..50).map(|number| format!("INFO line {number}")).collect();
    let shown = text(&model, 80, 24);
    assert!(
        shown.contains("! part3: is broken") && shown.contains("INFO line 49") && !shown.contains("line 0\n"),
        "{shown}"
    );
}

#[test]
fn screens_at_three_sizes() {
    let (mut model, _) = model(7, 4, 40, 60);
    // The producer of this stream is fast, and its events are old.
    let status = model.status.as_mut().unwrap();
    status.taken_at = Timestamp::from_secs(START + 5_000_000);
    status.last_commit = Some(Timestamp::from_secs(START + 4_999_999));
    insta::assert_snapshot!("80x24", text(&model, 80, 24));
    insta::assert_snapshot!("120x40", text(&model, 120, 40));
    insta::assert_snapshot!("60x15", text(&model, 60, 15));
    for (page, name) in [(Page::Partitions, "partitions"), (Page::Letters, "letters"), (Page::WhatIf, "what-if")] {
        model.page = page;
        insta::assert_snapshot!(name, text(&model, 80, 24));
    }
}
