//! The preconditions in the schema registry. Records can have other schemas than the newest of the subject: `kafka` checks records.

use retail_api::{EventMapping, Pipeline};
use retail_connection::Certificates;
use retail_connection::probe::handshake;
use retail_connection::text::shortened;
use retail_registry::{Address, Newest, Registry, RegistryConnection, Verdict};
use retail_sample::{SchemaFit, schema_fit};

use super::check::Check;
use super::kind::REGISTRY;
use super::layers::{self, Resolved};
use super::server::Server;
use super::tls::{self, Failure, Looks};

/// Maximum length of the names of fields in a check, in bytes.
const MAX_FIELDS: usize = 200;

/// Looks at the layers, asks the registry, and checks the newest schema of the topic's subject.
pub(crate) async fn checks(pipeline: &Pipeline, connection: &RegistryConnection, found: &mut Vec<Check>) {
    let server = |address: &Address| Server { host: address.host.clone(), port: address.port };
    let servers = connection.addresses.iter().map(server).collect();
    let Some(open) = layers::reach(&REGISTRY, servers, found).await else { return };
    let registry = match Registry::new(connection.clone()) {
        Ok(registry) => registry,
        Err(error) => return found.push(Check::fail("registry", error)),
    };
    let (looks, answer) = tokio::join!(look_at_tls(connection, open), registry.check());
    let failure = answer.as_ref().err().map(|error| Failure { kind: error.kind, message: error.message.clone() });
    let (of_tls, is_blamed) = tls::of_tls(&REGISTRY, &looks, None, failure.as_ref());
    found.push(of_tls);
    if is_blamed {
        return found.push(REGISTRY.not_looked_at(REGISTRY.tls, ""));
    }
    if let Err(error) = answer {
        return found.push(Check::fail("registry", error));
    }
    let login = connection.login.as_ref();
    let login = login.map_or_else(String::new, |login| format!(", and accepts the log-in of {}", login.username));
    found.push(Check::ok("registry", format_args!("{connection} answers{login}")));
    if let Some(events) = &pipeline.events {
        // The strategy that serializers use without another setting.
        let subject = format!("{}-value", pipeline.topic.name);
        found.push(match registry.newest(&subject).await {
            Ok(newest) => of_newest(events, &subject, newest.as_ref()),
            Err(error) => Check::fail("subject", error),
        });
    }
}

async fn look_at_tls(connection: &RegistryConnection, open: Vec<Resolved>) -> Looks {
    let with_tls = |(server, _): &Resolved| {
        connection.addresses.iter().any(|address| {
            address.is_tls && (address.host.as_str(), address.port) == (server.host.as_str(), server.port)
        })
    };
    let open: Vec<Resolved> = open.into_iter().filter(with_tls).collect();
    if open.is_empty() {
        return None;
    }
    let shake =
        |stream, host: String| async move { handshake(stream, &host, &Certificates::default(), layers::STEP).await };
    tls::look_at(open, &connection.certificates, (true, true), shake).await
}

/// Whether the newest schema of a subject has the fields of the mapping.
fn of_newest(events: &EventMapping, subject: &str, newest: Option<&Newest>) -> Check {
    let Some(Newest { version, id, schema }) = newest else {
        return Check::warn("subject", format_args!("the registry has no subject {subject}"))
            .fixed_by("start a producer; ignore it if the producers name their subjects in another way");
    };
    let place = format!("version {version} of {subject}");
    let unusable = |problem: &str| {
        Check::fail("subject", format_args!("{place}: schema {id} {problem}"))
            .fixed_by("correct the schema and register it again, or correct spec.events.format")
    };
    let fit = match schema {
        Verdict::Found(schema) => schema_fit(events, schema),
        Verdict::Unusable(problem) => Err(problem.clone()),
        Verdict::Absent => Err("is not known".to_owned()),
    };
    let SchemaFit { name, missing, fields } = match fit {
        Ok(fit) => fit,
        Err(problem) => return unusable(&problem),
    };
    let place = format!("{place}, schema {id} ({})", shortened(&name, MAX_FIELDS));
    if missing.is_empty() {
        return Check::ok("subject", format_args!("{place}, has all required fields of spec.events"));
    }
    let has = shortened(&fields.join(", "), MAX_FIELDS);
    Check::fail("subject", format_args!("{place}, lacks {}; it has {has}", missing.join(", ")))
        .fixed_by("correct the paths in spec.events, or set ifMissing; retail sample proposes a mapping for records")
}

