//! The progress bar of the commands that read the topic again.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for a number of offsets, each of which is `done`: hidden without a terminal.
pub(crate) fn bar(done: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = format!("{{bar:40}} {{human_pos}} of {{human_len}} offsets {done}, {{per_sec}}, {{eta}} left");
    ProgressBar::new(0).with_style(ProgressStyle::with_template(&style).expect("the template is valid"))
}

/// A function that moves a bar: it takes the number of offsets read and the number of all offsets.
pub(crate) fn moving(bar: &ProgressBar) -> impl Fn(i64, i64) + Send + Sync + 'static {
    let bar = bar.clone();
    move |read, total| {
        bar.set_length(total.unsigned_abs());
        bar.set_position(read.unsigned_abs());
    }
}
