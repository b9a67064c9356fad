//! Requests to cancel the statement of a session.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;
use crate::guard::Seen;
use crate::socket::Peer;

/// Length of a request to cancel, and its code.
const REQUEST: [u8; 8] = [0, 0, 0, 16, 4, 210, 22, 46];

/// Asks the server to cancel the present statement of a session, and waits until the server closes the connection of the
/// request. Not for a pooler: PgBouncer 1.18 ends itself or cancels the statement of another client.
pub(crate) async fn cancel(connection: &DatabaseConnection, peer: &Peer, seen: &Seen) {
    if let Err(error) = request(connection, peer, seen).await {
        tracing::debug!(%error, "a request to cancel failed");
    }
}

async fn request(connection: &DatabaseConnection, peer: &Peer, seen: &Seen) -> Result<(), DatabaseError> {
    let Some(key) = seen.key.get() else { return Ok(()) };
    let (mut stream, _) = connection.link(peer).await?;
    let unreachable = |error| DatabaseError::unreachable(connection, &error);
    let message = [REQUEST, *key].concat();
    stream.write_all(&message).await.map_err(unreachable)?;
    stream.flush().await.map_err(unreachable)?;
    // The server sends nothing before it closes the connection.
    let _closed = stream.read(&mut [0]).await;
    Ok(())
}
