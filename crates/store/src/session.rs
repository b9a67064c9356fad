//! Opens sessions of a connection.

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket};

use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;

impl DatabaseConnection {
    /// Opens a session with only our schema in its search_path. `application` is its name in pg_stat_activity.
    pub async fn connect(&self, application: &str) -> Result<Client, DatabaseError> {
        let mut config = self.config.clone();
        config.application_name(application);
        let client = match self.connector() {
            None => open(&config, NoTls).await,
            Some(connector) => open(&config, connector).await,
        };
        let client = client.map_err(|error| DatabaseError::explain(self, &error))?;
        self.enter(&client).await?;
        Ok(client)
    }

    /// Sets search_path and time zone of a session that another schema may have used.
    pub(crate) async fn enter(&self, client: &Client) -> Result<(), DatabaseError> {
        // pg_temp comes last, so that a temporary table cannot hide one of ours.
        let session = format!("SET search_path TO {}, pg_temp; SET TIME ZONE 'UTC'", self.quoted_schema());
        client.batch_execute(&session).await.map_err(|error| DatabaseError::explain(self, &error))
    }
}

/// Connects, and spawns a task for the traffic of the connection.
async fn open<T>(config: &Config, tls: T) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket> + Send,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(async move {
        // The user of the client receives the same error, and reports it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to postgres ended");
        }
    });
    Ok(client)
}
