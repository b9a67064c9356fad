//! The Secrets that a pipeline names: each is read once by name, and their content becomes connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use retail_api::Pipeline;
use retail_api::events::{Registry, RegistryTls};
use retail_api::resource::{
    Credentials as SaslSecret, Database, DatabaseSecret, DatabaseTls, Kafka, KafkaTls, Sasl, SecretKey, SecretName,
};
use retail_connection::Pem;
use retail_kafka::KafkaConnection;
use retail_registry::RegistryConnection;
use retail_runtime::login::{
    DATABASE_CLIENT_KEYS, DatabaseLogin, JAAS_KEY, KAFKA_CLIENT_KEYS, KafkaLogin, LoginError, RegistryLogin, login_keys,
};
use retail_store::DatabaseConnection;
use tokio::time::Instant;

use crate::external::address::qualify;
use crate::external::credentials::{Credentials, SecretProblem};
use crate::resources::hash;

/// The connections of a pipeline; `None` while their Secrets are unusable. They hold passwords, and are therefore not part of the
/// observed state, which can be printed.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    /// To Kafka.
    pub(crate) kafka: Option<KafkaConnection>,
    /// To Postgres, as the owner of the schema.
    pub(crate) database: Option<DatabaseConnection>,
}

/// The Secrets of one pipeline, by name.
#[derive(Default)]
pub(crate) struct FetchedSecrets(BTreeMap<String, SecretLookup>);

enum SecretLookup {
    Found(Arc<Secret>),
    Missing,
    Forbidden,
}

/// How long a Secret is reused for other pipelines of its namespace, which mostly name the same Secrets.
const FRESH: Duration = Duration::from_secs(5);

/// Recently read Secrets, by namespace and name. Missing and forbidden ones are not cached.
#[derive(Default)]
pub(crate) struct SecretCache(Mutex<CachedSecrets>);

/// Each Secret with the time of its request.
type CachedSecrets = BTreeMap<(String, String), (Instant, Arc<Secret>)>;

impl SecretCache {
    /// A Secret younger than [`FRESH`]. Removes older ones.
    fn take(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        let mut secrets = self.lock();
        secrets.retain(|_, (read_at, _)| read_at.elapsed() < FRESH);
        secrets.get(&(namespace.to_owned(), name.to_owned())).map(|(_, secret)| Arc::clone(secret))
    }

    fn keep(&self, namespace: &str, name: &str, read_at: Instant, secret: &Arc<Secret>) {
        self.lock().insert((namespace.to_owned(), name.to_owned()), (read_at, Arc::clone(secret)));
    }

    fn lock(&self) -> MutexGuard<'_, CachedSecrets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SecretCache {
    /// Names only, no content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

/// Reads every Secret that the pipeline names from the cache or from the API server.
pub(crate) async fn read(
    client: &Client,
    cache: &SecretCache,
    namespace: &str,
    pipeline: &Pipeline,
) -> Result<FetchedSecrets, kube::Error> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let mut secrets = FetchedSecrets::default();
    for name in names(pipeline) {
        if let Some(secret) = cache.take(namespace, name) {
            secrets.0.insert(name.to_owned(), SecretLookup::Found(secret));
            continue;
        }
        let read_at = Instant::now();
        let answer = match api.get_opt(name).await {
            Ok(Some(secret)) => {
                let secret = Arc::new(secret);
                cache.keep(namespace, name, read_at, &secret);
                SecretLookup::Found(secret)
            }
            Ok(None) => SecretLookup::Missing,
            Err(kube::Error::Api(status)) if status.is_forbidden() => SecretLookup::Forbidden,
            Err(error) => return Err(error),
        };
        secrets.0.insert(name.to_owned(), answer);
    }
    Ok(secrets)
}

/// Maximum size of a response of Postgres. The operator serves all tenants, and reads progress and catalogs.
const MAX_ANSWER: u64 = 8 << 20;

fn names(pipeline: &Pipeline) -> BTreeSet<&str> {
    let Kafka { bootstrap_servers: _, tls, sasl } = &pipeline.kafka;
    let sasl = sasl.iter().map(|sasl| &sasl.secret.name);
    let kafka_tls = tls.iter().flat_map(|tls| in_tls(tls.ca_secret.as_ref(), tls.client_secret.as_ref()));
    let Database { host: _, port: _, name: _, schema: _, secret, owner_secret, runtime_role: _, tls } =
        &pipeline.database;
    let login = secret.iter().chain(owner_secret).map(|secret| &secret.name);
    let database_tls = tls.iter().flat_map(|tls| in_tls(tls.ca_secret.as_ref(), tls.client_secret.as_ref()));
    let registry = pipeline.registry().into_iter().flat_map(|Registry { url: _, secret, tls }| {
        let ca = tls.as_ref().and_then(|RegistryTls { ca_secret }| ca_secret.as_ref());
        secret.as_ref().map(|secret| &secret.name).into_iter().chain(in_tls(ca, None))
    });
    sasl.chain(kafka_tls).chain(login).chain(database_tls).chain(registry).map(String::as_str).collect()
}

