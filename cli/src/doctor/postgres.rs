//! The preconditions in Postgres.

use std::time::Duration;

use retail_api::resource::{TlsMode, WhenIdle};
use retail_api::{Pipeline, duration};
use retail_connection::probe::{HandshakeError, client_certificate};
use retail_runtime::args::Settings;
use retail_store::{DatabaseConnection, DatabaseError, DatabaseRights, SchemaRights, ServerFacts, Session, provision};

use super::check::{Check, Outcome};
use super::kind::POSTGRES;
use super::layers::{self, Resolved};
use super::server::Server;
use super::tls::{self, Failure, Looks};

/// The oldest supported version.
const OLDEST: i32 = 140_000;

/// A difference of clocks up to which `FollowClock` works.
const MOST_AHEAD: Duration = Duration::from_secs(30);

/// A difference that deserves a look: proofs of idleness and times in tables become hard to compare.
const SUSPICIOUS: Duration = Duration::from_secs(5);

/// Looks at the layers, connects, and checks rights, schema and server.
pub(super) async fn checks(settings: &Settings, found: &mut Vec<Check>) {
    let database = &settings.database;
    let servers = Server::parse_list(&database.server_addresses());
    // A Unix socket has no layers below the log-in.
    let mut open = Vec::new();
    if !servers.is_empty() {
        let Some(reached) = layers::reach(&POSTGRES, servers, found).await else { return };
        open = reached;
    }
    let (looks, session) = tokio::join!(look_at_tls(database, open.clone()), database.connect("retail doctor"));
    let failure = session.as_ref().err().map(|error| Failure { kind: error.kind, message: error.message.clone() });
    if !open.is_empty() {
        let client = database.declared_tls().and_then(|(_, certificates)| client_certificate(certificates));
        let (of_tls, is_blamed) = tls::of_tls(&POSTGRES, &looks, client.as_ref(), failure.as_ref());
        found.push(of_tls);
        if is_blamed {
            return found.push(POSTGRES.not_looked_at(POSTGRES.tls, ""));
        }
    }
    match session {
        Ok(session) => {
            found.push(Check::ok("postgres", connected(settings, &session)));
            of_session(settings, &session, found).await;
        }
        Err(error) => found.push(Check::fail("postgres", error)),
    }
}

/// The checks that need a session.
async fn of_session(settings: &Settings, session: &Session, found: &mut Vec<Check>) {
    let pipeline = &settings.pipeline;
    let roles: Vec<&str> = pipeline.database.runtime_role.iter().chain(&pipeline.readers).map(String::as_str).collect();
    let rights = match DatabaseRights::read(session, &roles).await {
        Ok(rights) => rights,
        Err(error) => return found.push(unreadable(&error)),
    };
    let access = access(pipeline, settings.database.database(), &rights);
    let is_allowed = access.outcome != Outcome::Fail;
    found.push(access);
    if !is_allowed {
        return found.push(Check::skip("schema", "not looked at, because access failed: schema, rights, settings"));
    }
    let checked = match provision::check(session, pipeline).await {
        Ok(_) => provision::is_as_made(session, pipeline).await,
        Err(error) => Err(error),
    };
    let schema = &pipeline.schema;
    found.push(match checked {
        Ok(true) => Check::ok("schema", format_args!("{schema} is up to date")),
        Ok(false) => Check::warn(
            "schema",
            format_args!("views, functions or grants of {schema} are not as this version makes them"),
        )
        .fixed_by("retail apply-schema"),
        Err(error) => return found.push(Check::fail("schema", error)),
    });
    match ServerFacts::read(session).await {
        Ok(facts) => found.extend(of_facts(pipeline, &facts)),
        Err(error) => found.push(unreadable(&error)),
    }
}

async fn look_at_tls(database: &DatabaseConnection, open: Vec<Resolved>) -> Looks {
    let (mode, certificates) = database.declared_tls()?;
    // As with libpq, mode require verifies the authority if one is given, and never the name.
    let is_named = mode == TlsMode::VerifyFull;
    let judged = (is_named || certificates.ca().is_some(), is_named);
    let own = database.clone();
    let shake = move |stream, host: String| {
        let own = own.clone();
        async move {
            let look = own.look_at_tls(stream, &host, layers::STEP).await;
            look.unwrap_or_else(|| Err(HandshakeError::Other("TLS is not declared".to_owned())))
        }
    };
    tls::look_at(open, certificates, judged, shake).await
}

/// Whether the user may create the schema, or use the one that exists.
fn access(pipeline: &Pipeline, database: &str, rights: &DatabaseRights) -> Check {
    let DatabaseRights { user, can_create, schema: exists, missing_roles } = rights;
    let schema = &pipeline.schema;
    if let Some(role) = missing_roles.first() {
        return Check::fail("access", format_args!("role {role} of the pipeline does not exist"))
            .fixed_by(format_args!("CREATE ROLE \"{role}\"; or remove it from the pipeline"));
    }
    match (exists, can_create) {
        (None, true) => Check::ok("access", format_args!("user {user} may create schema {schema}")),
        (None, false) => {
            Check::fail("access", format_args!("schema {schema} does not exist, and user {user} may not create it"))
                .fixed_by(format_args!(
                    "GRANT CREATE ON DATABASE \"{database}\" TO \"{user}\", then retail apply-schema"
                ))
        }
        (Some(SchemaRights { can_use: false, owner, .. }), _) => {
            let fix = match &pipeline.database.runtime_role {
                Some(role) => format!("GRANT \"{role}\" TO \"{user}\""),
                None => format!("use the log-in of {owner}, or GRANT USAGE ON SCHEMA \"{schema}\" TO \"{user}\""),
            };
            Check::fail("access", format_args!("user {user} may not use schema {schema} of {owner}")).fixed_by(fix)
        }
        (Some(SchemaRights { has_owner: true, .. }), _) => {
            Check::ok("access", format_args!("user {user} owns schema {schema}"))
        }
        (Some(SchemaRights { owner, .. }), _) => Check::ok(
            "access",
            format_args!("user {user} may use schema {schema}; retail apply-schema needs the log-in of {owner}"),
        ),
    }
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

    #[test]
    fn access_names_the_grant_that_is_missing() {
        use Outcome::{Fail, Ok};
        let pipeline = pipeline("delay: 1h");
        let check = |can_create, schema: Option<(bool, bool)>, roles: &[&str]| {
            let schema =
                schema.map(|(has_owner, can_use)| SchemaRights { owner: "boss".to_owned(), has_owner, can_use });
            let missing_roles = roles.iter().map(|role| (*role).to_owned()).collect();
            let rights = DatabaseRights { user: "u".to_owned(), can_create, schema, missing_roles };
            let check = access(&pipeline, "d", &rights);
            (check.outcome, check.fix.unwrap_or_default())
        };
        assert_eq!(check(true, None, &[]), (Ok, String::new()));
        assert_eq!(check(false, Some((false, true)), &[]), (Ok, String::new()));
        assert_eq!(check(false, Some((true, true)), &[]), (Ok, String::new()));
        let grant = "GRANT CREATE ON DATABASE \"d\" TO \"u\", then retail apply-schema";
        assert_eq!(check(false, None, &[]), (Fail, grant.to_owned()));
        let usage = "use the log-in of boss, or GRANT USAGE ON SCHEMA \"shop\" TO \"u\"";
        assert_eq!(check(true, Some((false, false)), &[]), (Fail, usage.to_owned()));
        assert_eq!(check(true, None, &["bi"]), (Fail, "CREATE ROLE \"bi\"; or remove it from the pipeline".to_owned()));
    }
}
