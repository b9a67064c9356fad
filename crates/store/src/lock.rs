//! Locks of changes to a schema. A waiting change makes all later readers of the same table or view wait behind it, so each try
//! is short, with a pause after it. A change that does not get its lock names the session that holds it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use retail_connection::ErrorKind;
use retail_connection::text::shortened;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::definitions::relations;
use crate::error::DatabaseError;
use crate::session::{Session, Transaction, TransactionMode};

/// Longest wait for a lock that readers hold. Readers that come later wait for this time and for the change itself.
const LOCK_TIMEOUT: &str = "100ms";

/// Longest wait for the locks of all tables and views together.
const LOCK_ALL_TIMEOUT: &str = "150ms";

/// Longest wait for a running maintenance command. It keeps no reader and no worker waiting, and is longer than the second after
/// which the server cancels an autovacuum that others wait for.
const MAINTENANCE_TIMEOUT: &str = "3s";

/// Pause after a refused lock, in which readers proceed.
const PAUSE: Duration = Duration::from_millis(400);

/// Time after which the change is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Number of tries from one log line to the next.
const TRIES_PER_LINE: u32 = 5;

/// Maximum length of the name of a user or an application in bytes. The server has the same limit.
const MAX_NAME: usize = 64;

/// Begins a transaction that changes the schema, and admits one such transaction at a time.
///
/// The settings apply to the transaction only. The last two end it on the server if this program stops to answer.
const BEGIN: &str = "
    SET LOCAL search_path TO {schema}, pg_temp;
    SET LOCAL lock_timeout = '10s';
    SET LOCAL statement_timeout = '55s';
    SET LOCAL idle_in_transaction_session_timeout = '60s'";

const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('retail-pipeline ' || $1, 0))";

/// The session that has the lock of [`LOCK`].
const CHANGER: &str = "
    SELECT l.pid, a.usename::text AS user, a.application_name AS application
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('retail-pipeline ' || $1, 0)
    LIMIT 1";

/// The sessions that use one of these tables and views, without this one.
const HOLDERS: &str = "
    SELECT l.pid, a.usename::text AS user, a.application_name AS application, min(c.relname)::text AS relation
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND c.relnamespace = to_regnamespace(quote_ident($1)) AND c.relname = ANY ($2::text[])
    GROUP BY l.pid, a.usename, a.application_name";

/// The session with the oldest transaction that uses one of these tables and views.
const OLDEST_HOLDER: &str = "
    SELECT l.pid, a.usename::text AS user, a.application_name AS application
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND c.relnamespace = to_regnamespace(quote_ident($1)) AND c.relname = ANY ($2::text[])
    ORDER BY a.xact_start LIMIT 1";

/// Our tables and views that this user may lock, views first: so do the readers of a view.
const RELATIONS: &str = "
    SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ' ORDER BY c.relkind = 'v' DESC, c.relname)
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
    WHERE n.nspname = $1 AND c.relname = ANY ($2::text[]) AND c.relkind IN ('r', 'p', 'v')
        AND pg_has_role(c.relowner, 'USAGE')";

/// Begins a transaction that changes the schema. Waits for another one, and names its session if it does not end.
pub(crate) async fn begin(session: &mut Session) -> Result<Transaction<'_>, DatabaseError> {
    let transaction = session.transaction(TransactionMode::ReadWrite).await?;
    transaction.batch(BEGIN).await?;
    let schema = &transaction.connection().schema;
    if let Err(error) = transaction.query_one(LOCK, &[(schema, Type::TEXT)]).await {
        if error.kind != ErrorKind::Locked {
            return Err(error);
        }
        transaction.batch("ROLLBACK").await?;
        let holder = transaction.query_opt(CHANGER, &[(schema, Type::TEXT)]).await?;
        let holder = holder.map_or_else(|| "another session".to_owned(), |row| Holder::new(&row).to_string());
        let message = format!(
            "schema \"{schema}\" cannot be changed: {holder} has been changing it for 10 s; wait until it has finished, or end \
             that session"
        );
        return Err(DatabaseError::new(ErrorKind::Locked, message));
    }
    transaction.batch(&format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")).await?;
    Ok(transaction)
}