fn in_tls<'a>(ca: Option<&'a SecretKey>, client: Option<&'a SecretName>) -> impl Iterator<Item = &'a String> {
    ca.map(|ca| &ca.name).into_iter().chain(client.map(|client| &client.name))
}

impl FetchedSecrets {
    /// State of the Secrets for Kafka, and the connection if they are usable.
    pub(crate) fn kafka(&self, pipeline: &Pipeline) -> (Credentials, Option<KafkaConnection>) {
        let kafka = &pipeline.kafka;
        self.connection(pipeline, |reader| {
            let login = reader.kafka(kafka)?;
            login.connection(kafka).map_err(|error| match (error, &kafka.sasl) {
                (LoginError::NoKafkaUser, Some(sasl)) => SecretProblem::KeyMissing {
                    secret: sasl.secret.name.clone(),
                    key: sasl.secret.username_key.clone(),
                },
                (error, _) => SecretProblem::Invalid(error.to_string()),
            })
        })
    }

    /// State of the Secrets for Postgres that the pods receive, and the connection if they are usable.
    pub(crate) fn database(&self, pipeline: &Pipeline) -> (Credentials, Option<DatabaseConnection>) {
        self.database_as(pipeline, pipeline.database.secret.as_ref())
    }

    /// As [`database`](Self::database), of the owner of the schema. Without `ownerSecret`, both are the same.
    pub(crate) fn owner(&self, pipeline: &Pipeline) -> (Credentials, Option<DatabaseConnection>) {
        let Database { secret, owner_secret, .. } = &pipeline.database;
        self.database_as(pipeline, owner_secret.as_ref().or(secret.as_ref()))
    }

    fn database_as(
        &self,
        pipeline: &Pipeline,
        secret: Option<&DatabaseSecret>,
    ) -> (Credentials, Option<DatabaseConnection>) {
        self.connection(pipeline, |reader| {
            let login = reader.database(&pipeline.database, secret)?;
            // A short host name in a URI is a Service in the namespace of the pipeline, too.
            let connection = login.connection_to(pipeline, |host| qualify(host, &pipeline.namespace));
            let connection = connection.map_err(|error| SecretProblem::Invalid(error.to_string()))?;
            Ok(connection.with_max_answer(MAX_ANSWER))
        })
    }

    /// State of the Secrets for the schema registry, and the connection if the pipeline has a registry and they are usable.
    pub(crate) fn registry(&self, pipeline: &Pipeline) -> (Credentials, Option<RegistryConnection>) {
        let Some(registry) = pipeline.registry() else { return (Credentials::NotNamed, None) };
        self.connection(pipeline, |reader| {
            let login = reader.registry(registry)?;
            let connection = login.connection(registry);
            let mut connection = connection.map_err(|error| SecretProblem::Invalid(error.to_string()))?;
            for address in &mut connection.addresses {
                address.host = qualify(&address.host, &pipeline.namespace);
            }
            Ok(connection)
        })
    }

    fn connection<C>(
        &self,
        pipeline: &Pipeline,
        make: impl FnOnce(&mut KeyReader<'_>) -> Result<C, SecretProblem>,
    ) -> (Credentials, Option<C>) {
        let mut reader = KeyReader { secrets: self, used: Vec::new(), hint: None };
        match make(&mut reader) {
            Err(unusable) => (Credentials::Unusable(unusable), None),
            Ok(connection) if reader.used.is_empty() => (Credentials::NotNamed, Some(connection)),
            Ok(connection) => {
                // The uid of the pipeline keeps the hashes of equal passwords apart. That of the Secret would replace all pods when a
                // Secret is recreated with equal content.
                let parts = [&pipeline.uid].into_iter().chain(reader.used.iter().flatten()).map(String::as_bytes);
                (Credentials::Found { hash: hash::of(parts), hint: reader.hint }, Some(connection))
            }
        }
    }
}

/// Reads keys and records them: the pods receive the same keys.
struct KeyReader<'a> {
    secrets: &'a FetchedSecrets,
    /// Key and value.
    used: Vec<[String; 2]>,
    /// A probable mistake in a user name or password.
    hint: Option<String>,
}

