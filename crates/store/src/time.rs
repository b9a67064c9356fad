//! Encodes timestamps: microseconds since 1970 in the engine, since 2000 in Postgres.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use retail_engine::Timestamp;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// Microseconds from 1970 to 2000, the epoch of Postgres.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A `timestamptz`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SqlTime(pub(super) Timestamp);

/// The clock of this process.
pub fn clock() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH.plus(since_1970.into())
}

/// The microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> i64 {
    retail_engine::Span::from(duration).as_micros()
}

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for SqlTime {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        self.0.as_micros().saturating_sub(POSTGRES_EPOCH).to_sql(ty, out)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for SqlTime {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxedError> {
        let micros = i64::from_sql(ty, raw)?;
        Ok(Self(Timestamp::from_micros(micros.saturating_add(POSTGRES_EPOCH))))
    }

    accepts!(TIMESTAMPTZ);
}
