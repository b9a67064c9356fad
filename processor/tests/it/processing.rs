//! What the processor makes of a topic, when nothing goes wrong.

use retail_testbed::Case;

use crate::programs::{catch_up, produce};

#[tokio::test]
async fn every_purchase_is_in_a_row_or_has_a_reason_and_the_rows_are_exact() {
    let case = Case::shared().partitions(4).start().await;
    produce(&case, 50_000, 1).await;
    catch_up(&case).await;
    let report = case.assert_exact().await;
    assert_eq!(report.offsets, 50_000);
    assert!(report.rows > 100, "{report:?}");
    assert!((2000..4000).contains(&report.dead_letters), "{report:?}");
    assert_eq!(case.text("SELECT sum(consumed) FROM ledger WHERE balanced").await, "50000");
}
