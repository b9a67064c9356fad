//! `retail top` and the screen of `retail run` in a pseudo terminal, on real servers.

use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use retail_testbed::{Case, eventually};
use vt100::Parser;

use crate::RETAIL;

const PRODUCER: &str = "producer: {eventsPerSecond: 1000, speed: 600, faults: {tooLate: 2, malformed: 2}}";

/// A program in a terminal of 80 columns and 24 lines.
struct Terminal {
    child: Child,
    screen: Arc<Mutex<Parser>>,
    /// Everything that was printed.
    printed: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a shell that runs `retail` and prints its process id before, and its exit code and the mode of the terminal after it.
    fn start(case: &Case, arguments: &str) -> Self {
        let shell = format!(
            "stty rows 24 cols 80; sh -c 'echo pid=$$.; exec {RETAIL} {arguments}'; echo code=$?.; stty -a | grep -o '.icanon'"
        );
        let mut command = case.command("script");
        command.args(["-qefc", &shell, "/dev/null"]).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let size = |cells: u16| NonZero::new(cells).unwrap();
        let screen = Arc::new(Mutex::new(Parser::new(size(24), size(80), 0)));
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (mut output, parser, all) = (child.stdout.take().unwrap(), Arc::clone(&screen), Arc::clone(&printed));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                parser.lock().unwrap().process(&bytes[..read]);
                all.lock().unwrap().extend_from_slice(&bytes[..read]);
            }
        });
        Self { child, screen, printed }
    }

    fn press(&mut self, keys: &[u8]) {
        let keyboard = self.child.stdin.as_mut().unwrap();
        keyboard.write_all(keys).unwrap();
        keyboard.flush().unwrap();
    }

    /// The screen, with single blanks.
    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }

    async fn shows(&self, text: &str) {
        eventually(&format!("the terminal shows {text:?}; it shows {:?}", self.text()), async || {
            self.text().contains(text).then_some(())
        })
        .await;
    }

    fn pid(&self) -> String {
        let printed = self.printed();
        printed.split_once("pid=").unwrap().1.split_once('.').unwrap().0.to_owned()
    }

    /// Waits for the end, which must leave the terminal as it was. Returns the exit code and the text after the screen.
    async fn ends(&self) -> (String, String) {
        eventually("the program ends", async || self.printed().contains("icanon").then_some(())).await;
        let printed = self.printed();
        let (_, after) = printed.rsplit_once("\u{1b}[?1049l").expect("the previous contents are back");
        assert!(after.contains("\u{1b}[?25h"), "the cursor is back: {after:?}");
        assert!(printed.contains(" icanon"), "keys are lines again: {after:?}");
        let (log, code) = after.split_once("code=").unwrap();
        (code.split_once('.').unwrap().0.to_owned(), log.to_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _shown = std::io::stderr().write_all(self.text().as_bytes());
        }
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

fn grouped(number: &str) -> String {
    let digits = number.len();
    let with_comma = |(at, digit): (usize, char)| {
        let comma = if at > 0 && (digits - at).is_multiple_of(3) { "," } else { "" };
        format!("{comma}{digit}")
    };
    number.chars().enumerate().map(with_comma).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn screens_show_the_values_of_sql_and_restore_the_terminal() {
    let case = Case::shared().spec(PRODUCER).build();
    let mut run = Terminal::start(&case, "run");
    eventually("windows are closed", async || {
        let closed = case.try_text("SELECT count(DISTINCT window_start) >= 3 FROM final_rows").await;
        (closed.as_deref() == Some("true")).then_some(())
    })
    .await;
    run.shows("600 times faster than the clock").await;
    run.shows(" final ").await;
    run.shows("closes in ").await;
    // `retail top` watches the run of the other terminal, and goes on when that ends.
    let mut top = Terminal::start(&case, "top");
    top.shows(" offsets = ").await;
    run.press(b"\x03");
    let (code, log) = run.ends().await;
    assert_eq!(code, "0", "{log}");
    assert!(log.contains(" acknowledged, 0 failed") && log.contains("processing topic"), "the log follows: {log}");

    let consumed = case.text("SELECT sum(consumed) FROM ledger").await;
    let applied = case.text("SELECT sum(applied) FROM ledger").await;
    top.shows(&format!("{} offsets = {} applied", grouped(&consumed), grouped(&applied))).await;
    let watermark = case
        .text("SELECT to_char((SELECT min(max_observed_time) - interval '1 hour' FROM partition_progress) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')")
        .await;
    top.shows(&format!("watermark {watermark}, 1h behind the newest event of partition")).await;
    let closed = case.text("SELECT to_char(closed_until AT TIME ZONE 'UTC', 'HH24:MI') FROM pipeline").await;
    top.shows(&format!("final up to {closed}")).await;
    let last_final =
        case.text("SELECT sum(events) FROM final_rows GROUP BY window_start ORDER BY window_start DESC LIMIT 1").await;
    top.shows(&format!("{} final", grouped(&last_final))).await;
    let malformed = case
        .text("SELECT \"offset\" FROM dead_letter ORDER BY stored_at DESC, partition, \"offset\" DESC LIMIT 1")
        .await;
    top.press(b"d");
    top.shows(&format!(":{malformed} ")).await;
    top.press(b"p");
    let owner = case.text("SELECT owner FROM partition_progress WHERE partition = 0").await;
    top.shows(&owner[..owner.len().min(12)]).await;
    top.press(b"w");
    top.shows("1h (now)").await;
    let sent = Command::new("kill").args(["-TERM", &top.pid()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(top.ends().await.0, "0");
    case.assert_exact().await;
}
