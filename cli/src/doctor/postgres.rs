//! The preconditions in Postgres.

use std::time::Duration;

use retail_api::resource::WhenIdle;
use retail_api::{Pipeline, duration};
use retail_runtime::args::Settings;
use retail_store::{DatabaseError, ServerFacts, Session, provision};

use super::check::Check;

/// The oldest supported version.
const OLDEST: i32 = 140_000;

/// A difference of clocks up to which `FollowClock` works.
const MOST_AHEAD: Duration = Duration::from_secs(30);

/// A difference that deserves a look: proofs of idleness and times in tables become hard to compare.
const SUSPICIOUS: Duration = Duration::from_secs(5);

/// Connects, and checks server, schema and rights.
pub(super) async fn checks(settings: &Settings) -> Vec<Check> {
    let session = match settings.database.connect("retail doctor").await {
        Ok(session) => session,
        Err(error) => return vec![Check::fail("postgres", error)],
    };
    let mut checks = vec![Check::ok("postgres", connected(settings, &session))];
    let checked = match provision::check(&session, &settings.pipeline).await {
        Ok(_) => provision::is_as_made(&session, &settings.pipeline).await,
        Err(error) => Err(error),
    };
    let schema = &settings.pipeline.schema;
    checks.push(match checked {
        Ok(true) => Check::ok("schema", format_args!("{schema} is up to date")),
        Ok(false) => {
            Check::warn("schema", format_args!("views or functions of {schema} are not those of this version"))
                .fixed_by("retail apply-schema")
        }
        Err(error) => {
            checks.push(Check::fail("schema", error));
            return checks;
        }
    });
    match ServerFacts::read(&session).await {
        Ok(facts) => checks.extend(of_facts(&settings.pipeline, &facts)),
        Err(error) => checks.push(unreadable(&error)),
    }
    checks
}

fn connected(settings: &Settings, session: &Session) -> String {
    let pooler = if session.behind_pooler() { ", through a connection pooler" } else { "" };
    format!("{} answers{pooler}", settings.database.address())
}

fn unreadable(error: &DatabaseError) -> Check {
    Check::fail("rights", error)
}

fn of_facts(pipeline: &Pipeline, facts: &ServerFacts) -> Vec<Check> {
    vec![
        version(facts),
        rights(pipeline, facts),
        connections(pipeline, facts),
        clocks(pipeline, facts),
        letters(pipeline, facts),
    ]
}

fn version(facts: &ServerFacts) -> Check {
    let (major, minor) = (facts.version / 10_000, facts.version % 10_000);
    match facts.version < OLDEST {
        true => {
            Check::fail("version", format_args!("PostgreSQL {major}.{minor}")).fixed_by("use PostgreSQL 14 or newer")
        }
        false => Check::ok("version", format_args!("PostgreSQL {major}.{minor}")),
    }
}

fn rights(pipeline: &Pipeline, facts: &ServerFacts) -> Check {
    let ServerFacts { user, tables_without_rights: tables, .. } = facts;
    if tables.is_empty() {
        return Check::ok("rights", format_args!("user {user} can read and write the tables"));
    }
    let schema = &pipeline.schema;
    Check::fail("rights", format_args!("user {user} cannot read and write {}", tables.join(", "))).fixed_by(format_args!(
        "GRANT USAGE ON SCHEMA \"{schema}\" TO \"{user}\"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"{schema}\" TO \
         \"{user}\"; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA \"{schema}\" TO \"{user}\""
    ))
}

/// Each processor needs a connection for each worker, of which a partition keeps at most one busy, and one more.
fn connections(pipeline: &Pipeline, facts: &ServerFacts) -> Check {
    let needed = i64::from(pipeline.topic.new_partitions()) + i64::from(pipeline.processor.most_replicas());
    let ServerFacts { max_connections: most, connections: used, .. } = *facts;
    let detail = format!("{used} of {most} are used, and the workers of all partitions need up to {needed}");
    match most - used < needed {
        true => Check::warn("connections", detail).fixed_by(
            "raise max_connections, use a pooler, or lower --workers; ignore it if the processors already run",
        ),
        false => Check::ok("connections", detail),
    }
}

fn clocks(pipeline: &Pipeline, facts: &ServerFacts) -> Check {
    let difference = Duration::from_micros(facts.clock_ahead.unsigned_abs());
    let direction = if facts.clock_ahead > 0 { "ahead of" } else { "behind" };
    let detail = format!("this machine is {} {direction} Postgres", duration::approximate(difference));
    let fix = "synchronise both clocks with NTP";
    match (difference > MOST_AHEAD && pipeline.when_idle == WhenIdle::FollowClock, difference > SUSPICIOUS) {
        (true, _) => {
            Check::fail("clocks", format_args!("{detail}, and watermark.whenIdle: FollowClock needs 30 s or less"))
                .fixed_by(fix)
        }
        (false, true) => Check::warn("clocks", detail).fixed_by(fix),
        (false, false) => Check::ok("clocks", "this machine and Postgres agree"),
    }
}

fn letters(pipeline: &Pipeline, facts: &ServerFacts) -> Check {
    let (bytes, most) = (facts.letter_bytes.max(0).unsigned_abs(), pipeline.dead_letter_bytes);
    let detail = format!("{} MiB of at most {} MiB", bytes >> 20, most >> 20);
    match bytes >= most / 10 * 9 {
        true => Check::warn("dead letters", format_args!("{detail}: the oldest are deleted"))
            .fixed_by("retail sample shows why records are invalid; raise deadLetters.maxBytes"),
        false => Check::ok("dead letters", detail),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Outcome;
    use super::*;

    fn pipeline(watermark: &str) -> Pipeline {
        let yaml = format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: shop}}\nspec:\n  \
             kafka: {{bootstrapServers: \"k:9092\"}}\n  topic: {{name: t, partitions: 4}}\n  database: {{host: p, name: d}}\n  \
             watermark: {{{watermark}}}\n"
        );
        Pipeline::parse(&yaml).unwrap()
    }

    #[test]
    fn each_fact_has_its_limit_and_its_fix() {
        use Outcome::{Fail, Ok, Warn};
        let hold = pipeline("delay: 1h");
        let good = ServerFacts {
            user: "retail".to_owned(),
            version: 150_018,
            max_connections: 97,
            connections: 92,
            clock_ahead: 5_000_000,
            tables_without_rights: Vec::new(),
            letter_bytes: 1 << 20,
        };
        let outcomes = |pipeline: &Pipeline, facts: &ServerFacts| -> Vec<(Outcome, bool)> {
            of_facts(pipeline, facts).into_iter().map(|check| (check.outcome, check.fix.is_some())).collect()
        };
        assert_eq!(outcomes(&hold, &good), vec![(Ok, false); 5]);
        let bad = ServerFacts {
            version: 139_999,
            connections: 93,
            clock_ahead: -31_000_000,
            tables_without_rights: vec!["pipeline".to_owned()],
            letter_bytes: 1 << 30,
            ..good
        };
        assert_eq!(outcomes(&hold, &bad), [(Fail, true), (Fail, true), (Warn, true), (Warn, true), (Warn, true)]);
        let follows = pipeline("delay: 1h, whenIdle: FollowClock");
        assert_eq!(outcomes(&follows, &bad)[3], (Fail, true));
        assert!(clocks(&hold, &bad).detail.contains("31s behind Postgres"), "{}", clocks(&hold, &bad).detail);
    }
}
