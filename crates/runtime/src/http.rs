//! The HTTP server of a program: `/livez`, `/readyz` and `/metrics`, or other routes.
//!
//! A process is alive as long as it answers: a restart repairs neither Kafka nor Postgres nor the API server. A process is
//! ready when [`Probes::unready`] returns nothing.
//!
//! Clients that open connections and send nothing keep no other client from an answer: the head of a request must arrive in time,
//! and of too many connections the oldest is closed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Time for the head of a request, and for a connection without a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for an answer, which its client may not read.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Number of open connections. Probes and scrapers need a few.
const MAX_CONNECTIONS: usize = 128;

/// Pause after a connection could not be accepted, for example without a free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);

/// The state of a program for the HTTP server.
pub trait Probes: Send + Sync + 'static {
    /// The reasons why the program is not ready, one a line; `None` when it is ready.
    fn unready(&self) -> Option<String>;

    /// Further lines of `/readyz`, which do not change its status.
    fn notes(&self) -> Option<String> {
        None
    }

    /// All metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

/// Binds `address` at once, and returns the server as a future, which does not end. Dropping the future ends the server.
pub async fn serve<P: Probes>(
    address: SocketAddr,
    probes: Arc<P>,
) -> std::io::Result<impl Future<Output = Infallible>> {
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready::<P>))
        .route("/metrics", get(metrics::<P>))
        .with_state(probes);
    let (address, server) = listen(address, router).await?;
    tracing::info!("serving /livez, /readyz and /metrics at http://{address}");
    Ok(server)
}

/// Binds `address` at once. Returns the bound address, and the server of these routes as a future, which does not end. Dropping the
/// future ends the server and its connections.
#[expect(clippy::unused_async, reason = "a listener needs the runtime that only async callers have")]
pub async fn listen(
    address: SocketAddr,
    router: Router,
) -> std::io::Result<(SocketAddr, impl Future<Output = Infallible>)> {
    let listener = bind(address, open)?;
    Ok((listener.local_addr()?, accept(listener, router)))
}

