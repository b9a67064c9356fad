//! A proxy that falls silent in the middle of a connection, as a network does that drops packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The point at which a connection falls silent. Both sides then still accept data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// Never.
    Never,
    /// After this number of bytes from the server.
    AfterServer(u64),
    /// After this number of bytes from the client.
    AfterClient(u64),
}

/// A proxy whose first connection falls silent; later connections work. It can also silence all connections. Dropping the value
/// ends the proxy.
#[derive(Debug)]
pub struct SilentProxy {
    address: SocketAddr,
    passed: Arc<Passed>,
    task: AbortHandle,
}

/// Numbers of bytes that passed.
#[derive(Default, Debug)]
struct Passed {
    from_server: AtomicU64,
    from_client: AtomicU64,
    /// Whether all connections are silent.
    silent: AtomicBool,
}

impl SilentProxy {
    /// Starts a proxy for the server at this host:port, in the runtime of the test.
    pub async fn start(server: &str, silence: Silence) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::new(Passed::default());
        let task = tokio::spawn(serve(listener, server.to_owned(), silence, Arc::clone(&passed))).abort_handle();
        Self { address, passed, task }
    }

    /// Returns the port of the proxy, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the URL of a database with the address of the proxy.
    pub fn url(&self, url: &str) -> String {
        let (credentials, rest) = url.split_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{credentials}@{}/{database}", self.address)
    }

    /// Silences the present connections for ever, and new ones until [`SilentProxy::resume`].
    pub fn silence(&self) {
        self.passed.silent.store(true, Ordering::SeqCst);
    }

    /// Lets new connections work.
    pub fn resume(&self) {
        self.passed.silent.store(false, Ordering::SeqCst);
    }

    /// Returns the numbers of bytes that passed from the server and from the client.
    pub fn passed(&self) -> (u64, u64) {
        (self.passed.from_server.load(Ordering::SeqCst), self.passed.from_client.load(Ordering::SeqCst))
    }
}

impl Drop for SilentProxy {
    /// Connections end when one of their sides closes them.
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: String, mut silence: Silence, passed: Arc<Passed>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let Ok(server) = TcpStream::connect(&server).await else { continue };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (from_server, from_client) = match silence {
            Silence::Never => (u64::MAX, u64::MAX),
            Silence::AfterServer(bytes) => (bytes, u64::MAX),
            Silence::AfterClient(bytes) => (u64::MAX, bytes),
        };
        silence = Silence::Never;
        let (client_reads, client_writes) = client.into_split();
        let (server_reads, server_writes) = server.into_split();
        let counts = Arc::clone(&passed);
        tokio::spawn(async move {
            tokio::select! {
                () = pass(client_reads, server_writes, from_client, &counts.from_client, &counts.silent) => {}
                () = pass(server_reads, client_writes, from_server, &counts.from_server, &counts.silent) => {}
            }
        });
    }
}

/// Passes `left` bytes, and reads the rest without passing it, until a side closes the connection.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut left: u64, passed: &AtomicU64, silent: &AtomicBool) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if silent.load(Ordering::SeqCst) {
            left = 0;
        }
        let passes = left.min(read as u64);
        if passes > 0 && to.write_all(&buffer[..passes as usize]).await.is_err() {
            return;
        }
        left -= passes;
        passed.fetch_add(passes, Ordering::SeqCst);
    }
}
