//! The plugin of kubectl, with a kubectl that prints the answers of a cluster.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::RETAIL;

/// Prints `pods` for pods, the status for the resource, and its arguments otherwise.
fn cluster(directory: &Path, pods: &str) -> PathBuf {
    std::fs::create_dir_all(directory).unwrap();
    let resource = r#"{"status": {"replicas": 0, "conditions": [{"type": "Ready", "status": "True", "reason": "UpToDate",
        "message": "all parts are ready", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "progress": {"watermark": "2026-01-01T00:00:00Z", "lag": 1234, "applied": 1000000, "late": 7, "invalid": 0, "future": 0}}}"#;
    let script = format!(
        "#!/bin/sh\ncase \"$2\" in\npods) echo '{pods}' ;;\nretailpipelines*) echo '{resource}' ;;\n*) echo \"$@\"; exit 7 ;;\nesac\n"
    );
    let kubectl = directory.join("kubectl");
    std::fs::write(&kubectl, script).unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let plugin = directory.join("kubectl-retail");
    let _replaced = std::fs::remove_file(&plugin);
    symlink(RETAIL, &plugin).unwrap();
    plugin
}

fn run(plugin: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let path = format!("{}:/usr/bin:/bin", plugin.parent().unwrap().display());
    let output = Command::new(plugin).args(arguments).env("PATH", path).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

#[test]
fn plugin_executes_the_verb_in_a_pod_or_prints_the_resource() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubectl");
    let pods = r#"{"items": [{"metadata": {"name": "shop-1"}, "status": {"phase": "Running"}}]}"#;
    let plugin = cluster(&directory.join("with-pod"), pods);
    let executed = run(&plugin, &["status", "shop", "--context", "c", "--json"]);
    let wanted = "exec -i shop-1 -c processor --context c -- /retail status -f /etc/retail/processor.yaml --json\n";
    assert_eq!(executed, (Some(7), wanted.to_owned()), "with the exit code of the pod");

    let plugin = cluster(&directory.join("without-pod"), r#"{"items": []}"#);
    let (code, said) = run(&plugin, &["status", "shop"]);
    assert_eq!(code, Some(0), "{said}");
    for fact in ["shop: ready. No processor pod runs", "all parts are ready", "not processed        1,234\n", "7 late"]
    {
        assert!(said.contains(fact), "{said}");
    }
    let (code, said) = run(&plugin, &["verify", "shop", "--json"]);
    assert_eq!(code, Some(1), "a status is no verification");
    assert!(said.contains(r#""lag":1234"#), "{said}");
    let (code, said) = run(&plugin, &["run", "shop"]);
    assert!(code == Some(2) && said.contains("does not run in a pod"), "{said}");
}
