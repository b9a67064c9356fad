//! `retail run`: the whole pipeline in one process.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use retail_api::{Verification, duration};
use retail_kafka::KafkaError;
use retail_processor::args::ProcessorArgs;
use retail_processor::error::ProcessorError;
use retail_processor::state::State;
use retail_processor::supervisor::Processor;
use retail_producer::plan::{Plan, PlanArgs};
use retail_producer::run::{ProducerError, Sent, Summary, clock, run as produce};
use retail_runtime::args::{PipelineArgs, Settings};
use retail_runtime::output::{Output, Stream};
use retail_runtime::process;
use retail_store::DatabaseError;
use tokio::sync::watch;

use crate::display::Display;
use crate::provision;
use crate::top::restore;

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    processor: ProcessorArgs,

    /// Print the rows of each trigger and the state below them, instead of the screen of `retail top`; the default without a terminal
    #[arg(long)]
    print_rows: bool,
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Topic(#[from] KafkaError),
    #[error(transparent)]
    Schema(#[from] DatabaseError),
    #[error(transparent)]
    Producer(#[from] ProducerError),
    #[error(transparent)]
    Processor(#[from] ProcessorError),
}

pub(crate) fn run(args: RunArgs) -> ExitCode {
    let display = Display::new(args.print_rows);
    let _log = process::log_to(display.log());
    process::before_exit(restore);
    process::end_on_panic();
    let (rows, _rows) = Output::start(Stream::Stdout, display.rows());
    let mut settings = match args.pipeline.load() {
        Ok(settings) => settings,
        Err(error) => return process::misused(&error),
    };
    settings.pipeline.print_rows = display.prints_rows() && (settings.pipeline.print_rows || args.print_rows);
    let plan = settings.pipeline.producer.as_ref().filter(|producer| producer.replicas > 0);
    let plan = match plan.map(|_| Plan::new(&settings.pipeline, PlanArgs::default(), clock())).transpose() {
        Ok(plan) => plan.map(|plan| plan.with_registry(settings.registry.clone())),
        Err(error) => return process::misused(&error),
    };
    let (stop, stopped) = watch::channel(false);
    process::on_first_signal(move || {
        stop.send_replace(true);
    });
    let print = Arc::new(move |text: &str| rows.print(text));
    let pipeline = Run { settings, processor: args.processor, plan, display, print };
    match process::run(pipeline.run(stopped)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::failed(&error),
    }
}

struct Run {
    settings: Settings,
    processor: ProcessorArgs,
    /// The producer's plan; `None` without a producer.
    plan: Option<Plan>,
    display: Display,
    /// Prints the rows of each trigger.
    print: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Run {
    /// Runs until `stop` is set. Then the producer ends first, and the processor after it, once its records are committed.
    async fn run(self, stop: watch::Receiver<bool>) -> Result<(), RunError> {
        let Self { settings, processor, plan, display, print } = self;
        provision::ensure_topic(&settings).await?.lines().for_each(|line| tracing::info!("{line}"));
        tracing::info!("{}", provision::ensure_schema(&settings).await?);
        if let Some(Verification { every, .. }) = &settings.pipeline.verify {
            let every = duration::approximate(every.length());
            tracing::info!(
                "spec.verify has an effect on Kubernetes only: here, run `retail verify --record` every {every} yourself"
            );
        }
        let state = Arc::new(State::default());
        let sent = plan.is_some().then(|| Arc::new(Sent::default()));
        let page = processor.page_address();
        let (stop_processor, processor_stopped) = watch::channel(false);
        let processor = Processor {
            args: processor,
            until_caught_up: false,
            state: Arc::clone(&state),
            print,
            settings: settings.clone(),
        };
        let shown = display.show(&settings, &state, sent.as_ref(), page, stop.clone());
        let sending_settings = settings.clone();
        let sending = async {
            let result = match (plan, &sent) {
                (Some(plan), Some(sent)) => send(sending_settings, plan, sent, stop).await.map(log_summary),
                _ => {
                    let mut stop = stop;
                    let _ended = stop.wait_for(|stop| *stop).await;
                    Ok(())
                }
            };
            stop_processor.send_replace(true);
            result
        };
        let work = async { tokio::join!(sending, processor.run(processor_stopped)) };
        let (sending, processing) = tokio::select! {
            results = work => results,
            () = shown => unreachable!("it does not return"),
        };
        sending?;
        processing?;
        Ok(())
    }
}

/// Sends purchases on a blocking thread, until `stop` is set.
async fn send(
    settings: Settings,
    plan: Plan,
    sent: &Arc<Sent>,
    mut stop: watch::Receiver<bool>,
) -> Result<Summary, ProducerError> {
    let stopping = Arc::new(AtomicBool::new(false));
    let (flag, sent) = (Arc::clone(&stopping), Arc::clone(sent));
    let mut sending = tokio::task::spawn_blocking(move || {
        produce(&settings.kafka, &settings.pipeline.topic.name, &plan, &flag, &sent)
    });
    let result = tokio::select! {
        result = &mut sending => result,
        _ = stop.wait_for(|stop| *stop) => {
            stopping.store(true, Ordering::Relaxed);
            sending.await
        }
    };
    result.expect("the producer does not panic")
}

fn log_summary(summary: Summary) {
    let Summary { events, bytes: _, acknowledged, failed, seconds } = summary;
    tracing::info!("sent {events} purchases in {seconds:.1} s: {acknowledged} acknowledged, {failed} failed");
}