impl KeyReader<'_> {
    fn kafka(&mut self, kafka: &Kafka) -> Result<KafkaLogin, SecretProblem> {
        let mut login = KafkaLogin::default();
        let Kafka { bootstrap_servers: _, tls, sasl } = kafka;
        if let Some(Sasl { mechanism: _, secret }) = sasl {
            let SaslSecret { name, username_key, password_key } = secret;
            login.username = self.optional(name, username_key)?;
            login.password = Some(self.required(name, password_key)?);
            login.jaas = self.optional(name, JAAS_KEY)?;
            self.examine(name, username_key, login.username.as_deref());
            self.examine(name, password_key, login.password.as_deref());
        }
        if let Some(KafkaTls { ca_secret, client_secret }) = tls {
            login.ca = self.ca(ca_secret.as_ref())?;
            (login.certificate, login.key) = self.client(client_secret.as_ref(), &KAFKA_CLIENT_KEYS)?;
        }
        Ok(login)
    }

    fn database(
        &mut self,
        database: &Database,
        secret: Option<&DatabaseSecret>,
    ) -> Result<DatabaseLogin, SecretProblem> {
        let mut login = DatabaseLogin::default();
        let tls = &database.tls;
        if let Some(secret) = secret {
            if let Some(key) = &secret.uri_key {
                login.url = Some(self.required(&secret.name, key)?);
            } else {
                let (username, password) = login_keys(secret);
                login.user = Some(self.required(&secret.name, username)?);
                let has_certificate = tls.as_ref().is_some_and(|tls| tls.client_secret.is_some());
                login.password = match self.optional(&secret.name, password)? {
                    // With a client certificate, Postgres may not need a password.
                    None if !has_certificate => return Err(missing(&secret.name, password)),
                    found => found,
                };
                self.examine(&secret.name, username, login.user.as_deref());
                self.examine(&secret.name, password, login.password.as_deref());
            }
        }
        if let Some(DatabaseTls { mode: _, ca_secret, client_secret }) = tls {
            login.ca = self.ca(ca_secret.as_ref())?;
            (login.certificate, login.key) = self.client(client_secret.as_ref(), &DATABASE_CLIENT_KEYS)?;
        }
        Ok(login)
    }

    fn registry(&mut self, registry: &Registry) -> Result<RegistryLogin, SecretProblem> {
        let mut login = RegistryLogin::default();
        let Registry { url: _, secret, tls } = registry;
        if let Some(SaslSecret { name, username_key, password_key }) = secret {
            login.username = Some(self.required(name, username_key)?);
            login.password = Some(self.required(name, password_key)?);
        }
        if let Some(RegistryTls { ca_secret }) = tls {
            login.ca = self.ca(ca_secret.as_ref())?;
        }
        Ok(login)
    }

    fn ca(&mut self, named: Option<&SecretKey>) -> Result<Option<Pem>, SecretProblem> {
        named.map(|SecretKey { name, key }| self.required(name, key).map(|text| pem(name, key, text))).transpose()
    }

    /// The first complete pair of keys. Without any, the first pair is reported as missing.
    fn client(
        &mut self,
        named: Option<&SecretName>,
        pairs: &[(&str, &str)],
    ) -> Result<(Option<Pem>, Option<Pem>), SecretProblem> {
        let Some(SecretName { name }) = named else { return Ok((None, None)) };
        for (certificate, key) in pairs {
            if let Some(text) = self.optional(name, certificate)? {
                let private = self.required(name, key)?;
                return Ok((Some(pem(name, certificate, text)), Some(pem(name, key, private))));
            }
        }
        Err(missing(name, pairs[0].0))
    }

    fn required(&mut self, name: &str, key: &str) -> Result<String, SecretProblem> {
        self.optional(name, key)?.ok_or_else(|| missing(name, key))
    }

    fn optional(&mut self, name: &str, key: &str) -> Result<Option<String>, SecretProblem> {
        let secret = match self.secrets.0.get(name) {
            Some(SecretLookup::Found(secret)) => secret,
            Some(SecretLookup::Forbidden) => return Err(SecretProblem::Forbidden { secret: name.to_owned() }),
            Some(SecretLookup::Missing) | None => return Err(SecretProblem::Missing { secret: name.to_owned() }),
        };
        let Some(ByteString(bytes)) = secret.data.as_ref().and_then(|data| data.get(key)) else { return Ok(None) };
        let Ok(text) = String::from_utf8(bytes.clone()) else {
            return Err(SecretProblem::Invalid(format!("key {key} of Secret {name} is not UTF-8 text")));
        };
        self.used.push([key.to_owned(), text.clone()]);
        Ok(Some(text))
    }

    /// Looks for a frequent mistake in a user name or password. It counts only if the server refuses the log-in.
    fn examine(&mut self, name: &str, key: &str, value: Option<&str>) {
        let found = value.and_then(mistake);
        self.hint = self.hint.take().or(found.map(|mistake| format!("key {key} of Secret {name} {mistake}")));
    }
}

