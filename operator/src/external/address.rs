//! What the names of a pipeline's servers mean to the operator, whose pod is in another namespace than theirs.

use retail_api::Pipeline;

/// The pipeline with the addresses of its Kafka and its Postgres as the operator must ask for them.
///
/// A name without a dot means to the pipeline's pods a Service of their own namespace. Asked for from the operator's, it
/// would be none, or somebody else's.
pub fn with_qualified_hosts(pipeline: &Pipeline) -> Pipeline {
    let mut seen = pipeline.clone();
    let servers = pipeline.kafka.bootstrap_servers.split(',').map(|server| match server.rsplit_once(':') {
        Some((host, port)) => format!("{}:{port}", qualified(host, &pipeline.namespace)),
        None => qualified(server, &pipeline.namespace),
    });
    seen.kafka.bootstrap_servers = servers.collect::<Vec<_>>().join(",");
    seen.database.host = qualified(&pipeline.database.host, &pipeline.namespace);
    seen
}

fn qualified(host: &str, namespace: &str) -> String {
    // Dots and colons are in addresses and in names that are whole.
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
    fn a_name_without_a_dot_is_a_service_of_the_pipelines_namespace() {
        let expected = ("kafka.shop.svc:9092,other.shop.svc:9093".to_owned(), "postgres.shop.svc".to_owned());
        assert_eq!(seen("kafka:9092,other:9093", "postgres"), expected);
    }

    #[test]
    fn whole_names_and_addresses_are_left_as_they_are() {
        for (servers, host) in
            [("kafka.infra:9092", "db.example.com"), ("127.0.0.1:9092", "10.0.0.7"), ("localhost:9092", "localhost")]
        {
            assert_eq!(seen(servers, host), (servers.to_owned(), host.to_owned()));
        }
    }
}
