//! The page around its parts, which stays the same while the program runs.

use std::fmt::Write as _;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use retail_api::resource::LateEvents;
use retail_api::{Pipeline, duration};

use crate::poller::Published;

/// The facts of the page about the pipeline itself.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    name: String,
    facts: String,
    /// Why event time is in the past; `None` if it is not.
    speed: Option<String>,
    delay: String,
    keeps_late: bool,
}

impl Frame {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        let delay = duration::write(pipeline.rules.delay.into());
        let mut facts = format!(
            "topic {}, windows of {}, delay {delay}",
            pipeline.topic.name,
            duration::write(pipeline.rules.window.into())
        );
        if let Some(within) = pipeline.deduplicate_within {
            let _infallible = write!(facts, ", duplicates within {}", duration::write(within.into()));
        }
        let speed = pipeline.producer.as_ref().map(|producer| producer.speed).filter(|speed| *speed > 1);
        let speed = speed.map(|speed| {
            format!(
                "Simulated event time passes {speed} times faster than the clock: it begins in the past, and a window closes every {}.",
                duration::approximate(retail_duration(pipeline) / speed.unsigned_abs())
            )
        });
        Self {
            name: pipeline.name.clone(),
            facts,
            speed,
            delay,
            keeps_late: matches!(pipeline.late_events, LateEvents::DeadLetter),
        }
    }
}

fn retail_duration(pipeline: &Pipeline) -> std::time::Duration {
    pipeline.rules.window.into()
}

/// The whole page. Without a snapshot, the parts are empty until one arrives.
pub(crate) fn whole(frame: &Frame, published: &Published) -> String {
    let part = |id: &str| -> Markup {
        let html = published.parts.iter().find(|versioned| versioned.part.id == id);
        PreEscaped(html.map(|versioned| versioned.part.html.clone()).unwrap_or_default())
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (frame.name) " · RetailPipeline" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/page.css";
                // Not deferred: it sets the colours before the first paint.
                script src="/page.js" {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    div.title {
                        h1 { (frame.name) }
                        div #status role="status" { (part("status")) }
                    }
                    p.facts { (frame.facts) }
                    div.controls {
                        span #link data-state="live" { span.dot aria-hidden="true" {} span #taken { (part("taken")) } }
                        button #theme type="button" { "Theme: system" }
                    }
                }
                main #main tabindex="-1" {
                    noscript { p.note { "Without JavaScript, this page shows one moment: reload it for the next one." } }
                    @if let Some(speed) = &frame.speed { p.note { (speed) } }
                    div #problems { (part("problems")) }
                    section #tiles aria-label="Summary" { (part("tiles")) }
                    (windows(&part))
                    div.columns {
                        div.column {
                            (card("partitions", "Partitions", &part))
                            (card("letters", "Dead letters", &part))
                            (card("proof", "Is it right?", &part))
                        }
                        div.column {
                            (card("fates", "Fates of the offsets", &part))
                            (lateness(frame, &part))
                            (card("groups", "Largest groups", &part))
                        }
                    }
                }
                footer { "Read-only. Times are in UTC. One snapshot of Postgres each second at most, for all viewers." }
            }
        }
    };
    page.into_string()
}

/// A card with one part.
fn card(id: &str, title: &str, part: &impl Fn(&str) -> Markup) -> Markup {
    html! {
        section.card aria-labelledby={ (id) "-title" } {
            h2 #{ (id) "-title" } { (title) }
            div #(id) { (part(id)) }
        }
    }
}

fn windows(part: &impl Fn(&str) -> Markup) -> Markup {
    html! {
        section.card aria-labelledby="windows-title" {
            div.heading {
                h2 #windows-title { "Windows" }
                ul.legend aria-hidden="true" {
                    li { span.key.final {} "final" }
                    li { span.key.closing {} "closes next" }
                    li { span.key.open {} "open" }
                    li { span.key.line {} "watermark" }
                }
            }
            div #windows { (part("windows")) }
            p.readout #windows-readout aria-hidden="true" { "Point at a bar for its sums." }
            details {
                summary { "Windows as a table" }
                div.scroll tabindex="0" role="region" aria-label="Table of windows" { div #windows-table { (part("windows-table")) } }
            }
        }
    }
}

fn lateness(frame: &Frame, part: &impl Fn(&str) -> Markup) -> Markup {
    html! {
        section.card aria-labelledby="lateness-title" {
            h2 #lateness-title { "Late events" }
            @if !frame.keeps_late {
                p { "This pipeline counts late events and does not store them (lateEvents: Drop). `retail what-if` reads them from the topic." }
            }
            div #lateness { (part("lateness")) }
            @if frame.keeps_late {
                div.slider hidden #slider-box {
                    label for="slider" { "Delay of the watermark " output #slider-delay for="slider" { (frame.delay) } }
                    input #slider type="range" min="0" max="1" value="0" step="1";
                    p #slider-result aria-live="polite" {}
                }
                details {
                    summary { "Delays as a table" }
                    div #lateness-table { (part("lateness-table")) }
                }
                p.small { "From the late events that are still stored. Floors of idle partitions depend on the delay, so that this is an estimate: "
                    code { "retail what-if" } " reads the topic, and also answers for shorter delays." }
            }
        }
    }
}
