//! Requests to cancel the statement of a session.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::DatabaseError;
use crate::session::Session;

/// Length of a request to cancel, and its code.
const REQUEST: [u8; 8] = [0, 0, 0, 16, 4, 210, 22, 46];

/// Asks the server to cancel the present statement, and waits until the server closes the connection of the request. A pooler
/// gets no request: PgBouncer 1.18 ends itself or cancels the statement of another client.
pub(crate) async fn cancel(session: &Session) {
    if session.behind_pooler() {
        return;
    }
    if let Err(error) = request(session).await {
        tracing::debug!(%error, "a request to cancel failed");
    }
}

async fn request(session: &Session) -> Result<(), DatabaseError> {
    let Some(key) = session.seen.key.get() else { return Ok(()) };
    let (mut stream, _) = session.connection.link(&session.peer).await?;
    let unreachable = |error| DatabaseError::unreachable(&session.connection, &error);
    let message = [REQUEST, *key].concat();
    stream.write_all(&message).await.map_err(unreachable)?;
    stream.flush().await.map_err(unreachable)?;
    // The server sends nothing before it closes the connection.
    let _closed = stream.read(&mut [0]).await;
    Ok(())
}
