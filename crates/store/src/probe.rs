//! A look at the TLS of a server, without a log-in, for `retail doctor`.

use std::time::Duration;

use retail_api::resource::TlsMode;
use retail_connection::Certificates;
use retail_connection::probe::{HandshakeError, Presented, handshake};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connection::DatabaseConnection;
use crate::socket;

impl DatabaseConnection {
    /// The declared TLS and its certificates; `None` without TLS.
    pub fn declared_tls(&self) -> Option<(TlsMode, &Certificates)> {
        self.tls.as_ref().map(|tls| (tls.mode, &tls.certificates))
    }

    /// Performs the handshake that the declared TLS needs, over a new connection to `host`, and accepts every certificate. `None`
    /// without TLS.
    pub async fn look_at_tls(
        &self,
        mut stream: TcpStream,
        host: &str,
        deadline: Duration,
    ) -> Option<Result<Presented, HandshakeError>> {
        let (_, certificates) = self.declared_tls()?;
        Some(match timeout(deadline, socket::request_tls(&mut stream)).await {
            Ok(Ok(true)) => handshake(stream, host, certificates, deadline).await,
            Ok(Ok(false)) => Err(HandshakeError::NotTls),
            Ok(Err(_)) => Err(HandshakeError::Closed),
            Err(_) => Err(HandshakeError::Silent(deadline.as_secs())),
        })
    }
}
