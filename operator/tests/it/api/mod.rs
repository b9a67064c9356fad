//! An API server in memory with the features that the operator uses, and with injected faults.
//!
//! Modelled: resource versions, generations, watches from a version, label selectors, server-side apply with owned fields and
//! lists by key, patches of both kinds that name a version, the status subresource, finalizers, garbage collection by owner.
//! Not modelled: schemas and defaults (except one, so that live objects differ from declarations), conflicts between
//! appliers (the operator forces its fields), pods.

mod merge;
mod request;
mod store;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
pub(crate) use request::ApiRequest;
use retail_operator::api_client::{ANSWER_TIMEOUT, WATCH_TIMEOUT};
use serde_json::{Value, json};
pub(crate) use store::{Key, Refused, Store};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Timeout of waits, in virtual time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);

/// An injected fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Answers with this code.
    Code(u16),
    /// Executes the request, and answers with this code.
    DoneBut(u16),
    /// Executes the request, and answers after this many seconds, possibly after the client's timeout.
    Slow(u64),
    /// Never answers.
    Silence,
}

/// Which requests get which fault.
struct Rule {
    namespace: &'static str,
    verb: &'static str,
    resource: &'static str,
    left: usize,
    fault: Fault,
}

/// The API server.
#[derive(Clone, Default)]
pub(crate) struct Api {
    store: Arc<Mutex<Store>>,
    asked: Arc<Mutex<Vec<ApiRequest>>>,
    rules: Arc<Mutex<Vec<Rule>>>,
    changed: Arc<Notify>,
}

impl Api {
    /// A client with the operator's timeout.
    pub(crate) fn client(&self) -> Client {
        self.client_with_timeout(ANSWER_TIMEOUT)
    }

    /// A client with the operator's timeout for watches.
    pub(crate) fn watching_client(&self) -> Client {
        self.client_with_timeout(WATCH_TIMEOUT)
    }

    fn client_with_timeout(&self, patience: Duration) -> Client {
        let api = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let api = api.clone();
                async move { timeout(patience, api.answer(request)).await.map_err(std::io::Error::from) }
            }),
            "shop",
        )
    }

    /// The same server with a separate record of requests.
    pub(crate) fn apart(&self) -> Self {
        Self { asked: Arc::default(), ..self.clone() }
    }

    /// Serves it over HTTP on a loopback address, which is returned.
    pub(crate) async fn serve(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = self.clone();
        let router = axum::Router::new().fallback(async move |request: Request<axum::body::Body>| {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            api.answer(Request::from_parts(head, Body::from(body))).await.map(axum::body::Body::new)
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// The objects.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes objects as another client.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let result = change(&mut self.store());
        self.changed.notify_waiters();
        result
    }

    /// Injects a fault into the next `times` matching requests; `*` matches all.
    pub(crate) fn fail(&self, verb: &'static str, resource: &'static str, times: usize, fault: Fault) {
        self.fail_in("*", verb, resource, times, fault);
    }

    /// Injects a fault into requests of one namespace.
    pub(crate) fn fail_in(
        &self,
        namespace: &'static str,
        verb: &'static str,
        resource: &'static str,
        times: usize,
        fault: Fault,
    ) {
        self.rules.lock().unwrap().push(Rule { namespace, verb, resource, left: times, fault });
    }

    /// Removes all faults.
    pub(crate) fn clear_faults(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<ApiRequest> {
        self.asked.lock().unwrap().clone()
    }

    /// Number of write requests so far.
    pub(crate) fn writes(&self) -> usize {
        self.asked().iter().filter(|asked| asked.is_write()).count()
    }

    /// Waits until the objects meet a condition.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut(&Store) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if is_so(&self.store()) {
                    return;
                }
                changed.await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            panic!("timeout: {what}\n{:#?}", self.store().all());
        }
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let asked = ApiRequest::of(&request);
        let patch =
            request.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let body = request.into_body().collect_bytes().await.unwrap();
        self.asked.lock().unwrap().push(asked.clone());
        let fault = self.fault(&asked);
        match fault {
            Some(Fault::Code(410)) if asked.verb == "watch" => return expired(),
            Some(Fault::Code(code)) => return refuse(code),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::DoneBut(_) | Fault::Slow(_)) | None => {}
        }
        let answer = if asked.verb == "watch" {
            self.watch(&asked)
        } else {
            let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
            let refusal = self.store().refusal;
            match refusal.filter(|_| asked.is_write()).and_then(|refusal| refusal(&asked, &body)) {
                Some((code, message)) => {
                    let mut refused = status(code);
                    refused["message"] = json!(message);
                    answer(code, &refused)
                }
                // A dry run is admitted and validated, and changes nothing.
                None if asked.parameter("dryRun").is_some() => answer(200, &body),
                None => match self.change(|store| act(store, &asked, &patch, body)) {
                    Ok(value) => answer(200, &value),
                    Err(Refused(code)) => refuse(code),
                },
            }
        };
        if let Some(Fault::Slow(seconds)) = fault {
            sleep(Duration::from_secs(seconds)).await;
        }
        match fault {
            Some(Fault::DoneBut(code)) if asked.verb != "watch" => refuse(code),
            Some(_) | None => answer,
        }
    }

    fn fault(&self, asked: &ApiRequest) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| {
            rule.left > 0
                && (rule.namespace == "*" || rule.namespace == asked.namespace)
                && (rule.verb == "*" || rule.verb == asked.verb)
                && (rule.resource == "*" || rule.resource == asked.full_resource())
        })?;
        rule.left -= 1;
        Some(rule.fault)
    }

    fn watch(&self, asked: &ApiRequest) -> Answer {
        let from = asked.parameter("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let (begun, by_code) = {
            let mut store = self.store();
            (store.watch(asked, from), store.refuses_old_watches)
        };
        let receiver = match begun {
            Ok(receiver) => receiver,
            Err(Refused(code)) if by_code => return refuse(code),
            Err(Refused(_)) => return expired(),
        };
        let frames = stream::unfold(receiver, async |mut receiver| {
            let line: Bytes = receiver.recv().await?;
            Some((Ok::<_, Infallible>(http_body::Frame::data(line)), receiver))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

fn act(store: &mut Store, asked: &ApiRequest, patch: &str, body: Value) -> Result<Value, Refused> {
    match asked.verb {
        "list" => Ok(store.list(asked)),
        "get" => store.get(&asked.key()).cloned().ok_or(Refused(404)),
        "create" => store.create(&asked.key_of(&body), body),
        "update" => store.replace(&asked.key(), body),
        "delete" => store.delete(&asked.key()),
        "patch" if patch.contains("apply-patch") => {
            let manager = asked.parameter("fieldManager").unwrap_or_default();
            store.apply(&asked.key(), &asked.subresource, &manager, &body)
        }
        "patch" => store.merge(&asked.key(), &body),
        verb => panic!("{verb} is not modelled"),
    }
}

/// An expired resource version, reported as an event of the watch.
fn expired() -> Answer {
    let mut line = serde_json::to_vec(&json!({"type": "ERROR", "object": status(410)})).unwrap();
    line.push(b'\n');
    Response::new(Full::new(Bytes::from(line)).boxed_unsync())
}

fn refuse(code: u16) -> Answer {
    answer(code, &status(code))
}

fn status(code: u16) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        403 => "Forbidden",
        422 => "Invalid",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": reason,
    })
}

fn answer(code: u16, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(serde_json::to_vec(value).unwrap())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}
