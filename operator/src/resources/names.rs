//! What things are called in the cluster: field managers, annotations, labels, and the children of a pipeline.

use std::collections::BTreeMap;
use std::fmt;

use kube::api::ApiResource;

/// Field manager of everything that is declared by a pipeline.
pub const FIELD_MANAGER: &str = "retail-operator";

/// Field manager of the status, so that a status is never mixed up with a declaration.
pub const STATUS_MANAGER: &str = "retail-operator-status";

/// There only while deletionPolicy asks to delete something.
pub const FINALIZER: &str = "retailpipeline.dev/cleanup";

/// On a pipeline that cannot be cleaned up: "true" lets it go, and leaves the data.
pub const RELEASE: &str = "retailpipeline.dev/release";

/// On every child: the hash of all that was declared for it. It finds what a comparison of fields cannot: a field that is
/// no longer declared.
pub const DECLARED_HASH: &str = "retailpipeline.dev/declared-hash";

/// On a pod template: the hash of the file that its program reads.
pub const CONFIG_HASH: &str = "retailpipeline.dev/config-hash";

/// On a pod template: the hash of what its program gets of the Secrets for Kafka.
pub const KAFKA_SECRET_HASH: &str = "retailpipeline.dev/kafka-secret-hash";

/// The same of the Secrets for Postgres.
pub const DATABASE_SECRET_HASH: &str = "retailpipeline.dev/database-secret-hash";

/// The label by which the operator finds its own children again.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", FIELD_MANAGER);

/// An object that a pipeline has in the cluster, in the order in which they are applied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Child {
    /// The files that the pods read.
    ConfigMap,
    /// Who the pods are: nobody with any right.
    ServiceAccount,
    /// Where the processors' metrics are found.
    MetricsService,
    /// Keeps a drain from stopping all processors at once.
    DisruptionBudget,
    /// The processors.
    Processor,
    /// The producers.
    Producer,
}

impl Child {
    /// All there are, in the order in which they are applied.
    pub const ALL: [Self; 6] = [
        Self::ConfigMap,
        Self::ServiceAccount,
        Self::MetricsService,
        Self::DisruptionBudget,
        Self::Processor,
        Self::Producer,
    ];

    /// The name of that child of the pipeline `name`. A pipeline's name has at most 40 characters, so these fit everywhere.
    pub fn name(self, name: &str) -> String {
        match self {
            Self::ConfigMap | Self::ServiceAccount => format!("{name}-pipeline"),
            Self::MetricsService => format!("{name}-metrics"),
            Self::DisruptionBudget | Self::Processor => format!("{name}-processor"),
            Self::Producer => format!("{name}-producer"),
        }
    }

    /// Its kind.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::ServiceAccount => "ServiceAccount",
            Self::MetricsService => "Service",
            Self::DisruptionBudget => "PodDisruptionBudget",
            Self::Processor | Self::Producer => "Deployment",
        }
    }

    /// Its group and version.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::ServiceAccount | Self::MetricsService => "v1",
            Self::DisruptionBudget => "policy/v1",
            Self::Processor | Self::Producer => "apps/v1",
        }
    }

    /// Its kind as it stands in a URL.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::ServiceAccount => "serviceaccounts",
            Self::MetricsService => "services",
            Self::DisruptionBudget => "poddisruptionbudgets",
            Self::Processor | Self::Producer => "deployments",
        }
    }

    /// Its kind, for a client that knows no types.
    pub fn resource(self) -> ApiResource {
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
    pub const fn component(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::ServiceAccount => "pipeline",
            Self::MetricsService | Self::DisruptionBudget | Self::Processor => "processor",
            Self::Producer => "producer",
        }
    }

    /// Whether it runs pods.
    pub const fn runs_pods(self) -> bool {
        match self {
            Self::Processor | Self::Producer => true,
            Self::ConfigMap | Self::ServiceAccount | Self::MetricsService | Self::DisruptionBudget => false,
        }
    }
}

impl fmt::Display for Child {
    /// As in `kubectl get`, without the name: the processor and the producer by what they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor => f.write_str("processor Deployment"),
            Self::Producer => f.write_str("producer Deployment"),
            Self::MetricsService => f.write_str("metrics Service"),
            Self::ConfigMap | Self::ServiceAccount | Self::DisruptionBudget => f.write_str(self.kind()),
        }
    }
}

/// What selects the pods of a component of the pipeline `name`. It can never change: a Deployment's selector is immutable.
pub fn selector(name: &str, component: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name", "retail-pipeline".to_owned()),
        ("app.kubernetes.io/instance", name.to_owned()),
        ("app.kubernetes.io/component", component.to_owned()),
    ])
}

/// The same as the text that the scale subresource wants.
pub fn selector_text(name: &str, component: &str) -> String {
    let labels = selector(name, component);
    labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
}
