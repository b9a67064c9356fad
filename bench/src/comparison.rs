//! The tables of a race: cost of each system, in absolute figures and relative to the others.

use std::collections::BTreeMap;

use crate::plot::Bar;
use crate::race::{Outcome, Run};
use crate::report::{Table, grouped, spread};
use crate::results::Race;
use crate::statistics::Spread;

/// The reference for the column of ratios.
const OURS: &str = "processor-2-pinned";

/// Returns the names of the two limits for a processor, with the allocator of the C library and with mimalloc. They have the same
/// number of consumers, pinned or free like its workers.
fn limits_of(system: &str) -> Option<[String; 2]> {
    let shape = system.strip_prefix("processor-")?;
    let shape = shape.strip_suffix("-second").unwrap_or(shape);
    Some(["", "-mimalloc"].map(|allocator| format!("limit-{shape}{allocator}")))
}

/// Returns the event counts of the topics, largest first.
fn sizes(race: &Race) -> Vec<u64> {
    let mut sizes: Vec<u64> = race.runs.iter().map(|run| run.events).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.reverse();
    sizes
}

/// Returns the completed runs of one system on one topic.
fn finished<'a>(race: &'a Race, system: &'a str, events: u64) -> impl Iterator<Item = &'a Run> {
    race.runs.iter().filter(move |f| f.system == system && f.events == events && f.finished())
}

fn cpu(race: &Race, system: &str, events: u64) -> Option<Spread> {
    Spread::of(finished(race, system, events).map(|run| run.measured.cpu))
}

/// Returns the CPU time of one system divided by that of another, for all rounds in which both completed.
fn ratio(race: &Race, one: &str, other: &str, events: u64) -> Option<Spread> {
    let by_round = |system: &str| -> BTreeMap<u32, f64> {
        finished(race, system, events).map(|run| (run.repetition, run.measured.cpu)).collect()
    };
    let others = by_round(other);
    Spread::of(by_round(one).into_iter().filter_map(|(round, cpu)| Some(cpu / others.get(&round)?)))
}

/// Returns the CPU seconds per additional event, and the CPU seconds that do not depend on the number of events.
fn marginal(race: &Race, system: &str) -> Option<(f64, f64)> {
    let [large, small] = sizes(race)[..] else { return None };
    let (of_large, of_small) = (cpu(race, system, large)?.median, cpu(race, system, small)?.median);
    let each = (of_large - of_small) / (large - small) as f64;
    Some((each, of_small - each * small as f64))
}

/// Describes the outcome of all runs of a system: the first wrong or failed one, if there is one.
fn outcome(race: &Race, system: &str, events: u64) -> String {
    let all: Vec<&Outcome> =
        race.runs.iter().filter(|run| run.system == system && run.events == events).map(|run| &run.outcome).collect();
    match all.iter().find(|outcome| !outcome.is_right()) {
        None => all.first().map_or_else(String::new, |outcome| outcome.in_words()),
        Some(wrong) => {
            let right = all.iter().filter(|outcome| outcome.is_right()).count();
            let others = if right > 0 { format!("; correct in {right} of {} runs", all.len()) } else { String::new() };
            format!("{}{others}", wrong.in_words())
        }
    }
}

/// Describes the conditions of the race.
pub(crate) fn in_words(race: &Race) -> String {
    let sizes = sizes(race);
    let rounds = race.runs.iter().map(|run| run.repetition + 1).max().unwrap_or(0);
    let mut text = format!(
        "{} purchases on 8 partitions, lz4; the correct result has {} rows. Each system starts as a new process and reads to the log end, \
         into an empty schema, {rounds} time{} in turns. Figures are the median (minimum to maximum). CPU is the CPU time of the process \
         tree, including its start, without Kafka and Postgres. RSS is the peak of the sum over all processes. Ratios compare runs of \
         the same round.\n",
        grouped(sizes.first().copied().unwrap_or(0)),
        grouped(race.rows as u64),
        if rounds == 1 { "" } else { "s" }
    );
    if let [_, small] = sizes[..] {
        text += &format!(
            "*Marginal* is the CPU time per event beyond {}; *fixed* is the CPU time that does not depend on the number of events. Both follow \
             from the medians.\n",
            grouped(small)
        );
    }
    for absent in &race.absent {
        text += &format!("Not measured: {absent}.\n");
    }
    text
}

