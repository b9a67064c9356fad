//! Outputs that are not read, and texts in events that a terminal would execute.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use retail_testbed::{Case, within};

use crate::programs::{LIMIT, PROCESSOR, start, until_consumed};

/// Capacity of a pipe on Linux, in bytes.
const PIPE: usize = 1 << 16;

/// A pipe without room, whose reader does not read.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'x'; PIPE]).unwrap();
    (reader, writer)
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

#[tokio::test]
async fn outputs_that_are_not_read_stop_nothing() {
    let case = Case::shared().partitions(1).spec("printRows: true").start().await;
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ((_rows, stdout), (_log, stderr)) = (full_pipe(), full_pipe());
    let mut command = case.command(PROCESSOR);
    command.args(["--workers", "1", "--http", &address.to_string()]);
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
    let mut child = Killed(child);
    for batch in 1..=3 {
        case.topic.purchases(0, &[("A", "1", 0), ("A", "2", 1)]);
        until_consumed(&case, 2 * batch).await;
    }
    let mut probe = TcpStream::connect(address).unwrap();
    probe.set_read_timeout(Some(LIMIT)).unwrap();
    probe.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    probe.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let kill = std::process::Command::new("kill").arg(child.0.id().to_string()).status().unwrap();
    assert!(kill.success());
    let status = within(LIMIT, "the processor ends", async || child.0.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn control_characters_of_events_are_printed_escaped() {
    let case = Case::shared().partitions(1).spec("printRows: true").start().await;
    let processor = start(&case, &[]);
    case.topic.purchases(0, &[(r"\u001b[2J\u009b31m\r\nforged\u202e", "1.50", 0)]);
    processor.says(r"\u{1b}[2J\u{9b}31m\r\nforged\u{202e}").await;
    let output = processor.output();
    let hidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!output.contains(hidden), "{output:?}");
}
