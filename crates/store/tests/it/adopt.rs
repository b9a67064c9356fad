//! The take-over of a schema: a compare-and-set that ends every statement of the former owner.

use std::time::Duration;

use retail_api::Pipeline;
use retail_connection::{ErrorKind, Removal};
use retail_store::provision;
use retail_testbed::{Case, Feeder, eventually};

/// The pipeline as it is applied again: another uid, and the uid of the former one in `spec.adopt`.
fn successor(case: &Case, uid: &str, adopts: &str) -> Pipeline {
    let (uid, adopt) = (uid.to_owned(), Some(adopts.to_owned()));
    Pipeline { uid, adopt, ..case.settings.pipeline.clone() }
}

/// The last commits are an hour old.
async fn rests(case: &Case) {
    let old = "UPDATE partition_progress SET committed_at = committed_at - interval '1 hour'";
    case.client().await.batch_execute(old).await.unwrap();
}

#[tokio::test]
async fn adopted_schema_refuses_its_former_owner() {
    let mut case = Case::shared().start().await;
    let uid = case.settings.pipeline.uid.clone();
    let mut former = Feeder::new(&case, "former").await;
    former.claim(&[0, 1]).await;
    former.purchases(0, "1", &[10, 20]);
    former.commit(&[]).await.unwrap();

    let database = &case.settings.database.clone();
    // Without the line, the message contains it.
    let error = provision::apply(database, &Pipeline { adopt: None, ..successor(&case, "new", "") }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign);
    assert!(error.message.contains(&format!("spec.adopt: {{uid: \"{uid}\"}}")), "{error}");
    let error = provision::apply(database, &successor(&case, "new", &uid)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InUse, "{error}");
    assert!(error.kind.may_pass() && error.message.contains("within the last 3m"), "{error}");
    let error = provision::apply(database, &successor(&case, "new", "another")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign, "{error}");

    rests(&case).await;
    let epochs = "SELECT string_agg(epoch::text, ' ' ORDER BY partition) FROM partition_progress";
    let before = case.text(epochs).await;
    let adopted = provision::apply(database, &successor(&case, "new", &uid)).await.unwrap();
    assert_eq!((adopted.uid.as_str(), before.as_str(), case.text(epochs).await.as_str()), ("new", "1 1", "2 2"));
    former.purchases(0, "1", &[30]);
    assert_eq!(former.commit(&[]).await.unwrap_err().kind, ErrorKind::Foreign);
    assert_eq!(former.store.claim(&[0], "former").await.unwrap_err().kind, ErrorKind::Foreign);
    assert_eq!(former.store.close_windows(true).await.unwrap_err().kind, ErrorKind::Foreign);
    assert_eq!(provision::drop(database, &uid).await, Ok(Removal::NotOurs));

    // The line stays in the file: it neither changes the schema again nor takes it from another pipeline.
    let again = provision::apply(database, &successor(&case, "new", &uid)).await;
    assert_eq!((again, case.text(epochs).await.as_str()), (Ok(adopted), "2 2"));
    let other = provision::apply(database, &successor(&case, "other", &uid)).await.unwrap_err();
    assert!(other.kind == ErrorKind::Foreign && other.message.contains("belongs to pipeline new"), "{other}");

    // The new owner continues at the stored offsets, and may drop the schema.
    case.settings.pipeline = successor(&case, "new", &uid);
    let mut owner = Feeder::new(&case, "owner").await;
    owner.claim(&[0, 1]).await;
    owner.purchases(0, "1", &[30]);
    owner.commit(&[]).await.unwrap();
    assert_eq!(case.text("SELECT consumed FROM ledger WHERE partition = 0").await, "3");
    assert_eq!(provision::drop(database, "new").await, Ok(Removal::Removed));
}

/// Statements that have already read the former owner wait for a lock that the take-over gets first.
#[tokio::test(flavor = "multi_thread")]
async fn statements_that_wait_for_the_take_over_are_refused() {
    let case = Case::shared().start().await;
    let uid = case.settings.pipeline.uid.clone();
    let (mut commits, claims, mut closes) =
        (Feeder::new(&case, "commits").await, Feeder::new(&case, "claims").await, Feeder::new(&case, "closes").await);
    commits.claim(&[0]).await;
    commits.purchases(0, "1", &[10]);
    commits.commit(&[]).await.unwrap();
    commits.purchases(0, "1", &[20]);
    rests(&case).await;

    let blocker = case.client().await;
    blocker.batch_execute("BEGIN; SELECT FROM partition_progress WHERE partition = 0 FOR UPDATE").await.unwrap();
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%\"{}\"%'",
        case.settings.pipeline.schema
    );
    let until_waiting = async |sessions: &str| {
        eventually(&format!("{sessions} sessions wait"), async || {
            (case.text(&waiting).await == sessions).then_some(())
        })
        .await;
    };
    let (database, pipeline) = (case.settings.database.clone(), successor(&case, "new", &uid));
    let adopting = tokio::spawn(async move { provision::apply(&database, &pipeline).await });
    until_waiting("1").await;
    let commit = tokio::spawn(async move { commits.commit(&[]).await });
    until_waiting("2").await;
    let claim = tokio::spawn(async move { claims.store.claim(&[0], "claims").await });
    let close = tokio::spawn(async move { closes.store.close_windows(true).await });
    until_waiting("4").await;
    blocker.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(adopting.await.unwrap().unwrap().uid, "new");
    let limit = Duration::from_secs(30);
    let fenced = tokio::time::timeout(limit, commit).await.unwrap().unwrap();
    assert_eq!(fenced.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(claim.await.unwrap().unwrap_err().kind, ErrorKind::Foreign);
    assert_eq!(close.await.unwrap().unwrap_err().kind, ErrorKind::Foreign);
    assert_eq!(case.text("SELECT consumed FROM ledger WHERE partition = 0").await, "1");
}