/// Returns the table for the largest topic.
pub(crate) fn table(race: &Race) -> Table {
    let mut table = Table::new(&[
        "System",
        "CPU, µs/event",
        "Share of the limit",
        "Share of the limit with mimalloc",
        "CPU relative to the processor",
        "Marginal, µs/event",
        "Fixed, CPU seconds",
        "Wall, s",
        "Events/s",
        "Peak RSS, MiB",
        "First row, s",
        "Result",
    ]);
    let Some(&events) = sizes(race).first() else { return table };
    for (name, title) in &race.systems {
        let figures = |of: fn(&Run) -> Option<f64>| Spread::of(finished(race, name, events).filter_map(of));
        let show =
            |figures: Option<Spread>, digits| figures.map_or_else(String::new, |figures| spread(figures, digits));
        let wall = figures(|run| Some(run.measured.wall));
        let marginal = marginal(race, name);
        let micros = 1e6 / events as f64;
        let percent = |Spread { min, median, max }: Spread| {
            format!("{:.0} % ({:.0} to {:.0})", median * 100.0, min * 100.0, max * 100.0)
        };
        let share = |limit: &String| ratio(race, limit, name, events).map_or_else(String::new, percent);
        let [share, share_with_ours] =
            limits_of(name).map_or_else(Default::default, |limits| limits.each_ref().map(share));
        let times = (!name.starts_with("limit")).then(|| ratio(race, name, OURS, events)).flatten();
        table.row([
            title.clone(),
            show(cpu(race, name, events).map(|cpu| cpu.times(micros)), 2),
            share,
            share_with_ours,
            show(times, 1),
            marginal.map_or_else(String::new, |(each, _)| format!("{:.2}", each * 1e6)),
            marginal.map_or_else(String::new, |(_, fixed)| format!("{:.1}", fixed.max(0.0))),
            show(wall, 1),
            wall.map_or_else(String::new, |wall| grouped((events as f64 / wall.median) as u64)),
            show(figures(|run| Some(run.measured.peak_mib)), 0),
            show(figures(|run| run.first_row), 2),
            outcome(race, name, events),
        ]);
    }
    table
}

/// Returns the median CPU time per event in microseconds, for the plot.
pub(crate) fn bars(race: &Race) -> Vec<Bar> {
    let Some(&events) = sizes(race).first() else { return Vec::new() };
    let bar = |(name, title): &(String, String)| {
        let is_right = finished(race, name, events).all(|run| run.outcome.is_right());
        Some((title.replace("**", ""), cpu(race, name, events)?.median * 1e6 / events as f64, is_right))
    };
    race.systems.iter().filter_map(bar).collect()
}

