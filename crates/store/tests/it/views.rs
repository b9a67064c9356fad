//! The views of dead letters and of totals.

use retail_testbed::{Case, Feeder, Sent, purchase};

#[tokio::test]
async fn late_rejected_and_totals_show_what_was_missed_and_counted() {
    let case = Case::shared().partitions(1).start().await;
    let mut feeder = Feeder::new(&case, "a").await;
    feeder.claim(&[0]).await;
    // The third event is 55 minutes too late: windows that end at or before 01:00 are closed.
    feeder.purchases(0, "1.5", &[0, 7200]);
    feeder.purchases(0, "2.25", &[10]);
    let garbage = |value: &str| Sent { partition: 0, timestamp: 7200, value: Some(value.into()) };
    feeder.feed(&[garbage("{"), garbage("no json"), garbage("{}")]);
    feeder.feed(&[Sent { partition: 0, timestamp: 7200, value: Some(purchase("A", "1", 20_000)) }]);
    feeder.commit(&[]).await.unwrap();

    let late = "SELECT string_agg(concat_ws(' ', window_start AT TIME ZONE 'UTC', window_end - window_start, category, payment_method,
                    total_quantity, trim_scale(total_amount), event_time - window_start, missed_by, partition, \"offset\"), ', ')
                FROM late";
    assert_eq!(case.text(late).await, "2025-01-01 00:00:00 00:05:00 A COD 1 2.25 00:00:10 00:55:00 0 2");
    let rejected =
        "SELECT string_agg(concat_ws(' ', reason, records, hour = date_trunc('hour', first_stored_at, 'UTC')), ', '
                        ORDER BY reason) FROM rejected";
    let as_of_tables = "SELECT string_agg(concat_ws(' ', reason, records, true), ', ' ORDER BY reason)
                        FROM (SELECT reason, count(*) AS records FROM dead_letter WHERE reason <> 'late' GROUP BY reason) d";
    assert_eq!(case.text(rejected).await, case.text(as_of_tables).await);
    assert!(case.text(rejected).await.contains("future 1 t, malformed_json 2 t, missing_field 1 t"));

    let totals = "SELECT concat_ws(' ', category, trim_scale(total_amount), trim_scale(running_total)) FROM totals";
    let latest = "SELECT trim_scale(running_total) FROM retail ORDER BY window_start DESC LIMIT 1";
    assert_eq!(case.text(totals).await, "A 0 3");
    assert_eq!(case.text(latest).await, "3");
    feeder.close().await;
    assert_eq!(case.text(totals).await, "A 1.5 3");
    assert_eq!(case.text(latest).await, "3");
    // Without the running total, no open window is read.
    let plan = case.query("EXPLAIN SELECT category, total_amount FROM totals").await;
    assert!(plan.iter().all(|line| !line.get::<_, String>(0).contains("delta_log")));
}
