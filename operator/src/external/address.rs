//! Host names of Kafka, Postgres and the schema registry as the operator must use them: its pod runs in another namespace than the pipeline.

use retail_api::Pipeline;

/// The pipeline with host names that resolve to the same Services from the operator's namespace.
///
/// A host name without a dot is a Service in the pipeline's namespace. From the operator's namespace, the unqualified name
/// would not resolve, or resolve to another Service.
pub(crate) fn with_qualified_hosts(pipeline: &Pipeline) -> Pipeline {
    let mut qualified_pipeline = pipeline.clone();
    let servers = pipeline.kafka.bootstrap_servers.split(',').map(|server| match server.rsplit_once(':') {
        Some((host, port)) => format!("{}:{port}", qualify(host, &pipeline.namespace)),
        None => qualify(server, &pipeline.namespace),
    });
    qualified_pipeline.kafka.bootstrap_servers = servers.collect::<Vec<_>>().join(",");
    qualified_pipeline.database.host = qualify(&pipeline.database.host, &pipeline.namespace);
    qualified_pipeline
}

/// The host name as it resolves from the operator's namespace.
pub(crate) fn qualify(host: &str, namespace: &str) -> String {
    // IP addresses and qualified names contain dots or colons.
    if host.contains(['.', ':', '/']) || host == "localhost" {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(servers: &str, host: &str) -> (String, String) {
        let text = format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: retail, namespace: shop}}\nspec:\n  \
             kafka: {{bootstrapServers: \"{servers}\"}}\n  topic: {{name: retail}}\n  database: {{host: \"{host}\", name: db}}\n"
        );
        let pipeline = Pipeline::parse(&text).expect("is valid");
        let seen = with_qualified_hosts(&pipeline);
        (seen.kafka.bootstrap_servers, seen.database.host)
    }

    #[test]
    fn short_host_resolves_in_the_pipelines_namespace() {
        let expected = ("kafka.shop.svc:9092,other.shop.svc:9093".to_owned(), "postgres.shop.svc".to_owned());
        assert_eq!(seen("kafka:9092,other:9093", "postgres"), expected);
    }

    #[test]
    fn qualified_hosts_and_addresses_are_unchanged() {
        for (servers, host) in [
            ("[::1]:9092,[2001:db8::1]:9092", "2001:db8::1"),
            ("kafka.infra:9092", "db.example.com"),
            ("127.0.0.1:9092", "10.0.0.7"),
            ("localhost:9092", "localhost"),
        ] {
            assert_eq!(seen(servers, host), (servers.to_owned(), host.to_owned()));
        }
    }
}
