//! The scripts that start servers for people and for tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use retail_testbed::{Kafka, Postgres};

/// Runs a script of `dev` for the server in a directory.
fn run(script: &str, command: &str, directory: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev").join(script);
    let mut process = Command::new(script);
    process.arg(command).arg(directory).env("KAFKA_QUICK", "1").env("KAFKA_HEAP", "384m");
    process.env_remove("KAFKA_PORT").env_remove("POSTGRES_PORT").output().unwrap()
}

/// A directory of a server that has had this port.
fn directory_with_port(name: &str, port: &str) -> PathBuf {
    let name = format!("../../.dev/test/{name}-{}", std::process::id());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("port"), port).unwrap();
    directory
}

/// Another server has the remembered port, of the same kind and with the same superuser: it is not handed out.
#[tokio::test]
async fn server_of_another_directory_is_not_handed_out() {
    let (kafka, postgres) = (Kafka::private(), Postgres::private());
    let url = postgres.url();
    let ports = [kafka.address(), url.split('/').nth(2).unwrap().to_owned()];
    for (script, address) in ["kafka", "postgres"].into_iter().zip(ports) {
        let (_, port) = address.rsplit_once(':').unwrap();
        let directory = directory_with_port(script, port);
        let up = run(script, "up", &directory);
        let down = run(script, "down", &directory);
        std::fs::remove_dir_all(&directory).unwrap();
        let (address, said) = (String::from_utf8_lossy(&up.stdout), String::from_utf8_lossy(&up.stderr));
        assert!(up.status.success() && down.status.success(), "{said}");
        assert!(address.contains("127.0.0.1:") && !address.contains(&format!(":{port}")), "{address}");
        assert!(said.contains(&format!("another program listens on port {port}, which this server had")), "{said}");
    }
}
