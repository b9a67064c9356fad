//! The program over HTTP: configuration, election, watches, probes, signals.

use std::path::PathBuf;
use std::time::Duration;

use retail_testbed::{Case, Program, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::{Api, Key};
use crate::harness::pipeline_key;
use crate::real_servers::{declare, status};

/// Writes a kubeconfig for an API server without TLS.
fn kubeconfig(case: &Case, server: &str) -> PathBuf {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "shop"}}],
    });
    let file = case.file.with_extension("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

fn start(case: &Case, server: &str) -> Program {
    let kubeconfig = format!("KUBECONFIG={}", kubeconfig(case, server).display());
    let program = env!("CARGO_BIN_EXE_retail-operator");
    let arguments =
        [&kubeconfig, program, "run", "--image", "retail:test", "--identity", "one", "--http", "127.0.0.1:0"];
    Program::start("env", case, &arguments)
}

/// Status line and body of a GET request.
async fn get(program: &Program, path: &str) -> (String, String) {
    program.says("/metrics at http://").await;
    let output = program.output();
    let address = output.split("/metrics at http://").nth(1).unwrap().lines().next().unwrap().to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn program_runs_a_pipeline_and_releases_the_lease_on_stop() {
    let (api, case) = (Api::default(), Case::shared().build());
    let address = api.serve().await;
    let mut program = start(&case, &format!("http://{address}"));
    declare(&api, &case);
    let is_ready = async || (status(&api.store())["conditions"][0]["status"] == "True").then_some(());
    eventually("the pipeline is ready", is_ready).await;
    assert_eq!(get(&program, "/livez").await.0, "HTTP/1.1 200 OK");
    assert_eq!(get(&program, "/readyz").await, ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));
    assert!(get(&program, "/metrics").await.1.contains("retail_operator_leader 1"));
    let holder = || {
        let lease = api.store().get(&Key::new("leases", "retail-operator")).cloned().unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or("no holder").to_owned()
    };
    assert!(holder().starts_with("one_"), "{}", holder());

    // Deletion removes the selected data.
    api.change(|store| store.delete(&pipeline_key("retail")).unwrap());
    eventually("it is gone", async || api.store().get(&pipeline_key("retail")).is_none().then_some(())).await;

    program.signal("TERM");
    assert_eq!(program.exit_code(Duration::from_secs(30)).await, 0);
    assert_eq!(holder(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn program_without_api_server_is_alive_and_unready() {
    let case = Case::shared().build();
    let mut program = start(&case, "http://127.0.0.1:1");
    program.says("cannot acquire the lease").await;
    assert_eq!(get(&program, "/livez").await.0, "HTTP/1.1 200 OK");
    let (head, body) = get(&program, "/readyz").await;
    assert!(head.contains("503") && body.starts_with("waiting for the API server"), "{head} {body}");
    program.signal("TERM");
    assert_eq!(program.exit_code(Duration::from_secs(30)).await, 0);
}
