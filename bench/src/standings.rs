//! What a race says: who took how much, against whom.

use std::collections::BTreeMap;

use crate::plot::Bar;
use crate::race::{Finish, Outcome};
use crate::report::{Table, grouped, spread};
use crate::results::Race;
use crate::statistics::Spread;

/// The contender that others are counted in.
const OURS: &str = "processor-2-pinned";

/// The limits that a contender is held against, that of the C library's allocator and that of ours: as many consumers, held on
/// cores or free.
fn limits_of(contender: &str) -> Option<[String; 2]> {
    let shape = contender.strip_prefix("processor-")?;
    let shape = shape.strip_suffix("-beside").unwrap_or(shape);
    Some(["", "-mimalloc"].map(|allocator| format!("limit-{shape}{allocator}")))
}

/// The topics of a race, by number of events, the largest first.
fn sizes(race: &Race) -> Vec<u64> {
    let mut sizes: Vec<u64> = race.finishes.iter().map(|finish| finish.events).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.reverse();
    sizes
}

/// The finishes of one contender on one topic that mean anything.
fn finished<'a>(race: &'a Race, contender: &'a str, events: u64) -> impl Iterator<Item = &'a Finish> {
    race.finishes.iter().filter(move |f| f.contender == contender && f.events == events && f.finished())
}

fn cpu(race: &Race, contender: &str, events: u64) -> Option<Spread> {
    Spread::of(finished(race, contender, events).map(|finish| finish.measured.cpu))
}

/// CPU of one over that of another in the same round, over all rounds in which both finished.
fn ratio(race: &Race, one: &str, other: &str, events: u64) -> Option<Spread> {
    let by_round = |contender: &str| -> BTreeMap<u32, f64> {
        finished(race, contender, events).map(|finish| (finish.repetition, finish.measured.cpu)).collect()
    };
    let others = by_round(other);
    Spread::of(by_round(one).into_iter().filter_map(|(round, cpu)| Some(cpu / others.get(&round)?)))
}

/// CPU seconds for each event more, and those that do not depend on the number of events.
fn marginal(race: &Race, contender: &str) -> Option<(f64, f64)> {
    let [large, small] = sizes(race)[..] else { return None };
    let (of_large, of_small) = (cpu(race, contender, large)?.median, cpu(race, contender, small)?.median);
    let each = (of_large - of_small) / (large - small) as f64;
    Some((each, of_small - each * small as f64))
}

/// What came of all runs of a contender: the words for one that was not as it should be, if there was one.
fn outcome(race: &Race, contender: &str, events: u64) -> String {
    let all: Vec<&Outcome> = race
        .finishes
        .iter()
        .filter(|finish| finish.contender == contender && finish.events == events)
        .map(|finish| &finish.outcome)
        .collect();
    match all.iter().find(|outcome| !outcome.is_right()) {
        None => all.first().map_or_else(String::new, |outcome| outcome.in_words()),
        Some(wrong) => {
            let right = all.iter().filter(|outcome| outcome.is_right()).count();
            let others = if right > 0 { format!("; right in {right} of {} runs", all.len()) } else { String::new() };
            format!("{}{others}", wrong.in_words())
        }
    }
}

/// What was done.
pub(crate) fn in_words(race: &Race) -> String {
    let sizes = sizes(race);
    let rounds = race.finishes.iter().map(|finish| finish.repetition + 1).max().unwrap_or(0);
    let mut text = format!(
        "{} purchases on 8 partitions, lz4; {} rows must come out. Each contender from a cold process to the end of the log, into an \
         empty schema, {rounds} time{} in turns: the median, with the least and the most. CPU is that of the process tree, start \
         included, Kafka and Postgres not; RSS is the most at one moment, summed over the processes. Ratios are of runs of the same round.\n",
        grouped(sizes.first().copied().unwrap_or(0)),
        grouped(race.rows as u64),
        if rounds == 1 { "" } else { "s" }
    );
    if let [_, small] = sizes[..] {
        text += &format!(
            "*Marginal* is the CPU of each event beyond {}, and *fixed* what is there without any event; both from the medians.\n",
            grouped(small)
        );
    }
    for absent in &race.absent {
        text += &format!("Not measured: {absent}.\n");
    }
    text
}

/// The standings on the largest topic.
pub(crate) fn table(race: &Race) -> Table {
    let mut table = Table::new(&[
        "Contender",
        "CPU, µs/event",
        "Share of the limit",
        "The same, with mimalloc",
        "Times the processor's",
        "Marginal, µs/event",
        "Fixed, CPU-s",
        "Wall, s",
        "Events/s",
        "Peak RSS, MiB",
        "First row, s",
        "Result",
    ]);
    let Some(&events) = sizes(race).first() else { return table };
    for (name, title) in &race.contenders {
        let figures = |of: fn(&Finish) -> Option<f64>| Spread::of(finished(race, name, events).filter_map(of));
        let show =
            |figures: Option<Spread>, digits| figures.map_or_else(String::new, |figures| spread(figures, digits));
        let wall = figures(|finish| Some(finish.measured.wall));
        let marginal = marginal(race, name);
        let micros = 1e6 / events as f64;
        // Of the limit's CPU over ours, the greatest share is that of the least.
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
            show(figures(|finish| Some(finish.measured.peak_mib)), 0),
            show(figures(|finish| finish.first_row), 2),
            outcome(race, name, events),
        ]);
    }
    table
}

