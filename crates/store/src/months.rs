//! Dropping the old months of final rows.

use retail_connection::ErrorKind;
use retail_engine::Timestamp;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::lock;
use crate::store::Store;
use crate::time::SqlTime;

/// The result of [`Store::drop_month`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MonthDrop {
    /// The month with this start was dropped; another one may be due.
    Dropped(Timestamp),
    /// No month is due.
    NotDue,
    /// Another worker closes windows, compacts or drops a month.
    Busy,
}

impl Store {
    /// Drops the oldest month of final rows if it is older than `spec.retention.finalRows`. Call it after windows were closed up to
    /// `closed_until`.
    ///
    /// [`ErrorKind::Locked`] while another session reads final rows: call it again later.
    pub async fn drop_month(&mut self, closed_until: Timestamp) -> Result<MonthDrop, DatabaseError> {
        let Some(retention) = self.retention.as_mut().filter(|retention| retention.may_be_due(closed_until)) else {
            return Ok(MonthDrop::NotDue);
        };
        let drop = "SELECT * FROM {schema}.drop_month($1, $2::bigint * interval '1 microsecond')";
        let parameters = &[(&self.identity as _, Type::TEXT), (&retention.age_micros() as _, Type::INT8)];
        let row = match self.session.query_opt(drop, parameters).await {
            Ok(row) => row,
            Err(error) if error.kind == ErrorKind::Locked => {
                let holder = lock::holder(&self.session, &["final_rows"]).await?;
                let message =
                    format!("a month of final rows cannot be dropped while {holder} reads them; end that transaction");
                return Err(DatabaseError::new(ErrorKind::Locked, message));
            }
            Err(error) => return Err(error),
        };
        let Some(row) = row else { return Ok(MonthDrop::Busy) };
        if let Some(SqlTime(month)) = row.get("dropped") {
            return Ok(MonthDrop::Dropped(month));
        }
        retention.checked(closed_until);
        Ok(MonthDrop::NotDue)
    }
}
