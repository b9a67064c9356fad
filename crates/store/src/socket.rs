//! Opens the connection with a server: TCP or a Unix socket, and TLS.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A connection counts as lost after this time without an acknowledgement of the peer.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(20);

/// Length, and the code of the request for TLS.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The address of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The address of a server and its name in certificates, for another connection to the same server.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: Address,
    pub(crate) name: String,
}

/// A connection, with or without TLS.
pub(crate) trait Stream: TlsStream + Send + Unpin {}

impl<S: TlsStream + Send + Unpin> Stream for S {}

/// A connection without TLS.
struct Clear<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Clear<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Clear<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Clear<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Address {
    /// Connects.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix(path) => Ok(Box::new(Clear(UnixStream::connect(path).await?))),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let socket = socket2::SockRef::from(&stream);
                let keepalive = socket2::TcpKeepalive::new()
                    .with_time(NETWORK_TIMEOUT)
                    .with_interval(Duration::from_secs(5))
                    .with_retries(3);
                socket.set_tcp_keepalive(&keepalive)?;
                #[cfg(target_os = "linux")]
                socket.set_tcp_user_timeout(Some(NETWORK_TIMEOUT))?;
                Ok(Box::new(Clear(stream)))
            }
        }
    }
}

/// Requests TLS. Returns whether the server supports it.
pub(crate) async fn request_tls(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<bool> {
    stream.write_all(&TLS_REQUEST).await?;
    stream.flush().await?;
    match stream.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        // An error, by which servers answer that are out of memory or not Postgres.
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the request for TLS was not answered by Postgres")),
    }
}

/// Performs the TLS handshake with the host `name`.
pub(crate) async fn handshake(
    connector: &MakeRustlsConnect,
    name: &str,
    stream: Box<dyn Stream>,
) -> io::Result<Box<dyn Stream>> {
    let connect =
        MakeTlsConnect::<Box<dyn Stream>>::make_tls_connect(&mut connector.clone(), name).map_err(io::Error::other)?;
    Ok(Box::new(connect.connect(stream).await?))
}