/// Binds an address. On a machine without IPv6, `[::]` means `0.0.0.0`.
fn bind<L>(address: SocketAddr, open: impl Fn(SocketAddr) -> std::io::Result<L>) -> std::io::Result<L> {
    let has_no_ipv6 =
        |error: &std::io::Error| [Some(EAFNOSUPPORT), Some(EADDRNOTAVAIL)].contains(&error.raw_os_error());
    match open(address) {
        Err(error) if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) && has_no_ipv6(&error) => {
            open((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        result => result,
    }
}

/// Errors of Linux for an address family that the kernel does not have, or that has no address.
const EAFNOSUPPORT: i32 = 97;
const EADDRNOTAVAIL: i32 = 99;

/// Listens on an address. `[::]` also accepts IPv4, whatever the default of the machine is.
fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// The open connections, the oldest first. Dropping them closes them.
#[derive(Default)]
struct Connections(VecDeque<JoinHandle<()>>);

impl Connections {
    fn add(&mut self, connection: JoinHandle<()>) {
        self.0.retain(|connection| !connection.is_finished());
        self.0.push_back(connection);
        if self.0.len() > MAX_CONNECTIONS {
            self.0.pop_front().inspect(JoinHandle::abort);
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(listener: TcpListener, router: Router) -> Infallible {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.add(tokio::spawn(answer(stream, router.clone()))),
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    // A write that makes no progress within this time ends the connection.
    let _unsupported = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(ANSWER_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection of the HTTP server failed");
    }
}

async fn ready<P: Probes>(State(probes): State<Arc<P>>) -> impl IntoResponse {
    match probes.unready() {
        None => {
            let notes = probes.notes().map(|notes| notes + "\n").unwrap_or_default();
            (StatusCode::OK, format!("ready\n{notes}"))
        }
        Some(reasons) => {
            let lines = [Some(reasons), probes.notes()];
            (StatusCode::SERVICE_UNAVAILABLE, lines.into_iter().flatten().map(|line| line + "\n").collect())
        }
    }
}

async fn metrics<P: Probes>(State(probes): State<Arc<P>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], probes.metrics())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    use super::*;

    #[test]
    fn without_ipv6_all_addresses_are_those_of_ipv4() {
        let tried = |address: &str, code: i32| {
            let tried = std::cell::RefCell::new(Vec::new());
            let bound = bind(address.parse().expect("an address"), |address| {
                tried.borrow_mut().push(address.to_string());
                let is_refused = address.is_ipv6();
                if is_refused { Err(std::io::Error::from_raw_os_error(code)) } else { Ok(()) }
            });
            (bound.is_ok(), tried.into_inner().join(" "))
        };
        assert_eq!(tried("[::]:8080", EAFNOSUPPORT), (true, "[::]:8080 0.0.0.0:8080".to_owned()));
        assert_eq!(tried("[::]:8080", EADDRNOTAVAIL), (true, "[::]:8080 0.0.0.0:8080".to_owned()));
        // Another program has the port.
        assert_eq!(tried("[::]:8080", 98), (false, "[::]:8080".to_owned()));
        assert_eq!(tried("[::1]:8080", EADDRNOTAVAIL), (false, "[::1]:8080".to_owned()));
        assert_eq!(tried("127.0.0.1:8080", 98), (true, "127.0.0.1:8080".to_owned()));
    }

    struct Ready;

    impl Probes for Ready {
        fn unready(&self) -> Option<String> {
            None
        }

        fn notes(&self) -> Option<String> {
            Some("a note".to_owned())
        }

        fn metrics(&self) -> String {
            String::new()
        }
    }

    struct NotReady;

    impl Probes for NotReady {
        fn unready(&self) -> Option<String> {
            Some("a reason".to_owned())
        }

        fn notes(&self) -> Option<String> {
            Ready.notes()
        }

        fn metrics(&self) -> String {
            String::new()
        }
    }

    /// Status and body of /readyz.
    async fn readyz(probes: impl Probes) -> (StatusCode, String) {
        let response = ready(State(Arc::new(probes))).await.into_response();
        let (status, body) = (response.status(), axum::body::to_bytes(response.into_body(), 1024).await.unwrap());
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn notes_follow_the_answer_and_do_not_change_its_status() {
        assert_eq!(readyz(Ready).await, (StatusCode::OK, "ready\na note\n".to_owned()));
        assert_eq!(readyz(NotReady).await, (StatusCode::SERVICE_UNAVAILABLE, "a reason\na note\n".to_owned()));
    }

    fn start() -> (tokio::runtime::Runtime, SocketAddr) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = runtime.block_on(serve(address, Arc::new(Ready))).unwrap();
        runtime.spawn(async { match server.await {} });
        (runtime, address)
    }

    fn half_request(address: SocketAddr) -> Client {
        let mut client = Client::connect(address).unwrap();
        client.write_all(b"GET /livez HTTP/1.1\r\nHost: ").unwrap();
        client
    }

    /// Whether the server closes a connection within a time.
    fn is_closed(client: &mut Client, time: Duration) -> bool {
        client.set_read_timeout(Some(time)).unwrap();
        let ended = client.read_to_end(&mut Vec::new());
        !ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Without the limit, connections would use up the file descriptors of the process.
    #[test]
    fn half_requests_keep_no_probe_from_its_answer() {
        let (_runtime, address) = start();
        let mut half: Vec<Client> = (0..3 * MAX_CONNECTIONS).map(|_| half_request(address)).collect();
        let mut client = Client::connect(address).unwrap();
        client.set_read_timeout(Some(HEAD_TIMEOUT / 2)).unwrap();
        client.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"), "{answer}");
        assert!(is_closed(&mut half[0], HEAD_TIMEOUT / 2), "the oldest connection is closed, before its time is up");
    }

    #[test]
    fn half_request_is_closed_in_time() {
        let (_runtime, address) = start();
        let mut client = half_request(address);
        assert!(is_closed(&mut client, HEAD_TIMEOUT * 6), "the server closes the connection");
    }
}
