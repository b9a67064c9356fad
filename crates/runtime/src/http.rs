//! The HTTP server of a program: `/livez`, `/readyz` and `/metrics`.
//!
//! A process is alive as long as it answers: a restart repairs neither Kafka nor Postgres nor the API server. A process is
//! ready when [`Probes::unready`] returns nothing.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

/// The state of a program for the HTTP server.
pub trait Probes: Send + Sync + 'static {
    /// The reasons why the program is not ready, one a line; `None` when it is ready.
    fn unready(&self) -> Option<String>;

    /// All metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

/// Binds `address` at once, and returns the server as a future. Dropping the future ends the server.
pub async fn serve<P: Probes>(
    address: SocketAddr,
    probes: Arc<P>,
) -> std::io::Result<impl Future<Output = std::io::Result<()>>> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!("serving /livez, /readyz and /metrics at http://{}", listener.local_addr()?);
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready::<P>))
        .route("/metrics", get(metrics::<P>))
        .with_state(probes);
    Ok(async move { axum::serve(listener, router).await })
}

async fn ready<P: Probes>(State(probes): State<Arc<P>>) -> impl IntoResponse {
    match probes.unready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reasons) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reasons}\n")),
    }
}

async fn metrics<P: Probes>(State(probes): State<Arc<P>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], probes.metrics())
}
