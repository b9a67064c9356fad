//! The listener of the page: its routes, and the headers that protect it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use retail_observe::INTERVAL;
use retail_runtime::args::Settings;
use retail_runtime::http;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::args::PageArgs;
use crate::host;
use crate::poller::{self, Feed, Published};
use crate::render::{self, Frame};

/// Time for which a new client waits for a snapshot, or for the report of a silent Postgres, which comes after three seconds.
const FIRST_SNAPSHOT: Duration = Duration::from_secs(4);

/// Nothing is loaded from elsewhere, no other page embeds this one, and inline scripts and styles are refused: a text that was not
/// escaped would not be executed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of each answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

const ASSETS: [(&str, &str, &str); 3] = [
    ("/page.css", "text/css; charset=utf-8", include_str!("../assets/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("../assets/page.js")),
    ("/icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
];

/// The state of the routes.
struct Page {
    feed: Feed,
    frame: Frame,
}

/// Binds `address` at once, and returns the server of the page of a pipeline as a future, which does not end. Dropping the future ends
/// the server.
pub async fn serve(
    address: SocketAddr,
    settings: Settings,
    args: PageArgs,
) -> std::io::Result<impl Future<Output = Infallible>> {
    let page = Arc::new(Page { feed: Feed::new(), frame: Frame::new(&settings.pipeline) });
    let (bound, server) = http::listen(address, routes(Arc::clone(&page))).await?;
    tracing::info!("the web page is at http://{bound}");
    if !bound.ip().is_loopback() {
        tracing::warn!("every client that reaches {bound} can read the web page: it has no log-in");
    }
    Ok(async move {
        tokio::select! {
            never = server => never,
            never = poller::poll(&page.feed, settings, args.ui_payloads) => never,
        }
    })
}

fn routes(page: Arc<Page>) -> Router {
    let mut router = Router::new().route("/", get(whole)).route("/events", get(events));
    for (path, kind, content) in ASSETS {
        router = router.route(path, get(move || async move { ([(header::CONTENT_TYPE, kind)], content) }));
    }
    router.with_state(page).layer(middleware::from_fn(protect))
}

/// Refuses requests of other sites, and adds the headers.
async fn protect(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut response = if host::is_allowed(host) {
        next.run(request).await
    } else {
        let refusal = "this name is not allowed as a host: open the page at localhost or at an IP address\n";
        (StatusCode::MISDIRECTED_REQUEST, refusal).into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The whole page, with the parts of a snapshot that is not older than the interval of snapshots.
async fn whole(State(page): State<Arc<Page>>) -> Response {
    let mut snapshots = page.feed.subscribe();
    let is_fresh = |published: &Arc<Published>| published.at.is_some_and(|at| at.elapsed() < INTERVAL);
    let fresh = timeout(FIRST_SNAPSHOT, snapshots.wait_for(is_fresh)).await;
    let fresh = fresh.ok().and_then(Result::ok).map(|published| Arc::clone(&published));
    let html = render::whole(&page.frame, &fresh.unwrap_or_default());
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

/// One event for each snapshot: its number, and the parts that have changed since the previous event, by id.
async fn events(State(page): State<Arc<Page>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let snapshots = page.feed.subscribe();
    // A client of another process, or of an earlier snapshot, gets all parts at first.
    Sse::new(stream::unfold((snapshots, 0, page), async |(mut snapshots, seen, page)| {
        let published = next_snapshot(&mut snapshots, seen).await?;
        let event = Event::default().data(changes(&published, seen));
        Some((Ok(event), (snapshots, published.number, page)))
    }))
}

/// The first snapshot after the one that was seen.
async fn next_snapshot(snapshots: &mut watch::Receiver<Arc<Published>>, seen: u64) -> Option<Arc<Published>> {
    snapshots.wait_for(|published| published.number > seen).await.ok().map(|published| Arc::clone(&published))
}

fn changes(published: &Published, seen: u64) -> String {
    let parts: serde_json::Map<String, serde_json::Value> = published
        .parts
        .iter()
        .filter(|versioned| versioned.since > seen)
        .map(|versioned| (versioned.part.id.to_owned(), versioned.part.html.clone().into()))
        .collect();
    serde_json::json!({ "number": published.number, "parts": parts }).to_string()
}

#[cfg(test)]
mod tests {
    use axum::body::{self, Body};
    use retail_api::Pipeline;
    use tower::ServiceExt;

    use super::*;

    fn page() -> Arc<Page> {
        let yaml = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: shop}\nspec:\n  \
                    kafka: {bootstrapServers: \"k:9092\"}\n  topic: {name: t}\n  database: {host: p, name: d}\n";
        Arc::new(Page { feed: Feed::new(), frame: Frame::new(&Pipeline::parse(yaml).unwrap()) })
    }

    async fn ask(method: &str, path: &str, host: Option<&str>) -> (StatusCode, Response) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let response = routes(page()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (response.status(), response)
    }

    #[tokio::test]
    async fn request_with_the_name_of_another_site_gets_nothing_of_the_page() {
        for host in [Some("evil.example"), Some("evil.example:8081"), None] {
            for path in ["/", "/events", "/page.js"] {
                let (status, response) = ask("GET", path, host).await;
                assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{path} of {host:?}");
                let text = body::to_bytes(response.into_body(), 4096).await.unwrap();
                assert!(!String::from_utf8_lossy(&text).contains("shop"), "{text:?}");
            }
        }
    }

    #[tokio::test]
    async fn every_answer_has_a_policy_without_inline_code_and_other_origins() {
        for (path, expected) in [("/page.css", StatusCode::OK), ("/nothing", StatusCode::NOT_FOUND)] {
            let (status, response) = ask("GET", path, Some("localhost:8081")).await;
            assert_eq!(status, expected);
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
            assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
            assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
            assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(response.headers()["cross-origin-resource-policy"], "same-origin");
        }
    }

    #[tokio::test]
    async fn nothing_but_reading_is_allowed() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            assert_eq!(ask(method, "/", Some("localhost")).await.0, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
    }

    /// The policy would refuse them, and the page would not work.
    #[tokio::test(start_paused = true)]
    async fn page_without_a_snapshot_loads_only_own_assets_and_has_no_inline_code() {
        let (status, response) = ask("GET", "/", Some("[::1]:8081")).await;
        assert_eq!(status, StatusCode::OK);
        let html = body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let html = String::from_utf8(html.to_vec()).unwrap();
        assert!(html.contains("<h1>shop</h1>"), "{html}");
        for refused in ["style=", "onclick", "http:", "https:", "//", "javascript:"] {
            assert!(!html.contains(refused), "{refused} is in {html}");
        }
    }

    #[test]
    fn event_has_only_the_parts_that_changed_since_the_seen_snapshot() {
        let part = |id, since| poller::Versioned { part: render::Part { id, html: format!("<{id}>") }, since };
        let published = Published { number: 7, at: None, parts: vec![part("a", 3), part("b", 6)] };
        assert_eq!(changes(&published, 0), r#"{"number":7,"parts":{"a":"<a>","b":"<b>"}}"#);
        assert_eq!(changes(&published, 5), r#"{"number":7,"parts":{"b":"<b>"}}"#);
    }
}