#[cfg(test)]
mod tests {
    use retail_engine::{SchemaKind, SchemaText};

    use super::super::check::Outcome;
    use super::*;

    fn pipeline() -> Pipeline {
        let yaml = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: shop}\nspec:\n  \
                    kafka: {bootstrapServers: \"k:9092\"}\n  topic: {name: t}\n  database: {host: p, name: d}\n  events:\n    \
                    format: {type: Avro, registry: {url: \"http://r:1\"}}\n    timestamp: {field: at, unit: Milliseconds}\n    \
                    dimensions: [{name: store, field: store}]\n    quantity: {field: qty}\n    price: {field: price}\n";
        Pipeline::parse(yaml).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn checked(schema: Verdict) -> (Outcome, String, bool) {
        let newest = Newest { version: 3, id: 7, schema };
        let check = of_newest(pipeline().events.as_ref().unwrap(), "t-value", Some(&newest));
        (check.outcome, check.detail, check.fix.is_some())
    }

    fn avro(fields: &[&str]) -> Verdict {
        let fields: Vec<String> = fields.iter().map(|name| format!(r#"{{"name":"{name}","type":"long"}}"#)).collect();
        let text = format!(r#"{{"type":"record","name":"Order","fields":[{}]}}"#, fields.join(","));
        Verdict::Found(SchemaText { kind: SchemaKind::Avro, text, references: Vec::new() })
    }

    #[test]
    fn newest_schema_needs_the_fields_of_the_mapping() {
        use Outcome::{Fail, Ok, Warn};
        let place = "version 3 of t-value, schema 7 (Order),";
        let good = checked(avro(&["at", "store", "qty", "price", "more"]));
        assert_eq!(good, (Ok, format!("{place} has all required fields of spec.events"), false));
        let bad = checked(avro(&["at", "shop", "price"]));
        assert_eq!(bad, (Fail, format!("{place} lacks qty, store; it has at, shop, price"), true));
        for (verdict, problem) in [
            (Verdict::Unusable("is large".to_owned()), "is large"),
            (
                Verdict::Found(SchemaText { kind: SchemaKind::Json, text: "{}".to_owned(), references: Vec::new() }),
                "is of another format: set format.type to JSONSchema",
            ),
        ] {
            assert_eq!(checked(verdict), (Fail, format!("version 3 of t-value: schema 7 {problem}"), true));
        }
        let none = of_newest(pipeline().events.as_ref().unwrap(), "t-value", None);
        assert_eq!((none.outcome, none.fix.is_some()), (Warn, true));
    }

    #[tokio::test]
    async fn registry_that_is_away_fails_the_layer_of_tcp() {
        let certificates = retail_connection::Certificates::default();
        let connection = RegistryConnection::new("http://127.0.0.1:1", None, certificates).unwrap();
        let mut found = Vec::new();
        checks(&pipeline(), &connection, &mut found).await;
        let lines: Vec<_> = found.iter().map(|check| (check.name, check.outcome)).collect();
        use Outcome::{Fail, Ok, Skip};
        assert_eq!(lines, [("registry dns", Ok), ("registry tcp", Fail), ("registry", Skip)]);
        assert_eq!(found[1].detail, "127.0.0.1:1 refuses connections: no server listens on this port");
    }
}
