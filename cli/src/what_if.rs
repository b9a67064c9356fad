//! `retail what-if`: the late events with other delays. It reads Kafka and Postgres, and writes nothing.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use retail_api::duration;
use retail_runtime::args::PipelineArgs;
use retail_runtime::process;
use retail_verify::{DelayAnswer, WhatIf, WhatIfOptions};

use crate::progress;
use crate::text::{count, number_of, percent, table};

/// The longest delay that a pipeline can have.
const MOST: Duration = Duration::from_hours(168);

/// Reads the processed records once more, and counts the events that would be late with other delays.
#[derive(Args, Debug)]
pub(crate) struct WhatIfArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Delays of the watermark, such as 5m,30m,2h [default: half of that of the pipeline, and twice it]
    #[arg(long, value_name = "DURATION", value_delimiter = ',', value_parser = delay)]
    delay: Vec<Duration>,

    /// Find the least delay with a smaller share of late events, such as 0.1%
    #[arg(long, value_name = "PERCENT", value_parser = max_late)]
    max_late: Option<f64>,

    /// Read only the records that were processed in this time, such as 24h
    #[arg(long, value_name = "DURATION", value_parser = duration::read)]
    last: Option<Duration>,

    /// Print the answers as one line of JSON
    #[arg(long)]
    json: bool,
}

fn delay(text: &str) -> Result<Duration, String> {
    let delay = duration::read(text)?;
    if delay > MOST { Err(format!("a delay is at most {}", duration::write(MOST))) } else { Ok(delay) }
}

/// A share from a percentage.
fn max_late(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    let share = percent.map(|percent: f64| percent / 100.0).filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| format!("{text:?} is not a share above 0%: write it as 0.1%"))
}

pub(crate) fn what_if(args: WhatIfArgs) -> ExitCode {
    let WhatIfArgs { pipeline, mut delay, max_late, last, json } = args;
    let _log = process::log_to_stderr();
    let settings = match pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    if delay.is_empty() {
        let today = Duration::from(settings.pipeline.rules.delay);
        delay = vec![today / 2, (today * 2).min(MOST)];
    }
    let bar = progress::bar("read");
    let options = WhatIfOptions { delays: delay, max_late, last };
    let answered = process::run(retail_verify::what_if(&settings, options, progress::moving(&bar)));
    bar.finish_and_clear();
    let answered = match answered {
        Ok(answered) => answered,
        Err(error) => return process::failed(&error),
    };
    if json {
        answered.notes.iter().for_each(|note| tracing::warn!("{note}"));
    }
    let printed =
        if json { process::print_json(&answered.answers) } else { process::print_text(&in_words(&answered, max_late)) };
    let code = process::finished(printed, ExitCode::SUCCESS);
    if answered.equals_ledger == Some(false) {
        let today = answered.answers.iter().find(|answer| answer.today).map_or(0, |answer| answer.late);
        return process::failed(&format_args!(
            "DIFFERENT: {today} events are late by the topic, but {} by the ledger; `retail verify` compares everything",
            answered.ledger_late
        ));
    }
    code
}

fn in_words(answered: &WhatIf, max_late: Option<f64>) -> String {
    let WhatIf { answers, events, amount, since, has_least, equals_ledger, ledger_late: _, notes } = answered;
    let since = since.as_ref().map_or_else(String::new, |since| format!(" processed since about {since}"));
    let mut text = format!("{}{since}, with the amount {amount}\n\n", number_of(*events, "event"));
    let header = ["DELAY", "LATE EVENTS", "LATE AMOUNT", "SHARE", "ROWS OPEN FOR", ""].map(str::to_owned);
    let row = |answer: &DelayAnswer| {
        let share = if answer.late == 0 { "0 %".to_owned() } else { percent(answer.late_share) };
        let notes = [(answer.today, "today"), (answer.least, "least"), (answer.estimate, "estimate")];
        let notes: Vec<&str> = notes.into_iter().filter(|(has, _)| *has).map(|(_, note)| note).collect();
        let DelayAnswer { delay, late, late_amount, open_for, .. } = answer;
        [delay.clone(), count(*late), late_amount.clone(), share, open_for.clone(), notes.join(", ")]
    };
    text += &table(&std::iter::once(header).chain(answers.iter().map(row)).collect::<Vec<_>>());
    text.push('\n');
    if let Some(max_late) = max_late {
        let share = percent(max_late);
        text += &match (answers.iter().find(|answer| answer.least), has_least) {
            (Some(least), _) => format!("The least delay with less than {share} late events is {}.\n", least.delay),
            (None, _) => format!("No delay up to {} has less than {share} late events.\n", duration::write(MOST)),
        };
    }
    if *equals_ledger == Some(true) {
        text += "Today's delay is exact, and equals the ledger.\n";
    }
    if answers.iter().any(|answer| answer.estimate) {
        text += "Other delays are estimates: windows were also closed past idle partitions, at times that depend on the delay.\n";
    }
    notes.iter().for_each(|note| text += &format!("{note}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_a_percentage() {
        assert_eq!(max_late("0.1%"), Ok(0.001));
        assert_eq!(max_late("100 %"), Ok(1.0));
        for wrong in ["", "0%", "0.1", "-1%", "101%", "x%", "NaN%"] {
            assert!(max_late(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn text_has_a_line_for_each_delay_and_names_the_limits() {
        let answer = |delay: &str, late, late_share| DelayAnswer {
            delay: delay.to_owned(),
            late,
            late_amount: "12.5".to_owned(),
            late_share,
            open_for: format!("{delay}3s"),
            today: false,
            least: false,
            estimate: true,
        };
        let today = DelayAnswer { today: true, estimate: false, ..answer("1h", 1200, 0.012) };
        let least = DelayAnswer { least: true, ..answer("1h12m", 9, 0.00009) };
        let answered = WhatIf {
            answers: vec![answer("5m", 20_000, 0.2), today, least],
            events: 100_000,
            amount: "99.75".to_owned(),
            since: None,
            has_least: Some(true),
            equals_ledger: Some(true),
            ledger_late: 1200,
            notes: vec!["a note".to_owned()],
        };
        insta::assert_snapshot!(in_words(&answered, Some(0.0001)), @r"
        100,000 events, with the amount 99.75

        DELAY  LATE EVENTS  LATE AMOUNT  SHARE     ROWS OPEN FOR
        5m     20,000       12.5         20 %      5m3s           estimate
        1h     1,200        12.5         1.2 %     1h3s           today
        1h12m  9            12.5         0.0090 %  1h12m3s        least, estimate

        The least delay with less than 0.010 % late events is 1h12m.
        Today's delay is exact, and equals the ledger.
        Other delays are estimates: windows were also closed past idle partitions, at times that depend on the delay.
        a note
        ");
        let none = WhatIf { answers: Vec::new(), equals_ledger: None, ..answered };
        let text = in_words(&none, Some(0.0001));
        assert!(text.contains("No delay up to 168h has less than 0.010 % late events."), "{text}");
    }
}
