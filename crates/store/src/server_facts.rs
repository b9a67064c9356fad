//! Facts about a server and the rights of a user, for `retail doctor`.

use retail_engine::Timestamp;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::Session;
use crate::time::{SqlTime, clock};

/// The state of a server and of a schema in it, for one user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerFacts {
    /// The user of the session.
    pub user: String,
    /// The version, such as 150018.
    pub version: i32,
    /// Number of connections that users other than superusers can have.
    pub max_connections: i64,
    /// Number of present connections.
    pub connections: i64,
    /// By how many microseconds this process is ahead of the server: at least, because the transport of the query takes time.
    pub clock_ahead: i64,
    /// Tables of the schema that the user cannot read and write.
    pub tables_without_rights: Vec<String>,
    /// The size of the dead letters in bytes, as the store counts it.
    pub letter_bytes: i64,
}

/// The tables that a processor writes.
const WRITTEN: [&str; 9] = [
    "closes",
    "dead_letter",
    "delta_log",
    "fate_rules",
    "final_rows",
    "group_totals",
    "groups",
    "partition_progress",
    "pipeline",
];

const SELECT: &str = "
    SELECT current_user::text AS role, current_setting('server_version_num')::integer AS version,
           current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint AS max_connections,
           (SELECT sum(numbackends)::bigint FROM pg_stat_database) AS connections, clock_timestamp() AS clock,
           ARRAY(
               SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = ANY ($2)
                   AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                            AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
                            AND has_table_privilege(c.oid, 'DELETE'))
               ORDER BY 1
           ) AS tables_without_rights";

impl ServerFacts {
    /// Reads the facts. The schema must exist, and the user must be able to read it.
    pub async fn read(session: &Session) -> Result<Self, DatabaseError> {
        let before = clock();
        let schema = &session.connection().schema;
        let row = session.query_one(SELECT, &[(schema, Type::TEXT), (&&WRITTEN[..], Type::TEXT_ARRAY)]).await?;
        let after = clock();
        let letters = "SELECT coalesce(sum(letter_bytes), 0)::bigint FROM {schema}.partition_progress";
        Ok(Self {
            user: row.get("role"),
            version: row.get("version"),
            max_connections: row.get("max_connections"),
            connections: row.get::<_, Option<i64>>("connections").unwrap_or_default(),
            clock_ahead: ahead(before, row.get::<_, SqlTime>("clock").0, after),
            tables_without_rights: row.get("tables_without_rights"),
            letter_bytes: session.query_one(letters, &[]).await?.get(0),
        })
    }
}

/// By how many microseconds a clock that showed `before` and `after` is surely ahead of one that showed `server` between.
fn ahead(before: Timestamp, server: Timestamp, after: Timestamp) -> i64 {
    let [before, server, after] = [before, server, after].map(Timestamp::as_micros);
    if server < before {
        before - server
    } else if server > after {
        after - server
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_differs_if_the_server_shows_a_time_outside_of_the_query() {
        let at = Timestamp::from_micros;
        for (server, expected) in [(90, 10), (100, 0), (150, 0), (200, 0), (230, -30)] {
            assert_eq!(ahead(at(100), at(server), at(200)), expected, "{server}");
        }
    }
}
