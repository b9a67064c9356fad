//! An API server in memory: enough of one for our objects, and as unkind as a real one can be.
//!
//! Modelled: resource versions, generations, watches from a version, label selectors, server-side apply with owned fields and
//! lists by key, patches of both kinds that name a version, the status subresource, finalizers, garbage collection by owner.
//! Not modelled: schemas and defaults (but one, so that live objects differ from what was declared), conflicts between
//! appliers (ours forces them), pods.

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
pub(crate) use request::Asked;
use retail_operator::api_client::{ANSWER_TIMEOUT, WATCH_TIMEOUT};
use serde_json::{Value, json};
pub(crate) use store::{Key, Refused, Store};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// How long something may take. Time is virtual: this is plenty, and passes in no time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);

/// A way to be unkind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Answer with this code.
    Code(u16),
    /// Do what was asked, and answer with this code all the same.
    DoneBut(u16),
    /// Do what was asked, and answer after so many seconds. Clients may have given up by then.
    Slow(u64),
    /// Never answer.
    Silence,
}

/// When, and how.
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
    asked: Arc<Mutex<Vec<Asked>>>,
    rules: Arc<Mutex<Vec<Rule>>>,
    changed: Arc<Notify>,
}

impl Api {
    /// A client of it, which gives up as the operator's does.
    pub(crate) fn client(&self) -> Client {
        self.client_that_waits(ANSWER_TIMEOUT)
    }

    /// A client for watches.
    pub(crate) fn watching_client(&self) -> Client {
        self.client_that_waits(WATCH_TIMEOUT)
    }

    fn client_that_waits(&self, patience: Duration) -> Client {
        let api = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let api = api.clone();
                async move { timeout(patience, api.answer(request)).await.map_err(std::io::Error::from) }
            }),
            "shop",
        )
    }

    /// The same one, with a record of its own of what is asked.
    pub(crate) fn apart(&self) -> Self {
        Self { asked: Arc::default(), ..self.clone() }
    }

    /// Serves it over HTTP, on an address of this machine only, and says where.
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

    /// What is in it.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is in it, from outside.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let result = change(&mut self.store());
        self.changed.notify_waiters();
        result
    }

    /// Be unkind the next `times` times that this is asked; `*` is any.
    pub(crate) fn fail(&self, verb: &'static str, resource: &'static str, times: usize, fault: Fault) {
        self.fail_in("*", verb, resource, times, fault);
    }

    /// The same in one namespace.
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

    /// Be kind from now on.
    pub(crate) fn be_kind(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many changes were asked for so far.
    pub(crate) fn writes(&self) -> usize {
        self.asked().iter().filter(|asked| asked.is_write()).count()
    }

    /// Waits until the store is as it should be.
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
            panic!("never: {what}\n{:#?}", self.store().all());
        }
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let asked = Asked::of(&request);
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
            match self.change(|store| act(store, &asked, &patch, body)) {
                Ok(value) => answer(200, &value),
                Err(Refused(code)) => refuse(code),
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

    fn fault(&self, asked: &Asked) -> Option<Fault> {
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

    fn watch(&self, asked: &Asked) -> Answer {
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

fn act(store: &mut Store, asked: &Asked, patch: &str, body: Value) -> Result<Value, Refused> {
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

/// That a watch begins too far in the past, is mostly said in the watch.
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
