//! The identity of a schema: the pipeline that owns it, the topic and the rules that its rows belong to, and the consumer group.

use std::time::Duration;

use retail_api::{EventMapping, Pipeline, duration};
use retail_connection::ErrorKind;
use retail_engine::{Salt, Span};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::Session;

/// The identity of a pipeline, as its schema records it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Random id of the schema, from its creation.
    pub id: String,
    /// Uid of the pipeline that owns the schema.
    pub uid: String,
    /// Consumer group of all workers that write to this schema in this database. It is computed from the identity of server,
    /// database and schema: a copy that was restored elsewhere has another group, and takes no partitions from the original.
    pub group_id: String,
    /// Whether the group contains the identity of the server. It does not if this user may not execute pg_control_system().
    pub group_names_server: bool,
    /// Id of the topic that the offsets belong to; `None` until a processor has read it.
    pub topic_id: Option<String>,
}

impl Identity {
    /// The key for the fingerprints of transaction ids, which a sender of records cannot know: the random id of the schema.
    pub fn salt(&self) -> Salt {
        let mut salt = [0; 16];
        let digits = self.id.bytes().filter_map(|byte| char::from(byte).to_digit(16));
        for (at, digit) in digits.enumerate() {
            let byte = &mut salt[at / 2 % 16];
            *byte = (*byte << 4) ^ digit as u8;
        }
        Salt(salt)
    }

    /// The text by which functions of the schema recognize the pipeline: its id and the uid of its owner.
    pub fn token(&self) -> String {
        format!("{} {}", self.id, self.uid)
    }
}

