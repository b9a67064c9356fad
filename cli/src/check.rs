//! `retail verify`, `retail validate` and `retail crd`: the commands that check and print.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::HumanCount;
use retail_api::{Pipeline, crd as definition};
use retail_runtime::args::PipelineArgs;
use retail_runtime::process;
use retail_verify::{self as verification, Options, Report};

use crate::progress;

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Read the whole topic, instead of the records since the last recorded proof
    #[arg(long)]
    full: bool,

    /// Append a proof to the table proof unless something differs: later verifications continue from it
    #[arg(long)]
    record: bool,

    /// Print the report as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ValidateArgs {
    /// Path of the pipeline.yaml; - reads standard input
    #[arg(short, long, value_name = "FILE", env = "RETAIL_PIPELINE")]
    file: PathBuf,
}

pub(crate) fn verify(args: VerifyArgs) -> ExitCode {
    let VerifyArgs { pipeline, full, record, json } = args;
    let _log = process::log_to_stderr();
    let settings = match pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    let bar = progress::bar("verified");
    let result = process::run(verification::verify(&settings, Options { full, record }, progress::moving(&bar)));
    bar.finish_and_clear();
    match result {
        Ok(report) => {
            let printed = if json { process::print_json(&report) } else { process::print_text(&in_words(&report)) };
            process::finished(printed, if report.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => process::failed(&error),
    }
}

fn in_words(report: &Report) -> String {
    let Report {
        equal: _,
        difference,
        differences,
        trusted,
        from_proof,
        proof,
        partitions,
        offsets,
        rows,
        windows_dropped,
        dead_letters,
        dead_letters_deleted,
        ids_in_several_partitions,
    } = report;
    let number = |count: usize| HumanCount(count as u64);
    let count = |count: i64| HumanCount(count.unsigned_abs());
    let mut text = match difference {
        None => "equal: Postgres matches the topic\n".to_owned(),
        Some(difference) => format!("DIFFERENT: {difference}\n{} differences in total\n", number(*differences)),
    };
    let since = from_proof.map_or_else(String::new, |number| format!(" since proof {number}"));
    text += &format!(
        "recomputed {} offsets of {partitions} partitions{since}; compared {} rows and {} dead letters\n",
        count(*offsets),
        number(*rows),
        count(*dead_letters)
    );
    if *windows_dropped > 0 {
        text += &format!("the rows of {} windows were dropped: older than spec.retention\n", number(*windows_dropped));
    }
    if *dead_letters_deleted > 0 {
        text +=
            &format!("{} dead letters were deleted, as table dead_letter_log shows\n", count(*dead_letters_deleted));
    }
    if *ids_in_several_partitions > 0 {
        text += &format!(
            "{} transaction ids are in several partitions, and count once in each: give all records of an id the same key\n",
            HumanCount(*ids_in_several_partitions)
        );
    }
    for trusted in trusted {
        text += &format!("taken on trust: {trusted}\n");
    }
    if let Some(proof) = proof {
        text += &format!("last proof: {} {}\n", proof.number, proof.hash);
    }
    text
}

pub(crate) fn validate(args: &ValidateArgs) -> ExitCode {
    match Pipeline::read(&args.file) {
        Ok(pipeline) => process::said(&format!("{}: pipeline {} is valid", args.file.display(), pipeline.name)),
        Err(error) => process::misused(&error),
    }
}

pub(crate) fn crd() -> ExitCode {
    process::finished(process::print_text(&definition::yaml()), ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use retail_verify::Proof;

    use super::*;

    #[test]
    fn report_starts_with_the_first_difference() {
        let equal = Report {
            equal: true,
            difference: None,
            differences: 0,
            partitions: 4,
            offsets: 1_234_567,
            rows: 1000,
            windows_dropped: 0,
            trusted: Vec::new(),
            from_proof: None,
            proof: None,
            dead_letters: 50_000,
            dead_letters_deleted: 0,
            ids_in_several_partitions: 0,
        };
        insta::assert_snapshot!(in_words(&equal), @r"
        equal: Postgres matches the topic
        recomputed 1,234,567 offsets of 4 partitions; compared 1,000 rows and 50,000 dead letters
        ");
        let different = Report {
            equal: false,
            difference: Some("partition 0: applied is 7, and must be 8".to_owned()),
            differences: 2,
            windows_dropped: 8928,
            dead_letters_deleted: 3,
            trusted: vec!["the contents at the first proof".to_owned()],
            from_proof: Some(7),
            proof: Some(Proof { number: 7, hash: "1f".to_owned() }),
            ..equal
        };
        insta::assert_snapshot!(in_words(&different), @r"
        DIFFERENT: partition 0: applied is 7, and must be 8
        2 differences in total
        recomputed 1,234,567 offsets of 4 partitions since proof 7; compared 1,000 rows and 50,000 dead letters
        the rows of 8,928 windows were dropped: older than spec.retention
        3 dead letters were deleted, as table dead_letter_log shows
        taken on trust: the contents at the first proof
        last proof: 7 1f
        ");
    }
}
