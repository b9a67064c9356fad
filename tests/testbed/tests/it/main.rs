//! The servers of the testbed behave like those that they stand for.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod copies;
mod poolers;
mod proxies;
mod servers;

/// Opens a session.
async fn client(url: &str) -> tokio_postgres::Client {
    try_client(url).await.unwrap()
}

async fn try_client(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Returns the single value of a query as text. Prepares nothing.
async fn text(client: &tokio_postgres::Client, sql: &str) -> String {
    client.query_typed(&format!("SELECT ({sql})::text"), &[]).await.unwrap()[0].get(0)
}
