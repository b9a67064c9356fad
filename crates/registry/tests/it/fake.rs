//! A registry that gives scripted answers.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retail_connection::Certificates;
use retail_registry::{Deadlines, Login, Registry, RegistryConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// Deadlines that a test can wait for.
pub(crate) const SHORT: Deadlines = Deadlines {
    connect: Duration::from_millis(300),
    answer: Duration::from_millis(300),
    schema: Duration::from_secs(2),
};

/// An answer to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Status and body.
    Answer(u16, String),
    /// These bytes, and the end of the connection.
    Raw(&'static [u8]),
    /// A head, then a body without an end.
    Endless,
    /// One byte of the head every 50 ms.
    SlowHead,
    /// Nothing; the connection stays open.
    Silence,
}

pub(crate) fn json(body: &str) -> Reply {
    Reply::Answer(200, body.to_owned())
}

pub(crate) fn not_found(code: i64) -> Reply {
    Reply::Answer(404, format!(r#"{{"error_code":{code},"message":"not found"}}"#))
}

/// A listening registry. Dropping it ends it.
pub(crate) struct Fake {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, reply).await
    }

    /// With an acceptor, it requires TLS.
    pub(crate) async fn start_with(
        tls: Option<TlsAcceptor>,
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (reply, seen) = (Arc::new(reply), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, reply, seen) = (tls.clone(), Arc::clone(&reply), Arc::clone(&seen));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*reply, &seen).await,
                        Some(tls) => serve(tls.accept(stream).await?, &*reply, &seen).await,
                    }
                });
            }
        });
        Self { port, requests, task: task.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn registry(&self) -> Registry {
        registry(&self.url())
    }

    /// The head of each request, with its body.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The path of each request.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }
}

pub(crate) fn registry(urls: &str) -> Registry {
    registry_with(urls, None, Certificates::default())
}

pub(crate) fn registry_with(urls: &str, login: Option<Login>, certificates: Certificates) -> Registry {
    let mut connection = RegistryConnection::new(urls, login, certificates).unwrap();
    connection.deadlines = SHORT;
    Registry::new(connection).unwrap()
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: &(impl Fn(&str) -> Reply + ?Sized),
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await?;
    let head = head + &String::from_utf8(body).unwrap();
    seen.lock().unwrap().push(head);
    match reply(&path) {
        Reply::Answer(status, body) => {
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nLocation: http://other/\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            stream.shutdown().await
        }
        Reply::Raw(bytes) => {
            stream.write_all(bytes).await?;
            stream.shutdown().await
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(b"10000\r\n").await?;
                stream.write_all(&[b' '; 1 << 16]).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
        Reply::SlowHead => {
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".iter().cycle() {
                stream.write_all(&[*byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        }
        Reply::Silence => std::future::pending().await,
    }
}
