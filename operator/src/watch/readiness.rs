//! Whether this replica is ready, or what it waits for: an answer about the lease and, while it leads, one to each watch.
//!
//! A watch that is merely silent is well. What counts is not what it brings but how the API server answered the last request
//! that it made: a list at first, then one that stays open, and another when that ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use tokio::time::Instant;

use crate::api_client::ANSWER_TIMEOUT;

/// What is waited for.
#[derive(Default, Debug)]
pub struct Readiness {
    /// What the API server said of the lease last, if that was no answer.
    lease: Mutex<Option<String>>,
    watches: Mutex<Vec<Arc<Watch>>>,
}

impl Readiness {
    /// The API server has answered a question about the lease, or has not.
    pub fn answered(&self, no_answer: Option<String>) {
        *lock(&self.lease) = no_answer;
    }

    /// A client for the watch of `what`, whose answers count from now on.
    pub fn watching(&self, what: String, client: &Client) -> Client {
        let watch = Arc::new(Watch { what, state: Mutex::new(RequestState::Failed("no answer yet".to_owned())) });
        lock(&self.watches).push(Arc::clone(&watch));
        let asks = client.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (watch, asks) = (Arc::clone(&watch), asks.clone());
            async move {
                watch.asks();
                let answer = asks.send(request).await;
                watch.answered(answer.as_ref().map(Response::status));
                answer
            }
        });
        Client::new(service, client.default_namespace())
    }

    /// What it waits for; nothing if it is ready. One that stands by is.
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
    what: String,
    state: Mutex<RequestState>,
}

/// How its last request fares.
#[derive(Debug)]
enum RequestState {
    /// It was answered.
    Answered,
    /// It was made then, and the one before was answered.
    Asking(Instant),
    /// It was refused or failed, or the one before was.
    Failed(String),
}

impl Watch {
    fn asks(&self) {
        let mut state = lock(&self.state);
        if matches!(*state, RequestState::Answered) {
            *state = RequestState::Asking(Instant::now());
        }
    }

    fn answered(&self, answer: Result<StatusCode, &kube::Error>) {
        *lock(&self.state) = match answer {
            Ok(status) if status.is_success() => RequestState::Answered,
            Ok(StatusCode::NOT_FOUND) => RequestState::Failed("404: is the CustomResourceDefinition there?".to_owned()),
            Ok(StatusCode::FORBIDDEN) => RequestState::Failed("403: are the roles there?".to_owned()),
            Ok(status) => RequestState::Failed(status.to_string()),
            Err(error) => RequestState::Failed(error.to_string()),
        };
    }

    fn problem(&self) -> Option<String> {
        let problem = match &*lock(&self.state) {
            RequestState::Answered => return None,
            // As long as any other request may take.
            RequestState::Asking(since) if since.elapsed() <= ANSWER_TIMEOUT => return None,
            RequestState::Asking(since) => format!("no answer for {} s", since.elapsed().as_secs()),
            RequestState::Failed(error) => error.clone(),
        };
        Some(format!("{} ({problem})", self.what))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
