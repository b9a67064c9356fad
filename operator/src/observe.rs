//! Looks at the world. The pipeline's objects come from watches, the rest is asked for; nothing is written.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use retail_pipeline::Pipeline;
use retail_pipeline::args::Login;
use retail_pipeline::kafka::KafkaConnection;
use retail_pipeline::postgres::DatabaseConnection;
use retail_pipeline::resource::DatabaseSecret;

use crate::address::seen_from_elsewhere;
use crate::children::login_keys;
use crate::difference::Live;
use crate::hash;
use crate::memory::Memory;
use crate::names::Child;
use crate::outside::Outside;
use crate::world::{Credentials, Sight, Subject, World};

/// The objects that the watches have seen, by kind in a URL.
pub type Children = BTreeMap<&'static str, Store<DynamicObject>>;

/// The connections of a pipeline. They hold passwords, and so are not part of the world, which can be printed.
#[derive(Clone, Debug)]
pub struct Connections {
    /// To its Kafka.
    pub kafka: KafkaConnection,
    /// To its Postgres, if the Secret says how.
    pub database: Option<DatabaseConnection>,
}

/// The kind of a child, for a client that knows no types.
pub fn resource(child: Child) -> ApiResource {
    let (group, version) = child.api_version().split_once('/').unwrap_or(("", child.api_version()));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: child.api_version().to_owned(),
        kind: child.kind().to_owned(),
        plural: child.plural().to_owned(),
    }
}

/// The children of a pipeline, as the watches have them and as they were answered last.
pub fn children(seen: &Children, subject: &Subject, memory: &Memory) -> BTreeMap<Child, Live> {
    let mut found = BTreeMap::new();
    for child in Child::ALL {
        let key = ObjectRef::new_with(&child.name(&subject.name), resource(child)).within(&subject.namespace);
        let Some(object) = seen.get(child.plural()).and_then(|store| store.get(&key)) else { continue };
        let object = serde_json::to_value(&*object).expect("an object came as JSON");
        let live = Live { object, answer: memory.answer(&subject.uid, child) };
        // What has the name and our label, and another owner, is found by whoever applies.
        if live.owner() == Some(&subject.uid) {
            found.insert(child, live);
        }
    }
    found
}

/// Looks at all that a valid pipeline stands on.
pub async fn observe<O: Outside>(
    client: &Client,
    outside: &O,
    subject: &Subject,
    pipeline: &Pipeline,
    children: BTreeMap<Child, Live>,
) -> Result<(World, Connections), kube::Error> {
    let namespace_ends = match subject.deleting_for {
        Some(_) => namespace_ends(client, &subject.namespace).await?,
        None => false,
    };
    let seen = seen_from_elsewhere(pipeline);
    let (credentials, database) = match &pipeline.database.secret {
        Some(named) => {
            let secrets = Api::<Secret>::namespaced(client.clone(), &subject.namespace);
            match secrets.get_opt(&named.name).await {
                Err(kube::Error::Api(status)) if status.is_forbidden() => (Credentials::Forbidden, None),
                secret => read_secret(&seen, named, secret?),
            }
        }
        None => match Login::default().connection(&seen) {
            Ok(connection) => (Credentials::NotNamed, Some(connection)),
            Err(error) => (Credentials::Invalid(error.to_string()), None),
        },
    };
    let kafka = KafkaConnection { bootstrap_servers: seen.kafka.bootstrap_servers };
    let mut world = World { credentials, children, namespace_ends, ..World::empty() };
    // While the pipeline goes, it does not matter what topic and schema are like.
    if subject.deleting_for.is_none() {
        let (topic, schema) = tokio::join!(outside.topic(&kafka, &pipeline.topic.name), async {
            match &database {
                Some(database) => sight(outside.schema(database, pipeline).await),
                None => Sight::NotAsked,
            }
        });
        (world.topic, world.schema) = (sight(topic), schema);
    }
    Ok((world, Connections { kafka, database }))
}

fn sight<T, E>(result: Result<T, E>) -> Sight<T, E> {
    match result {
        Ok(seen) => Sight::Seen(seen),
        Err(error) => Sight::Failed(error),
    }
}

async fn namespace_ends(client: &Client, namespace: &str) -> Result<bool, kube::Error> {
    match Api::<Namespace>::all(client.clone()).get_opt(namespace).await {
        // Then it is tried for as long as elsewhere.
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        namespace => Ok(namespace?.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())),
    }
}

/// What a Secret says, and how it lets us in.
fn read_secret(
    pipeline: &Pipeline,
    named: &DatabaseSecret,
    secret: Option<Secret>,
) -> (Credentials, Option<DatabaseConnection>) {
    let Some(secret) = secret else { return (Credentials::Missing, None) };
    let uid = secret.metadata.uid.unwrap_or_default();
    let data = secret.data.unwrap_or_default();
    let text = |key: &str| data.get(key).and_then(|ByteString(bytes)| String::from_utf8(bytes.clone()).ok());
    let keys = match &named.uri_key {
        Some(key) => vec![key.as_str()],
        None => <[&str; 2]>::from(login_keys(named)).to_vec(),
    };
    let mut values = Vec::new();
    for key in keys {
        match text(key) {
            Some(value) => values.push((key, value)),
            None => return (Credentials::KeyMissing(key.to_owned()), None),
        }
    }
    // Salted with the Secret's uid, so that two that are equal do not look it.
    let parts = values.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
    let hash = hash::of(std::iter::once(uid.as_bytes()).chain(parts));
    let mut values = values.into_iter().map(|(_, value)| value);
    let login = match &named.uri_key {
        Some(_) => Login { url: values.next(), ..Login::default() },
        None => Login { url: None, user: values.next(), password: values.next() },
    };
    match login.connection(pipeline) {
        Ok(connection) => (Credentials::Found { hash }, Some(connection)),
        Err(error) => (Credentials::Invalid(error.to_string()), None),
    }
}
