//! Readiness of this replica: the API server answers for the lease and, on the leader, for each watch.
//!
//! A watch without events is ready. The answer to its last request counts: first a list, then a request that stays open, and
//! another one when that ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use tokio::time::Instant;

use crate::api_client::ANSWER_TIMEOUT;

/// Readiness of this replica.
#[derive(Default, Debug)]
pub struct Readiness {
    /// Error of the last request for the lease.
    lease: Mutex<Option<String>>,
    watches: Mutex<Vec<Arc<Watch>>>,
}

impl Readiness {
    /// Sets the error of the last request for the lease, or `None` after an answer.
    pub(crate) fn set_lease_error(&self, error: Option<String>) {
        *lock(&self.lease) = error;
    }

    /// A client for the watch of `kind`, whose answers count for readiness.
    pub fn watch_client(&self, kind: String, client: &Client) -> Client {
        let watch = Arc::new(Watch { kind, state: Mutex::new(RequestState::Failed("no answer yet".to_owned())) });
        lock(&self.watches).push(Arc::clone(&watch));
        let client_of_watch = client.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (watch, client) = (Arc::clone(&watch), client_of_watch.clone());
            async move {
                watch.begin();
                let answer = client.send(request).await;
                watch.answered(answer.as_ref().map(Response::status));
                answer
            }
        });
        Client::new(service, client.default_namespace())
    }

    /// Why this replica is not ready; `None` if it is. A replica that is not the leader needs only an answer for the lease.
    pub fn unready(&self) -> Option<String> {
        if let Some(error) = &*lock(&self.lease) {
            return Some(format!("the API server ({error})"));
        }
        let problems: Vec<String> = lock(&self.watches).iter().filter_map(|watch| watch.problem()).collect();
        let (first, others) = problems.split_first()?;
        let more = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
        Some(format!("the watch of {first}{more}"))
    }
}

#[derive(Debug)]
struct Watch {
    kind: String,
    state: Mutex<RequestState>,
}

/// State of the last request of a watch.
#[derive(Debug)]
enum RequestState {
    /// The API server answered.
    Answered,
    /// Sent at this time; the previous one was answered.
    Pending(Instant),
    /// The last answered request failed.
    Failed(String),
}

impl Watch {
    fn begin(&self) {
        let mut state = lock(&self.state);
        if matches!(*state, RequestState::Answered) {
            *state = RequestState::Pending(Instant::now());
        }
    }

    fn answered(&self, answer: Result<StatusCode, &kube::Error>) {
        *lock(&self.state) = match answer {
            Ok(status) if status.is_success() => RequestState::Answered,
            Ok(StatusCode::NOT_FOUND) => RequestState::Failed("404: install the CustomResourceDefinition".to_owned()),
            Ok(StatusCode::FORBIDDEN) => RequestState::Failed("403: install the roles".to_owned()),
            Ok(status) => RequestState::Failed(status.to_string()),
            Err(error) => RequestState::Failed(error.to_string()),
        };
    }

    fn problem(&self) -> Option<String> {
        let problem = match &*lock(&self.state) {
            RequestState::Answered => return None,
            // The timeout of any other request.
            RequestState::Pending(since) if since.elapsed() <= ANSWER_TIMEOUT => return None,
            RequestState::Pending(since) => format!("no answer for {} s", since.elapsed().as_secs()),
            RequestState::Failed(error) => error.clone(),
        };
        Some(format!("{} ({problem})", self.kind))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