pub(crate) const SELECT_IDENTITY: &str = "
    SELECT p.id, p.uid, p.topic, p.topic_id, p.dimensions, p.sums, p.events, g.group_id, g.names_server,
           (extract(epoch FROM p.deduplicate_within) * 1000000)::bigint AS deduplicate_within,
           (extract(epoch FROM p.\"window\") * 1000000)::bigint AS \"window\",
           (extract(epoch FROM p.delay) * 1000000)::bigint AS delay
    FROM {schema}.pipeline p CROSS JOIN {schema}.consumer_group() g";

const INSERT_IDENTITY: &str = "
    INSERT INTO {schema}.pipeline (id, uid, group_prefix, topic, \"window\", delay, dimensions, sums, events,
                                   deduplicate_within)
    VALUES (gen_random_uuid()::text, $1, 'retail.' || $2 || '.' || left(gen_random_uuid()::text, 8), $3,
            $4::bigint * interval '1 microsecond', $5::bigint * interval '1 microsecond', $6, $7, $8,
            $9::bigint * interval '1 microsecond')
    ON CONFLICT DO NOTHING";

/// Records the identity of a new schema. An existing one keeps its identity.
pub(crate) async fn record(session: &Session, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    let (window, delay) = (pipeline.rules.window.as_micros(), pipeline.rules.delay.as_micros());
    let within = pipeline.deduplicate_within.map(Span::as_micros);
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 9] = [
        (&pipeline.uid, Type::TEXT),
        (&pipeline.name, Type::TEXT),
        (&pipeline.topic.name, Type::TEXT),
        (&window, Type::INT8),
        (&delay, Type::INT8),
        (&pipeline.layout.dimensions(), Type::TEXT_ARRAY),
        (&pipeline.layout.sums(), Type::TEXT_ARRAY),
        (&events_text(pipeline), Type::TEXT),
        (&within, Type::INT8),
    ];
    session.execute(INSERT_IDENTITY, &parameters).await.map(drop)
}

/// `spec.events` as the schema records it; `None` for a pipeline without.
fn events_text(pipeline: &Pipeline) -> Option<String> {
    pipeline.events.as_ref().map(EventMapping::to_json)
}

/// Reads the identity, and checks that the schema has the topic, window, delay and layout of this pipeline.
pub(crate) async fn read(session: &Session, pipeline: &Pipeline) -> Result<Identity, DatabaseError> {
    has_rules(session, session.query_opt(SELECT_IDENTITY, &[]).await?.as_ref(), pipeline)
}

/// Checks a row of [`SELECT_IDENTITY`] against the pipeline.
pub(crate) fn has_rules(session: &Session, row: Option<&Row>, pipeline: &Pipeline) -> Result<Identity, DatabaseError> {
    let Some(row) = row else { return Err(DatabaseError::missing_schema(session.connection())) };
    let topic: String = row.get("topic");
    if topic != pipeline.topic.name {
        let what = format!("contains data of topic \"{topic}\", but this pipeline reads \"{}\"", pipeline.topic.name);
        return Err(foreign(session, &what));
    }
    let (window, delay): (i64, i64) = (row.get("window"), row.get("delay"));
    let rules = [("window", window, pipeline.rules.window), ("watermark.delay", delay, pipeline.rules.delay)];
    for (name, stored, declared) in rules {
        if stored != declared.as_micros() {
            let stored = Duration::from_micros(stored.unsigned_abs());
            let [stored, declared] = [stored, declared.into()].map(duration::write);
            let what = format!("was created with {name} {stored}, but this pipeline has {declared}");
            return Err(foreign(session, &what));
        }
    }
    is_of_layout(session, row, pipeline)?;
    if row.get::<_, Option<String>>("events") != events_text(pipeline) {
        let what = "was created with other spec.events: the same names, but other fields or rules";
        return Err(foreign(session, what));
    }
    let within: Option<i64> = row.get("deduplicate_within");
    let declared = pipeline.deduplicate_within.map(Span::as_micros);
    if within != declared {
        let [stored, declared] = [within, declared].map(|within| {
            within.map_or_else(
                || "without spec.deduplicate".to_owned(),
                |micros| {
                    format!("with deduplicate.within {}", duration::write(Duration::from_micros(micros.unsigned_abs())))
                },
            )
        });
        return Err(foreign(session, &format!("was created {stored}, but this pipeline is {declared}")));
    }
    Ok(Identity {
        id: row.get("id"),
        uid: row.get("uid"),
        group_id: row.get("group_id"),
        group_names_server: row.get("names_server"),
        topic_id: row.get("topic_id"),
    })
}

/// Checks that the schema has the layout of this pipeline, if it has one: a new schema has none yet. Tables that were changed may
/// lack the columns that name the layout, and are reported otherwise.
pub(crate) async fn has_layout(session: &Session, pipeline: &Pipeline, is_whole: bool) -> Result<(), DatabaseError> {
    let select = "SELECT dimensions, sums FROM {schema}.pipeline";
    match session.query_opt(select, &[]).await {
        Ok(Some(row)) => is_of_layout(session, &row, pipeline),
        Ok(None) => Ok(()),
        Err(error) if is_whole => Err(error),
        Err(_) => Ok(()),
    }
}

fn is_of_layout(session: &Session, row: &Row, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    let layout = &pipeline.layout;
    for (name, declared) in [("dimensions", layout.dimensions()), ("sums", layout.sums())] {
        let stored: Vec<String> = row.get(name);
        if stored != declared {
            let [stored, declared] = [&*stored, declared].map(|names| match names {
                [] => "none".to_owned(),
                names => names.join(", "),
            });
            let what = format!("was created with events.{name} {stored}, but this pipeline has {declared}");
            return Err(foreign(session, &what));
        }
    }
    Ok(())
}

/// The comment on the schema of a pipeline, by which its owner is recognized before it is dropped.
pub(crate) fn comment(uid: &str) -> String {
    format!("RetailPipeline {uid}")
}

/// Checks that the pipeline owns the schema.
pub(crate) fn is_owned(session: &Session, identity: &Identity, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    if identity.uid == pipeline.uid {
        return Ok(());
    }
    let connection = session.connection();
    let (schema, address, owner) = (&connection.schema, connection.address(), &identity.uid);
    let named = pipeline.adopt.as_ref().map(|named| format!(", and spec.adopt names {named}")).unwrap_or_default();
    let message = format!(
        "schema \"{schema}\" in postgres at {address} belongs to pipeline {owner}, but this is {}{named}: if that pipeline and its pods \
         are gone for good, take the schema over with spec.adopt: {{uid: \"{owner}\"}}; otherwise choose another database.schema",
        pipeline.uid
    );
    Err(DatabaseError::new(ErrorKind::Foreign, message))
}

fn foreign(session: &Session, what: &str) -> DatabaseError {
    let connection = session.connection();
    let (schema, address) = (&connection.schema, connection.address());
    let message = format!(
        "schema \"{schema}\" in postgres at {address} {what}: choose another database.schema, or drop this schema"
    );
    DatabaseError::new(ErrorKind::Foreign, message)
}
