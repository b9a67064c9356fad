//! `retail plan`: shows the operator's actions without a cluster, and whether the schema registry can be used.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use retail_api::resource::RetailPipeline;
use retail_api::status::RetailPipelineStatus;
use retail_api::validate::check_update;
use retail_api::{Pipeline, ReadError};
use retail_operator::preview;
use retail_operator::reconcile::validate::{Invalid, Valid, parse};
use retail_operator::settings::Settings;
use retail_operator::tenants::Tenants;
use retail_runtime::args::RegistryArgs;
use retail_runtime::process;

use crate::doctor::{self, Check};

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// Path of the pipeline.yaml; - reads standard input
    #[arg(short, long, value_name = "FILE", env = "RETAIL_PIPELINE")]
    file: PathBuf,

    /// Path of the current pipeline.yaml, to show changes only [default: show the creation]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// Image of the producer and processor pods
    #[arg(long, env = "RETAIL_IMAGE", default_value = "retail-pipeline")]
    image: String,

    /// Do not contact the schema registry
    #[arg(long)]
    offline: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Why a plan cannot be made; exit code 2.
#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{path}: {message}")]
    Unusable { path: String, message: String },
    #[error("{0}")]
    Immutable(String),
    #[error("--from names pipeline {0}, but the new file pipeline {1}: give both the same name and namespace")]
    Different(String, String),
}

pub(crate) fn plan(args: &PlanArgs) -> ExitCode {
    match in_words(args) {
        Ok((plan, pipeline)) => {
            let text = plan + &registry(args, &pipeline);
            process::finished(process::print_text(&text), ExitCode::SUCCESS)
        }
        Err(error) => process::misused(&error),
    }
}

/// The checks of the schema registry, if the pipeline has one. The plan does not depend on them: a registry that this machine cannot
/// use may be usable for the pods.
fn registry(args: &PlanArgs, pipeline: &Pipeline) -> String {
    if args.offline || pipeline.registry().is_none() {
        return String::new();
    }
    let checks = match args.registry.clone().connection(pipeline) {
        Ok(Some(connection)) => {
            let mut found = Vec::new();
            process::run(doctor::registry::checks(pipeline, &connection, &mut found));
            found
        }
        Ok(None) => return String::new(),
        Err(error) => vec![Check::warn("registry", format_args!("not checked: {error}"))],
    };
    format!("The schema registry, from this machine (--offline skips it):\n{}", doctor::lines(&checks))
}

fn in_words(args: &PlanArgs) -> Result<(String, Pipeline), PlanError> {
    let settings = Settings { image: args.image.clone(), class: None, lease: None, tenants: Tenants::default() };
    let (new_text, new) = read(&args.file)?;
    let Some(from) = &args.from else {
        return Ok((preview::from_nothing(&new, &settings).to_string(), new.pipeline));
    };
    let (old_text, old) = read(from)?;
    let name = |valid: &Valid| format!("{}/{}", valid.pipeline.namespace, valid.pipeline.name);
    if name(&old) != name(&new) {
        return Err(PlanError::Different(name(&old), name(&new)));
    }
    let resource = |text: &str| retail_api::validate::read(text).expect("the text was parsed before");
    // The other file is that of a running pipeline.
    let status = RetailPipelineStatus { schema: Some(old.pipeline.schema.clone()), ..RetailPipelineStatus::default() };
    let running = RetailPipeline { status: Some(status), ..resource(&old_text) };
    check_update(&resource(&new_text), &running).map_err(|problems| PlanError::Immutable(problems.join("\n")))?;
    Ok((preview::from_declared(&old, &new, &settings).to_string(), new.pipeline))
}

/// Reads a file, with the error messages of the other commands.
fn read(path: &Path) -> Result<(String, Valid), PlanError> {
    let text = Pipeline::read_text(path)?;
    Pipeline::parse_named(&text, path)?;
    let unusable = |Invalid { reason: _, message }| PlanError::Unusable { path: path.display().to_string(), message };
    let valid = parse(&text).map_err(unusable)?;
    Ok((text, valid))
}
