//! Output that never waits for its reader.
//!
//! A full pipe or a stopped terminal blocks the thread that writes to it. The logs of all programs, and the rows that a processor
//! prints, therefore pass a queue of bounded length and a thread of their own: what does not fit is dropped and counted.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use retail_connection::text::visible_lines;

/// Number of texts that wait for the thread. A text is a line of a log, or the rows of a trigger.
const QUEUE: usize = 1024;

/// Time at the end of a program for the texts that still wait.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// An output of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error, with the log.
    Stderr,
}

impl Stream {
    /// All outputs.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Number of texts of this process that were dropped, because the output was not read.
    pub fn dropped(self) -> u64 {
        self.counter().load(Ordering::Relaxed)
    }

    fn counter(self) -> &'static AtomicU64 {
        static DROPPED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
        &DROPPED[self as usize]
    }
}

/// The writing end of an output.
#[derive(Clone, Debug)]
pub struct Output {
    stream: Stream,
    queue: SyncSender<Vec<u8>>,
    ended: Arc<Mutex<Receiver<()>>>,
}

/// The thread of an output. Dropping it waits, for a second at most, until the texts of the queue are written.
#[derive(Debug)]
pub struct OutputThread(Output);

impl Output {
    /// Starts the thread that writes to `writer`, which leads to `stream`.
    pub fn start(stream: Stream, mut writer: impl Write + Send + 'static) -> (Self, OutputThread) {
        let (queue, texts) = sync_channel::<Vec<u8>>(QUEUE);
        let (ends, ended) = sync_channel(1);
        let mut reported = stream.dropped();
        std::thread::spawn(move || {
            // An empty text is the end: other owners of the queue may live longer.
            for text in texts.iter().take_while(|text| !text.is_empty()) {
                let _closed = writer.write_all(&text);
                let dropped = stream.dropped();
                if dropped > reported {
                    let (missing, name) = (dropped - reported, stream.name());
                    let line = format!("… {missing} texts are missing here: {name} was not read\n");
                    let _closed = writer.write_all(line.as_bytes());
                    reported = dropped;
                }
                let _closed = writer.flush();
            }
            let _waiting = ends.send(());
        });
        let output = Self { stream, queue, ended: Arc::new(Mutex::new(ended)) };
        (output.clone(), OutputThread(output))
    }

    /// Prints a text later, with control characters escaped, or drops it if the queue is full. Never waits.
    pub fn print(&self, text: &str) {
        self.send(visible_lines(text).as_bytes());
    }

    /// Ends the thread, and waits until the texts of the queue are written, for a second at most.
    pub(crate) fn end(&self) {
        let deadline = Instant::now() + END_TIMEOUT;
        // A queue that stays full is not read: its texts are lost.
        while self.queue.try_send(Vec::new()).is_err() {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _lost = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    fn send(&self, text: &[u8]) {
        if !text.is_empty() && self.queue.try_send(text.to_owned()).is_err() {
            self.stream.counter().fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for OutputThread {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The log writes each event with one call, in which only its own colours are control characters.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.send(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A writer that waits for permission before each text.
    struct Gate {
        open: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.open.recv().map_err(std::io::Error::other)?;
            self.written.send(String::from_utf8_lossy(bytes).into_owned()).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_that_is_not_read_drops_and_counts() {
        let ((allow, open), (written, texts)) = (channel(), channel());
        let (output, thread) = Output::start(Stream::Stdout, Gate { open, written });
        // One text is with the thread, and QUEUE of them wait.
        for number in 0..QUEUE + 12 {
            output.print(&format!("{number}\n"));
        }
        let dropped = Stream::Stdout.dropped();
        assert!((11..=12).contains(&dropped), "{dropped}");
        for _ in 0..QUEUE + 13 {
            allow.send(()).unwrap();
        }
        drop(thread);
        drop((allow, output));
        let texts: Vec<String> = texts.iter().collect();
        assert_eq!((texts[0].as_str(), texts[2].as_str()), ("0\n", "1\n"), "in order: {:?}", &texts[..3]);
        let report = texts.iter().find(|text| text.contains("missing")).unwrap();
        assert_eq!(report, &format!("… {dropped} texts are missing here: stdout was not read\n"));
    }

    #[test]
    fn texts_of_a_program_that_ends_are_written() {
        let ((allow, open), (written, texts)) = (channel(), channel());
        let (output, thread) = Output::start(Stream::Stderr, Gate { open, written });
        for _ in 0..3 {
            output.print("a line\n");
            allow.send(()).unwrap();
        }
        drop(thread);
        assert_eq!(texts.try_iter().count(), 3);
    }
}
