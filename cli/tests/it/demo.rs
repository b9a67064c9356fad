//! The end of `make demo` without a terminal.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Like `retail run`: the first SIGINT or SIGTERM ends it after the last commit, the second one immediately. It prints their number.
const PROGRAM: &str = "
import signal, sys, time
signals = 0
def stop(*_):
    global signals
    signals += 1
    if signals > 1:
        sys.exit(130)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
print('started', flush=True)
while not signals:
    time.sleep(0.01)
time.sleep(0.3)
print('ended by', signals, flush=True)
";

/// Runs the program as the demo does, and sends SIGINT to all processes, if `interrupts`. Returns the exit code and the last line.
fn run_for(seconds: &str, interrupts: bool) -> (Option<i32>, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut script = Command::new("bash")
        .args(["-c", r#". dev/lib.sh && run_for "$1" python3 -c "$2""#, "demo", seconds, PROGRAM])
        .current_dir(root)
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "started");
    if interrupts {
        let sent = Command::new("kill").args(["-INT", "--", &format!("-{}", script.id())]).status().unwrap();
        assert!(sent.success());
    }
    let last = lines.next().map_or_else(String::new, Result::unwrap);
    (script.wait().unwrap().code(), last)
}

#[test]
fn demo_without_a_terminal_ends_by_one_signal() {
    let ended = (Some(0), "ended by 1".to_owned());
    assert_eq!(run_for("60", true), ended, "SIGINT to all processes");
    assert_eq!(run_for("5", false), ended, "the end of DEMO_SECONDS");
}
