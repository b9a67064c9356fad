//! /livez, /readyz and /metrics.
//!
//! Alive is the process, whatever Kafka and Postgres do: restarting it would not help them. Ready is every worker with its
//! partitions and its database; who is not ready says what is missing.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics;
use crate::state::State;

/// Serves at `address` until the task is dropped.
pub(crate) async fn serve(address: SocketAddr, state: Arc<State>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!("serving /livez, /readyz and /metrics at http://{}", listener.local_addr()?);
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(state);
    axum::serve(listener, router).await
}

async fn ready(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    let troubles = state.view().troubles;
    if troubles.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines = troubles.iter().map(|(who, what)| format!("{who}: {what}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

async fn render(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics::render(&state))
}
