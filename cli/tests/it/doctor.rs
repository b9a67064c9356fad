//! `retail doctor` on real servers.

use std::process::Command;

use retail_testbed::{Case, Postgres, Sent};
use serde_json::Value;

use crate::RETAIL;

/// The checks of the layers of a server.
fn layers(server: &str) -> [String; 4] {
    ["dns ok", "tcp ok", "tls ok", "ok"].map(|layer| format!("{server} {layer}"))
}

/// The check with this name.
fn check<'a>(said: &'a Value, name: &str) -> &'a Value {
    let checks = said["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {said}"))
}

/// Exit code, and the checks as `NAME OUTCOME`.
fn checks(command: &mut Command) -> (i32, Vec<String>, Value) {
    // Without kubectl, no cluster is looked at.
    let output = command.args(["doctor", "--json"]).env("PATH", "/nowhere").output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let check = |check: &Value| format!("{} {}", check["name"].as_str().unwrap(), check["outcome"].as_str().unwrap());
    // Other tests use connections of the same server.
    let checks = said["checks"].as_array().unwrap().iter().filter(|check| check["name"] != "connections").map(check);
    let checks = checks.collect();
    assert_eq!(said["ok"], output.status.success());
    (output.status.code().unwrap(), checks, said)
}

#[tokio::test]
async fn doctor_names_each_missing_precondition_and_its_fix() {
    let case = Case::shared().partitions(2).timestamp_type(None).build();
    let (code, found, said) = checks(&mut case.command(RETAIL));
    let others = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let wanted = [
        layers("kafka").to_vec(),
        others(&["brokers ok", "acls ok", "topic fail"]),
        layers("postgres").to_vec(),
        others(&["access ok", "schema fail", "kubernetes skip"]),
    ];
    assert_eq!((code, found), (1, wanted.concat()));
    assert!(check(&said, "topic")["detail"].as_str().unwrap().contains("retail apply-topic"), "{said}");
    assert!(check(&said, "schema")["detail"].as_str().unwrap().contains("retail apply-schema"), "{said}");

    case.apply_topic().await;
    case.apply_schema().await;
    let all = |failed: &[&str]| -> Vec<String> {
        let names = [
            "brokers",
            "acls",
            "topic",
            "workers",
            "record timestamps",
            "retention",
            "records",
            "postgres",
            "access",
            "schema",
            "version",
            "rights",
            "clocks",
            "dead letters",
        ];
        let outcome = |name: &&str| if failed.contains(name) { "fail" } else { "ok" };
        let (of_kafka, of_postgres) = names.split_at(7);
        let lines = |names: &[&str]| names.iter().map(|name| format!("{name} {}", outcome(name))).collect::<Vec<_>>();
        let below = layers("postgres")[..3].to_vec();
        let last = vec!["kubernetes skip".to_owned()];
        [layers("kafka").to_vec(), lines(of_kafka), below, lines(of_postgres), last].concat()
    };
    let (code, found, said) = checks(&mut case.command(RETAIL));
    assert_eq!((code, found), (0, all(&[])), "{said}");
    let text = case.command(RETAIL).arg("doctor").env("PATH", "/nowhere").output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("ok    kafka dns          127.0.0.1"), "{text}");
    assert!(text.ends_with(", 0 FAIL\n"), "{text}");

    // A role that may only read, and a record that is not understood.
    let schema = &case.settings.pipeline.schema;
    let role = format!("{schema}_doctor");
    let superuser = case.client_at(&Postgres::shared().superuser_url()).await;
    let create = format!(
        "CREATE ROLE \"{role}\" LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\";
         GRANT SELECT ON ALL TABLES IN SCHEMA \"{schema}\" TO \"{role}\""
    );
    superuser.batch_execute(&create).await.unwrap();
    case.topic.send(&[Sent { partition: 0, timestamp: 0, value: Some(b"{}".to_vec()) }]);
    let reader = case.with_database(&case.database_url().replace("retail:retail@", &format!("{role}:secret@")));
    let (code, found, said) = checks(&mut reader.command(RETAIL));
    assert_eq!((code, found), (1, all(&["records", "rights"])), "{said}");
    let rights = check(&said, "rights");
    assert!(rights["detail"].as_str().unwrap().contains("cannot read and write closes, dead_letter"), "{rights}");
    superuser.batch_execute(rights["fix"].as_str().unwrap()).await.unwrap();
    let (_, found, said) = checks(&mut reader.command(RETAIL));
    assert_eq!(found, all(&["records"]), "the fix works: {said}");

    // A database that the role may not connect to.
    let closed = format!("{role}_closed");
    superuser.batch_execute(&format!("CREATE DATABASE \"{closed}\"")).await.unwrap();
    superuser.batch_execute(&format!("REVOKE CONNECT ON DATABASE \"{closed}\" FROM PUBLIC")).await.unwrap();
    let url = reader.database_url().rsplit_once('/').unwrap().0.to_owned();
    let (_, _, said) = checks(&mut case.with_database(&format!("{url}/{closed}")).command(RETAIL));
    let refused = check(&said, "postgres")["detail"].as_str().unwrap();
    assert!(refused.contains(&format!("to log in, GRANT CONNECT ON DATABASE \"{closed}\"")), "{refused}");
    superuser.batch_execute(&format!("DROP DATABASE \"{closed}\"")).await.unwrap();
    superuser.batch_execute(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).await.unwrap();

    let mut unreachable = case.command(RETAIL);
    unreachable
        .env("RETAIL_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .env("RETAIL_DATABASE_URL", "postgres://retail:retail@127.0.0.1:1/retail");
    let (code, found, said) = checks(&mut unreachable);
    let unreached = |server: &str| ["dns ok", "tcp fail", "skip"].map(|layer| format!("{server} {layer}")).to_vec();
    let wanted = [unreached("kafka"), unreached("postgres"), others(&["kubernetes skip"])].concat();
    assert_eq!((code, found), (1, wanted), "{said}");
    assert_eq!(said["first"], "kafka tcp");
}