/// Locks all tables and views of the schema against readers and workers, or none.
pub(crate) async fn lock_all(transaction: &Session) -> Result<(), DatabaseError> {
    let schema = &transaction.connection().schema;
    let row = transaction.query_one(RELATIONS, &[(schema, Type::TEXT), (&relations(), Type::TEXT_ARRAY)]).await?;
    let Some(relations) = row.get::<_, Option<String>>(0) else { return Ok(()) };
    // The first lock only excludes maintenance, such as an autovacuum. For the second one, the timeout of the statement covers all
    // tables, and that of a lock each of them.
    let lock = format!(
        "SET LOCAL lock_timeout = '{MAINTENANCE_TIMEOUT}';
         LOCK TABLE {relations} IN SHARE UPDATE EXCLUSIVE MODE;
         SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
         SET LOCAL statement_timeout = '{LOCK_ALL_TIMEOUT}';
         LOCK TABLE {relations} IN ACCESS EXCLUSIVE MODE;
         SET LOCAL statement_timeout = '55s'"
    );
    transaction.batch(&lock).await.map_err(|error| {
        let kind = if error.kind == ErrorKind::Stopped { ErrorKind::Locked } else { error.kind };
        DatabaseError { kind, ..error }
    })
}

/// The session that has used one of these tables and views for longest, for a message.
pub(crate) async fn holder(session: &Session, relations: &[&str]) -> Result<String, DatabaseError> {
    let schema = &session.connection().schema;
    let row = session.query_opt(OLDEST_HOLDER, &[(schema, Type::TEXT), (&relations, Type::TEXT_ARRAY)]).await?;
    Ok(row.map_or_else(|| "another session".to_owned(), |row| Holder::new(&row).to_string()))
}

/// A session, as another one sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Holder {
    /// The process of the server; `None` for a prepared transaction.
    pid: Option<i32>,
    user: Option<String>,
    application: Option<String>,
}

impl Holder {
    fn new(row: &Row) -> Self {
        Self { pid: row.get("pid"), user: row.get("user"), application: row.get("application") }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, user, application } = self;
        let Some(pid) = pid else { return write!(f, "a prepared transaction (see pg_prepared_xacts)") };
        write!(f, "session {pid}")?;
        match user {
            Some(user) => write!(f, " of user {}", shortened(user, MAX_NAME))?,
            None => write!(f, " of the server itself")?,
        }
        match application.as_deref() {
            None | Some("") => Ok(()),
            Some(application) => write!(f, " (application \"{}\")", shortened(application, MAX_NAME)),
        }
    }
}

/// A change that waits for the readers of tables or views.
#[derive(Debug)]
pub(crate) struct LockWait<'r> {
    /// The change that is not possible yet, such as "view retail cannot be replaced".
    problem: String,
    relations: Vec<&'r str>,
    began: Instant,
    tries: u32,
    /// The sessions that held a lock after each of the last tries: since when, and the name of the locked object.
    holders: BTreeMap<Option<i32>, (Instant, Holder, String)>,
}

impl<'r> LockWait<'r> {
    /// A change of these tables and views that has not been tried yet.
    pub(crate) fn new(problem: String, relations: Vec<&'r str>) -> Self {
        Self { problem, relations, began: Instant::now(), tries: 0, holders: BTreeMap::new() }
    }

