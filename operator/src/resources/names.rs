//! Names in the cluster: field managers, annotations, labels, and the children of a pipeline.

use std::collections::BTreeMap;
use std::fmt;

use kube::api::ApiResource;

/// Field manager of the declared objects.
pub(crate) const FIELD_MANAGER: &str = "retail-operator";

/// Field manager of the status, separate from that of declarations.
pub(crate) const STATUS_MANAGER: &str = "retail-operator-status";

/// Finalizer, set only while deletionPolicy deletes data.
pub(crate) const FINALIZER: &str = "retailpipeline.dev/cleanup";

/// Annotation of a pipeline whose deletion is blocked: "true" removes the finalizer and keeps the data.
pub(crate) const RELEASE: &str = "retailpipeline.dev/release";

/// Annotation of every child: the hash of its declaration. It detects removed fields, which a comparison of fields cannot.
pub(crate) const DECLARED_HASH: &str = "retailpipeline.dev/declared-hash";

/// Annotation of every child: namespace and name of the lease of the operator that declares it. It shows that two operators declare
/// the same objects.
pub(crate) const OPERATOR: &str = "retailpipeline.dev/operator";

/// Annotation of a pod template: the hash of its program's pipeline.yaml.
pub(crate) const CONFIG_HASH: &str = "retailpipeline.dev/config-hash";

/// Annotation of a pod template: the hash of the keys from Secrets for Kafka.
pub(crate) const KAFKA_SECRET_HASH: &str = "retailpipeline.dev/kafka-secret-hash";

/// Annotation of a pod template: the hash of the keys from Secrets for Postgres.
pub(crate) const DATABASE_SECRET_HASH: &str = "retailpipeline.dev/database-secret-hash";

/// Annotation of pod templates: hash of the Secrets for the schema registry.
pub(crate) const REGISTRY_SECRET_HASH: &str = "retailpipeline.dev/registry-secret-hash";

/// Label with the name of the pipeline, which selects the operator's objects in watches. Admission webhooks rewrite labels of
/// `app.kubernetes.io`, but not those of a domain that they do not know.
pub(crate) const PIPELINE: &str = "retailpipeline.dev/pipeline";

/// Label of the operator's objects.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", FIELD_MANAGER);

/// The objects of a pipeline in the cluster, in the order of their application.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Child {
    /// The pipeline.yaml files of the pods.
    ConfigMap,
    /// The identity of the pods, without permissions.
    ServiceAccount,
    /// Service for the metrics of the processors.
    MetricsService,
    /// Prevents a drain from stopping all processors at once.
    DisruptionBudget,
    /// The processors.
    Processor,
    /// The producers.
    Producer,
    /// The verifications at regular times.
    Verification,
}

impl Child {
    /// All children, in the order of their application.
    pub(crate) const ALL: [Self; 7] = [
        Self::ConfigMap,
        Self::ServiceAccount,
        Self::MetricsService,
        Self::DisruptionBudget,
        Self::Processor,
        Self::Producer,
        Self::Verification,
    ];

    /// The object's name for the pipeline `name`, which has at most 40 characters, so that all names are valid.
    pub(crate) fn name(self, name: &str) -> String {
        match self {
            Self::ConfigMap | Self::ServiceAccount => format!("{name}-pipeline"),
            Self::MetricsService => format!("{name}-metrics"),
            Self::DisruptionBudget | Self::Processor => format!("{name}-processor"),
            Self::Producer => format!("{name}-producer"),
            Self::Verification => format!("{name}-verify"),
        }
    }

    /// Its kind.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
            Self::MetricsService => "Service",
            Self::DisruptionBudget => "PodDisruptionBudget",
            Self::Processor | Self::Producer => "Deployment",
            Self::Verification => "CronJob",
        }
    }

    /// Its group and version.
    pub(crate) const fn api_version(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::ServiceAccount | Self::MetricsService => "v1",
            Self::DisruptionBudget => "policy/v1",
            Self::Processor | Self::Producer => "apps/v1",
            Self::Verification => "batch/v1",
        }
    }

    /// Its plural, as in a URL.
    pub(crate) const fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::ServiceAccount => "serviceaccounts",
            Self::MetricsService => "services",
            Self::DisruptionBudget => "poddisruptionbudgets",
            Self::Processor | Self::Producer => "deployments",
            Self::Verification => "cronjobs",
        }
    }

    /// Its kind for an untyped client.
    pub(crate) fn resource(self) -> ApiResource {
        let (group, version) = self.api_version().split_once('/').unwrap_or(("", self.api_version()));
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version().to_owned(),
            kind: self.kind().to_owned(),
            plural: self.plural().to_owned(),
        }
    }

    /// The value of its component label.
    pub(crate) const fn component(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::ServiceAccount => "pipeline",
            Self::MetricsService | Self::DisruptionBudget | Self::Processor => "processor",
            Self::Producer => "producer",
            // Other than that of the processors: their Services, budgets and Deployments must not select its pods.
            Self::Verification => "verify",
        }
    }

    /// Whether it has pods.
    pub(crate) const fn runs_pods(self) -> bool {
        match self {
            Self::Processor | Self::Producer | Self::Verification => true,
            Self::ConfigMap | Self::ServiceAccount | Self::MetricsService | Self::DisruptionBudget => false,
        }
    }

    /// Whether it is a Deployment, whose status counts its pods.
    pub(crate) const fn is_deployment(self) -> bool {
        match self {
            Self::Processor | Self::Producer => true,
            Self::ConfigMap
            | Self::ServiceAccount
            | Self::MetricsService
            | Self::DisruptionBudget
            | Self::Verification => false,
        }
    }
}

impl fmt::Display for Child {
    /// The kind, with the role where a pipeline has several objects of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor => f.write_str("processor Deployment"),
            Self::Producer => f.write_str("producer Deployment"),
            Self::MetricsService => f.write_str("metrics Service"),
            Self::ConfigMap | Self::ServiceAccount | Self::DisruptionBudget | Self::Verification => {
                f.write_str(self.kind())
            }
        }
    }
}

/// Labels that select the pods of a component of the pipeline `name`. They never change, because a Deployment's selector is
/// immutable.
pub(crate) fn selector(name: &str, component: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name", "retail-pipeline".to_owned()),
        ("app.kubernetes.io/instance", name.to_owned()),
        ("app.kubernetes.io/component", component.to_owned()),
    ])
}

/// The selector in the text form of the scale subresource.
pub(crate) fn selector_text(name: &str, component: &str) -> String {
    let labels = selector(name, component);
    labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
}
