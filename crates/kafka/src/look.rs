//! Looks at a port that closed the connection of a client without a reason.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use retail_connection::probe::speaks_tls;

/// Deadline of each step, and of the look at all servers.
const STEP: Duration = Duration::from_secs(1);
const WHOLE: Duration = Duration::from_secs(4);

/// A request for the versions of the API, which each broker answers before a log-in: its length, key 18, version 0, the id of the request,
/// and no client id.
const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255];

/// What a port answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spoken {
    /// TLS.
    Tls,
    /// Kafka's protocol without TLS.
    Kafka,
    /// Neither of them.
    Nothing,
}

/// What the first of the bootstrap servers answers that answers anything.
pub(crate) fn look(bootstrap_servers: &str) -> Spoken {
    let started = Instant::now();
    let servers = bootstrap_servers.split(',').map(str::trim).take_while(|_| started.elapsed() < WHOLE);
    servers.map(at).find(|spoken| *spoken != Spoken::Nothing).unwrap_or(Spoken::Nothing)
}

fn at(server: &str) -> Spoken {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']']);
    if connect(server).is_some_and(|stream| speaks_tls(&stream, host)) {
        Spoken::Tls
    } else if connect(server).is_some_and(|stream| answers(&stream)) {
        Spoken::Kafka
    } else {
        Spoken::Nothing
    }
}

fn connect(server: &str) -> Option<TcpStream> {
    let mut addresses = server.to_socket_addrs().ok()?;
    let stream = addresses.find_map(|address| TcpStream::connect_timeout(&address, STEP).ok())?;
    stream.set_read_timeout(Some(STEP)).ok()?;
    stream.set_write_timeout(Some(STEP)).ok()?;
    Some(stream)
}

/// Whether the answer begins with a length and the id of the request.
fn answers(mut stream: &TcpStream) -> bool {
    let mut head = [0; 8];
    let answered = stream.write_all(&API_VERSIONS).and_then(|()| stream.read_exact(&mut head));
    answered.is_ok() && head[4..] == API_VERSIONS[8..12]
}
