//! The views of `spec.rollups`.

use retail_api::{Layout, Over, Pipeline, Rollup};
use retail_connection::ErrorKind;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::Session;
use crate::template::{literal, quoted, render};

const VIEW: &str = include_str!("../sql/rollup.sql");

/// Starts of days, weeks or months from the first to the last window. Two more follow, because a time zone can leave out a day:
/// `lead` gives the last one that is needed an end. A row that was dropped in part is left out.
const CALENDAR: &str = "
    SELECT t.window_start, t.window_end
    FROM (
        SELECT s.start AS window_start, lead(s.start) OVER (ORDER BY s.start) AS window_end
        FROM (
            SELECT day_start(local.day::date, {zone}) AS start
            FROM (
                SELECT least((SELECT window_start FROM final_rows ORDER BY window_start LIMIT 1),
                             (SELECT window_start FROM delta_log ORDER BY window_start LIMIT 1)) AS first,
                       greatest((SELECT window_start FROM final_rows ORDER BY window_start DESC LIMIT 1),
                                (SELECT window_start FROM delta_log ORDER BY window_start DESC LIMIT 1)) AS last
            ) windows
            CROSS JOIN LATERAL generate_series(
                date_trunc({unit}, windows.first AT TIME ZONE {zone}),
                date_trunc({unit}, windows.last AT TIME ZONE {zone}) + 2 * {step}, {step}) local (day)
        ) s
    ) t
    WHERE t.window_end IS NOT NULL AND t.window_start >= (SELECT retained_from FROM pipeline)";

/// Parts of days. The last one of a day of 23 or 25 hours can be shorter.
const PARTS: &str = "
    SELECT p.part AS window_start, least(p.part + {over}, day.window_end) AS window_end
    FROM ({days}) day
    CROSS JOIN LATERAL generate_series(day.window_start, day.window_end - interval '1 microsecond', {over}) p (part)";

/// The definition of the view, as the other files of definitions write it.
pub(crate) fn definition(rollup: &Rollup, layout: &Layout) -> String {
    let Rollup { name, over, time_zone } = rollup;
    let zone = time_zone.as_deref().unwrap_or("UTC");
    let calendar = |unit: &str| {
        let step = literal(&format!("1 {unit}"));
        CALENDAR.replace("{unit}", &literal(unit)).replace("{step}", &format!("interval {step}"))
    };
    let times = match over {
        Over::Day => calendar("day"),
        Over::Week => calendar("week"),
        Over::Month => calendar("month"),
        Over::Part(part) => PARTS
            .replace("{days}", &calendar("day"))
            .replace("{over}", &format!("interval {}", literal(&format!("{} seconds", part.as_secs())))),
    };
    let times = times.replace("{zone}", &literal(zone));
    let comment = format!(
        "The rows of retail, summed up over {over} in the time zone {zone}. A condition on window_start makes a query fast"
    );
    // The name is also in other braces.
    render(&VIEW.replace("{view}", &quoted(name)), layout)
        .replace("{rollup}", &format!("Over {over}."))
        .replace("{times}", times.trim_start_matches('\n'))
        .replace("{comment}", &literal(&comment))
}

/// All offsets of time zones from UTC since 1980 are multiples of this, in seconds.
const QUARTER: i64 = 900;

/// The first time since 1980 at which the offset of a time zone from UTC is not a multiple of a window.
const SELECT_OFFSET: &str = "
    SELECT (SELECT to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD: ') || ((t AT TIME ZONE $1) - (t AT TIME ZONE 'UTC'))::text
            FROM generate_series(timestamptz '1980-01-01 00:00 UTC', now() + interval '10 years', interval '1 day') t
            WHERE extract(epoch FROM (t AT TIME ZONE $1) - (t AT TIME ZONE 'UTC'))::bigint % $2 <> 0
            LIMIT 1)";

/// Checks that each window belongs to one row of each rollup, in its time zone.
pub(crate) async fn check(session: &Session, pipeline: &Pipeline) -> Result<(), DatabaseError> {
    let window = pipeline.rules.window.as_micros() / 1_000_000;
    for Rollup { name, time_zone, .. } in &pipeline.rollups {
        let Some(zone) = time_zone else { continue };
        // An unknown zone would be an error of the statement.
        let known = "SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = $1)";
        if !session.query_one(known, &[(zone, Type::TEXT)]).await?.get::<_, bool>(0) {
            let message = format!(
                "rollup \"{name}\": postgres at {} knows no time zone \"{zone}\": use a name of pg_timezone_names, such as Asia/Jakarta",
                session.connection().address()
            );
            return Err(DatabaseError::new(ErrorKind::Other, message));
        }
        if QUARTER % window == 0 {
            continue;
        }
        let row = session.query_one(SELECT_OFFSET, &[(zone, Type::TEXT), (&window, Type::INT8)]).await?;
        if let Some(differs) = row.get::<_, Option<String>>(0) {
            let message = format!(
                "rollup \"{name}\": a window can belong to two days of {zone}, because an offset from UTC is not a multiple of the window \
                 ({differs}): use a shorter window, such as 15m, or no timeZone"
            );
            return Err(DatabaseError::new(ErrorKind::Other, message));
        }
    }
    Ok(())
}