    /// Waits after a try that did not get its locks. An error once the change has waited for too long.
    pub(crate) async fn refused(&mut self, session: &Session) -> Result<(), DatabaseError> {
        let schema = &session.connection().schema;
        let rows = session.query(HOLDERS, &[(schema, Type::TEXT), (&self.relations, Type::TEXT_ARRAY)]).await?;
        let now = Instant::now();
        self.observe(rows.iter().map(|row| (Holder::new(row), row.get("relation"))), now);
        if now.duration_since(self.began) >= PATIENCE {
            return Err(DatabaseError::new(ErrorKind::Locked, format!("{}; end that transaction", self.describe(now))));
        }
        if self.tries % TRIES_PER_LINE == 1 {
            tracing::warn!("{}; trying again until {} s have passed", self.describe(now), PATIENCE.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// Records the sessions that hold a lock after a try.
    fn observe(&mut self, holders: impl Iterator<Item = (Holder, String)>, now: Instant) {
        self.tries += 1;
        // At the first try, a session counts from the beginning of the wait.
        let now = if self.tries == 1 { self.began } else { now };
        let before = std::mem::take(&mut self.holders);
        self.holders = holders
            .map(|(holder, relation)| {
                let since = before.get(&holder.pid).map_or(now, |(since, _, _)| *since);
                (holder.pid, (since, holder, relation))
            })
            .collect();
    }

    /// The problem, with the session that has held a lock for longest.
    fn describe(&self, now: Instant) -> String {
        let (problem, tries) = (&self.problem, self.tries);
        let Some((since, holder, relation)) = self.holders.values().min_by_key(|(since, _, _)| *since) else {
            return format!("{problem}: short transactions have used it at each of {tries} tries");
        };
        let what = if self.relations.len() == 1 { "it" } else { relation };
        let seconds = now.duration_since(*since).as_secs();
        format!("{problem}: {holder} has held {what} for {seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guide_to_upgrades_has_the_times() {
        let page = include_str!("../../../docs/how-to/upgrade.md").replace('\n', " ");
        let spaced = |timeout: &str| timeout.replace("ms", " ms");
        let (one, all) = (spaced(LOCK_TIMEOUT), spaced(LOCK_ALL_TIMEOUT));
        let (pause, patience) = (PAUSE.as_millis(), PATIENCE.as_secs());
        for promise in [
            format!("gives up after at most {one}, or {all} if a migration"),
            format!("the readers have {pause} ms until the next one"),
            format!("try for {patience} s"),
        ] {
            assert!(page.contains(&promise), "{promise}");
        }
    }

    fn holder(pid: i32, application: &str) -> (Holder, String) {
        let holder = Holder {
            pid: Some(pid),
            user: Some("bi".to_owned()),
            application: (!application.is_empty()).then(|| application.to_owned()),
        };
        (holder, "retail".to_owned())
    }

    #[test]
    fn session_that_holds_the_lock_for_longest_is_named() {
        let mut wait = LockWait::new("view retail cannot be replaced".to_owned(), vec!["retail"]);
        let at = |seconds| wait.began + Duration::from_secs(seconds);
        let (first, second, third) = (at(1), at(20), at(31));
        wait.observe([holder(5, "psql"), holder(18309, "tableau")].into_iter(), first);
        wait.observe([holder(18309, "tableau")].into_iter(), second);
        wait.observe([holder(5, "psql"), holder(18309, "tableau")].into_iter(), third);
        assert_eq!(
            wait.describe(third),
            "view retail cannot be replaced: session 18309 of user bi (application \"tableau\") has held it for 31 s"
        );
        wait.observe([holder(5, "")].into_iter(), third);
        assert_eq!(wait.describe(third), "view retail cannot be replaced: session 5 of user bi has held it for 0 s");
        wait.observe([].into_iter(), third);
        assert_eq!(
            wait.describe(third),
            "view retail cannot be replaced: short transactions have used it at each of 5 tries"
        );
    }

    #[test]
    fn change_of_many_tables_names_the_held_one() {
        let mut wait = LockWait::new("schema \"s\" cannot be dropped".to_owned(), vec!["retail", "ledger"]);
        let began = wait.began;
        let prepared = Holder { pid: None, user: None, application: None };
        wait.observe([(prepared, "ledger".to_owned())].into_iter(), began);
        assert_eq!(
            wait.describe(began),
            "schema \"s\" cannot be dropped: a prepared transaction (see pg_prepared_xacts) has held ledger for 0 s"
        );
    }
}