/// Returns the table of throughput by number of workers. The rows of librdkafka alone show the limit of broker and machine.
pub(crate) fn workers(race: &Race) -> Table {
    let sizes = sizes(race);
    let [many, few] = sizes[..] else { return Table::new(&["System"]) };
    let walls = [few, many].map(|events| format!("Wall, s: {} events", grouped(events)));
    let further = format!("Events/s beyond the first {}", grouped(few));
    let mut table = Table::new(&["System", &walls[0], &walls[1], &further, "CPU, µs/event", "Result"]);
    for (name, title) in &race.systems {
        let walls = [few, many].map(|events| -> BTreeMap<u32, f64> {
            finished(race, name, events).map(|run| (run.repetition, run.measured.wall)).collect()
        });
        let show = |walls: &BTreeMap<u32, f64>| {
            Spread::of(walls.values().copied()).map_or_else(String::new, |walls| spread(walls, 1))
        };
        let further =
            walls[1].iter().filter_map(|(round, wall)| Some((many - few) as f64 / (wall - walls[0].get(round)?)));
        let further = Spread::of(further).map_or_else(String::new, |Spread { min, median, max }| {
            format!("{} ({} to {})", grouped(median as u64), grouped(min as u64), grouped(max as u64))
        });
        table.row([
            title.replace("**", ""),
            show(&walls[0]),
            show(&walls[1]),
            further,
            cpu(race, name, many).map_or_else(String::new, |cpu| spread(cpu.times(1e6 / many as f64), 2)),
            outcome(race, name, many),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measured;
    use crate::reference::Verdict;

    fn run(system: &str, events: u64, repetition: u32, cpu: f64, outcome: Outcome) -> Run {
        let measured = Measured {
            started: 0.0,
            wall: cpu,
            cpu,
            peak_mib: 10.0,
            exit_code: Some(0),
            timed_out: false,
            left_behind: 0,
        };
        let system = system.to_owned();
        Run { system, events, repetition, measured, first_row: None, postgres_cpu: None, outcome }
    }

    fn race(runs: Vec<Run>) -> Race {
        Race { systems: Vec::new(), rows: 1, runs, absent: Vec::new() }
    }

    fn verdict(wrong: usize) -> Verdict {
        Verdict { rows: 1, missing: 0, unexpected: 0, wrong, quantity: (0, 1), amount: "0.01".to_owned() }
    }

    #[test]
    fn ratio_uses_only_rounds_in_which_both_completed() {
        let race = race(vec![
            run("a", 100, 0, 2.0, Outcome::ReadAll),
            run("a", 100, 1, 30.0, Outcome::ReadAll),
            run("a", 100, 2, 1.0, Outcome::ReadAll),
            run("b", 100, 0, 4.0, Outcome::ReadAll),
            run("b", 100, 1, 60.0, Outcome::ReadAll),
            run("b", 100, 2, 7.0, Outcome::Failed("killed".to_owned())),
        ]);
        assert_eq!(ratio(&race, "a", "b", 100), Some(Spread { min: 0.5, median: 0.5, max: 0.5 }));
    }

    #[test]
    fn marginal_cost_excludes_the_start() {
        let of = |events, cpu| run("jvm", events, 0, cpu, Outcome::ReadAll);
        let race = race(vec![of(5_000_000, 40.0), of(500_000, 22.0)]);
        let (each, fixed) = marginal(&race, "jvm").unwrap();
        assert!((each * 1e6 - 4.0).abs() < 1e-9 && (fixed - 20.0).abs() < 1e-9, "{each} {fixed}");
    }

    #[test]
    fn workers_throughput_excludes_the_start() {
        let of = |events, repetition, wall| run("workers", events, repetition, wall, Outcome::ReadAll);
        // 1.5 seconds of start, then four and two million events per second.
        let runs = vec![of(5_000_000, 0, 2.75), of(20_000_000, 0, 6.5), of(5_000_000, 1, 4.0), of(20_000_000, 1, 11.5)];
        let mut race = race(runs);
        race.systems = vec![("workers".to_owned(), "Workers".to_owned())];
        let table = workers(&race).to_string();
        let row = table.lines().last().unwrap();
        assert!(row.contains("| 3,000,000 (2,000,000 to 4,000,000) |"), "{table}");
    }

    #[test]
    fn outcome_with_one_wrong_run_reports_it() {
        let of = |repetition, wrong| run("a", 100, repetition, 1.0, Outcome::Compared(verdict(wrong)));
        let all_right = race(vec![of(0, 0), of(1, 0)]);
        assert_eq!(outcome(&all_right, "a", 100), "equal");
        let one_wrong = outcome(&race(vec![of(0, 0), of(1, 1)]), "a", 100);
        assert!(one_wrong.starts_with("**different**") && one_wrong.ends_with("correct in 1 of 2 runs"), "{one_wrong}");
        let failed = race(vec![run("a", 100, 0, 1.0, Outcome::Failed("oops".to_owned()))]);
        assert_eq!((outcome(&failed, "a", 100), cpu(&failed, "a", 100)), ("**failed**: oops".to_owned(), None));
    }

    #[test]
    fn limits_of_processor_match_its_workers() {
        let pair = |a: &str, b: &str| Some([a.to_owned(), b.to_owned()]);
        assert_eq!(limits_of("processor-2-pinned"), pair("limit-2-pinned", "limit-2-pinned-mimalloc"));
        assert_eq!(limits_of("processor-1-second"), pair("limit-1", "limit-1-mimalloc"));
        assert_eq!(limits_of("naive"), None);
    }
}