/// Median CPU per event in microseconds of all that finished, with their titles: for the plot.
pub(crate) fn bars(race: &Race) -> Vec<Bar> {
    let Some(&events) = sizes(race).first() else { return Vec::new() };
    let bar = |(name, title): &(String, String)| {
        let is_right = finished(race, name, events).all(|finish| finish.outcome.is_right());
        Some((title.replace("**", ""), cpu(race, name, events)?.median * 1e6 / events as f64, is_right))
    };
    race.contenders.iter().filter_map(bar).collect()
}

/// Speed by number of workers, beside that of as many consumers that look at nothing: what broker and machine leave.
pub(crate) fn workers(race: &Race) -> Table {
    let sizes = sizes(race);
    let [many, few] = sizes[..] else { return Table::new(&["Contender"]) };
    let walls = [few, many].map(|events| format!("Wall, s: {} events", grouped(events)));
    let further = format!("Events/s beyond the first {}", grouped(few));
    let mut table = Table::new(&["Contender", &walls[0], &walls[1], &further, "CPU, µs/event", "Result"]);
    for (name, title) in &race.contenders {
        let walls = [few, many].map(|events| -> BTreeMap<u32, f64> {
            finished(race, name, events).map(|finish| (finish.repetition, finish.measured.wall)).collect()
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

    fn finish(contender: &str, events: u64, repetition: u32, cpu: f64, outcome: Outcome) -> Finish {
        let measured = Measured {
            started: 0.0,
            wall: cpu,
            cpu,
            peak_mib: 10.0,
            exit_code: Some(0),
            timed_out: false,
            left_behind: 0,
        };
        let contender = contender.to_owned();
        Finish { contender, events, repetition, measured, first_row: None, postgres_cpu: None, outcome }
    }

    fn race(finishes: Vec<Finish>) -> Race {
        Race { contenders: Vec::new(), rows: 1, finishes, absent: Vec::new() }
    }

    fn verdict(wrong: usize) -> Verdict {
        Verdict { rows: 1, missing: 0, unexpected: 0, wrong, quantity: (0, 1), amount: "0.01".to_owned() }
    }

    #[test]
    fn ratios_are_of_the_same_round_only() {
        let race = race(vec![
            finish("a", 100, 0, 2.0, Outcome::ReadAll),
            finish("a", 100, 1, 30.0, Outcome::ReadAll),
            finish("a", 100, 2, 1.0, Outcome::ReadAll),
            finish("b", 100, 0, 4.0, Outcome::ReadAll),
            finish("b", 100, 1, 60.0, Outcome::ReadAll),
            finish("b", 100, 2, 7.0, Outcome::Failed("killed".to_owned())),
        ]);
        assert_eq!(ratio(&race, "a", "b", 100), Some(Spread { min: 0.5, median: 0.5, max: 0.5 }));
    }

    #[test]
    fn the_start_is_no_part_of_the_marginal_cost() {
        let of = |events, cpu| finish("jvm", events, 0, cpu, Outcome::ReadAll);
        let race = race(vec![of(5_000_000, 40.0), of(500_000, 22.0)]);
        let (each, fixed) = marginal(&race, "jvm").unwrap();
        assert!((each * 1e6 - 4.0).abs() < 1e-9 && (fixed - 20.0).abs() < 1e-9, "{each} {fixed}");
    }

    #[test]
    fn workers_are_as_fast_as_what_more_purchases_take_more() {
        let of = |events, repetition, wall| finish("workers", events, repetition, wall, Outcome::ReadAll);
        // A second and a half before both are at work, and then four or two million a second.
        let finishes =
            vec![of(5_000_000, 0, 2.75), of(20_000_000, 0, 6.5), of(5_000_000, 1, 4.0), of(20_000_000, 1, 11.5)];
        let mut race = race(finishes);
        race.contenders = vec![("workers".to_owned(), "Workers".to_owned())];
        let table = workers(&race).to_string();
        let row = table.lines().last().unwrap();
        assert!(row.contains("| 3,000,000 (2,000,000 to 4,000,000) |"), "{table}");
    }

    #[test]
    fn one_wrong_result_among_right_ones_is_told() {
        let of = |repetition, wrong| finish("a", 100, repetition, 1.0, Outcome::Compared(verdict(wrong)));
        let all_right = race(vec![of(0, 0), of(1, 0)]);
        assert_eq!(outcome(&all_right, "a", 100), "equal");
        let one_wrong = outcome(&race(vec![of(0, 0), of(1, 1)]), "a", 100);
        assert!(one_wrong.starts_with("**no**") && one_wrong.ends_with("right in 1 of 2 runs"), "{one_wrong}");
        let failed = race(vec![finish("a", 100, 0, 1.0, Outcome::Failed("oops".to_owned()))]);
        assert_eq!((outcome(&failed, "a", 100), cpu(&failed, "a", 100)), ("**failed**: oops".to_owned(), None));
    }

    #[test]
    fn each_processor_has_its_own_limit() {
        let pair = |a: &str, b: &str| Some([a.to_owned(), b.to_owned()]);
        assert_eq!(limits_of("processor-2-pinned"), pair("limit-2-pinned", "limit-2-pinned-mimalloc"));
        assert_eq!(limits_of("processor-1-beside"), pair("limit-1", "limit-1-mimalloc"));
        assert_eq!(limits_of("naive"), None);
    }
}