fn missing(secret: &str, key: &str) -> SecretProblem {
    SecretProblem::KeyMissing { secret: secret.to_owned(), key: key.to_owned() }
}

fn pem(name: &str, key: &str, text: String) -> Pem {
    Pem { text, origin: format!("key {key} of Secret {name}") }
}

/// A frequent mistake in the value of a Secret, which servers only call a wrong password.
fn mistake(value: &str) -> Option<&'static str> {
    // `echo` adds a line break; base64 of base64 comes from a value that was encoded before it was written to `data`.
    if value.ends_with(['\n', '\r']) {
        return Some("ends with a line break: `printf %s` or `echo -n` writes none");
    }
    let decoded: Option<ByteString> = serde_json::from_value(value.into()).ok();
    let is_text =
        |bytes: &[u8]| bytes.len() >= 6 && bytes.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\n');
    decoded
        .is_some_and(|ByteString(bytes)| is_text(&bytes))
        .then_some("looks like base64 inside the base64 of `data`: write the value itself into `stringData`")
}

#[cfg(test)]
mod tests {
    use retail_api::Pipeline;
    use serde_json::json;

    use super::*;

    fn pipeline(uid: &str, secret: &str) -> Pipeline {
        let text = json!({
            "apiVersion": "retailpipeline.dev/v1alpha1", "kind": "RetailPipeline",
            "metadata": {"name": "retail", "namespace": "shop", "uid": uid},
            "spec": {
                "kafka": {"bootstrapServers": "kafka:9092"}, "topic": {"name": "retail"},
                "database": {"host": "postgres", "name": "retail", "secret": serde_json::from_str::<serde_json::Value>(secret).expect("JSON")},
            },
        });
        Pipeline::parse(&text.to_string()).expect("is valid")
    }

    fn secrets(uid: &str, keys: &[(&str, &str)]) -> FetchedSecrets {
        let data = keys.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.metadata.uid = Some(uid.to_owned());
        FetchedSecrets(BTreeMap::from([("db".to_owned(), SecretLookup::Found(Arc::new(secret)))]))
    }

    fn hash(pipeline: &Pipeline, secrets: &FetchedSecrets) -> String {
        let credentials = secrets.database(pipeline).0;
        let Credentials::Found { hash, .. } = credentials else { panic!("{credentials:?}") };
        hash
    }

    #[test]
    fn recreated_secret_with_equal_content_has_the_same_hash() {
        let (one, two) = (pipeline("one", r#"{"name": "db"}"#), pipeline("two", r#"{"name": "db"}"#));
        let login = |password| [("username", "retail"), ("password", password)];
        let before = hash(&one, &secrets("a", &login("wonderful")));
        assert_eq!(before, hash(&one, &secrets("b", &login("wonderful"))));
        assert_ne!(before, hash(&one, &secrets("a", &login("other"))));
        assert_ne!(before, hash(&two, &secrets("a", &login("wonderful"))));
    }

    #[test]
    fn short_host_of_a_uri_is_a_service_of_the_pipelines_namespace() {
        let pipeline = pipeline("one", r#"{"name": "db", "uriKey": "uri"}"#);
        for (host, seen) in
            [("db-rw", "db-rw.shop.svc:5432"), ("db-rw.data", "db-rw.data:5432"), ("10.0.0.7", "10.0.0.7:5432")]
        {
            let uri = format!("postgresql://retail:secret@{host}:5432/retail");
            let (_, connection) = secrets("a", &[("uri", &uri)]).database(&pipeline);
            let address = connection.expect("is usable").address();
            assert!(address.starts_with(seen), "{address}");
        }
    }

    #[test]
    fn frequent_mistakes_in_passwords_are_found() {
        let hint = |password: &str| {
            let login = [("username", "retail"), ("password", password)];
            secrets("a", &login).database(&pipeline("one", r#"{"name": "db"}"#)).0.hint().map(str::to_owned)
        };
        let line_break = hint("wonderful\n").expect("a hint");
        assert!(line_break.starts_with("key password of Secret db ends with a line break"), "{line_break}");
        // base64 of "wonderful" and of "wonderful\n".
        for password in ["d29uZGVyZnVs", "d29uZGVyZnVsCg=="] {
            assert!(hint(password).is_some_and(|hint| hint.contains("base64 inside the base64")), "{password}");
        }
        for password in ["wonderful", "Passw0rdPassw0rd", "aGVy", "correct horse battery staple", "3f9a8c7be21d", ""] {
            assert_eq!(hint(password), None, "{password}");
        }
    }
}
