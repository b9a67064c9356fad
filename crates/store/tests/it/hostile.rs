//! Servers that announce or send too much: memory stays bounded, and the error says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use retail_connection::ErrorKind;
use retail_store::{DatabaseConnection, DatabaseError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than any step takes on a busy machine. Only a failing test waits for so long.
const LONG: Duration = Duration::from_secs(60);

/// The server stops after this number of bytes, so that a failing test does not use all memory.
const STOP: u64 = 400 << 20;

/// Bytes that the buffers of the sockets hold.
const IN_FLIGHT: u64 = 16 << 20;

/// A message with this kind and content.
fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind], &(content.len() as u32 + 4).to_be_bytes()[..], content].concat()
}

/// AuthenticationOk, BackendKeyData and ReadyForQuery.
pub(crate) fn greeting() -> Vec<u8> {
    [message(b'R', &[0; 4]), message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]), message(b'Z', b"I")].concat()
}

/// The answer to the first query of a session, of a primary behind a pooler: two columns, both false.
pub(crate) fn first_answer() -> Vec<u8> {
    let column = |name: &str| [name.as_bytes(), &[0; 7], &[0, 0, 0, 16, 0, 1, 255, 255, 255, 255, 0, 1]].concat();
    let columns = [vec![0, 2], column("a"), column("b")].concat();
    let row = [0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0];
    [
        [message(b'1', &[]), message(b'2', &[]), message(b'T', &columns), message(b'D', &row)].concat(),
        [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat(),
    ]
    .concat()
}

/// Reads until the client has sent all that it sends before it waits.
pub(crate) async fn request(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let _read = stream.read(&mut buffer).await;
}

/// A server that answers the start-up with `greeting` and the first query correctly, then `answer`, then `endless` again and
/// again. Returns the connection, and the number of bytes that it sent.
async fn server(greeting: Vec<u8>, answer: Vec<u8>, endless: Vec<u8>) -> (DatabaseConnection, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://retail@{}/retail", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        if stream.write_all(&greeting).await.is_err() {
            return;
        }
        if !answer.is_empty() {
            request(&mut stream).await;
            stream.write_all(&first_answer()).await.unwrap();
            request(&mut stream).await;
            stream.write_all(&answer).await.unwrap();
        }
        if endless.is_empty() {
            request(&mut stream).await;
        }
        while !endless.is_empty() && count.load(Ordering::SeqCst) < STOP && stream.write_all(&endless).await.is_ok() {
            count.fetch_add(endless.len() as u64, Ordering::SeqCst);
        }
    });
    (DatabaseConnection::new(url.parse().unwrap(), "public"), sent)
}

/// Memory of this process in bytes.
fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Connects and queries. The error must come before the server has sent much more than `limit`.
async fn refused(server: (DatabaseConnection, Arc<AtomicU64>), limit: u64) -> DatabaseError {
    let (connection, sent) = server;
    let before = memory();
    let conversation = async {
        let session = connection.connect("test").await?;
        session.query("SELECT 1", &[]).await.map(drop)
    };
    let error = tokio::time::timeout(LONG, conversation).await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Other, "{error}");
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent <= limit + IN_FLIGHT, "{sent} bytes: {error}");
    // Other tests run in this process too.
    let grown = memory().saturating_sub(before);
    assert!(grown < STOP / 2, "{grown} bytes: {error}");
    error
}

#[tokio::test]
async fn announced_length_is_refused_before_it_is_read() {
    let huge = [b'E', 0x7f, 0xff, 0xff, 0xff].to_vec();
    let error = refused(server(huge.clone(), Vec::new(), vec![b'x'; 65_536]).await, 0).await;
    assert!(error.message.contains("announced a message of kind 'E' with 2147483648 bytes"), "{error}");
    let row = [b'D', 0x7f, 0xff, 0xff, 0xff].to_vec();
    let error = refused(server(greeting(), row, vec![b'x'; 65_536]).await, 0).await;
    assert!(error.message.contains("kind 'D' with 2147483648 bytes"), "{error}");
}

#[tokio::test]
async fn endless_notices_and_settings_are_refused() {
    let notice = message(b'N', b"SNOTICE\0C00000\0Mmore\0\0");
    let error = refused(server(message(b'R', &[0; 4]), Vec::new(), notice.repeat(100)).await, 0).await;
    assert!(error.message.contains("more than 65536 bytes"), "{error}");
    let setting = message(b'S', b"some.setting\0value\0");
    let error = refused(server(message(b'R', &[0; 4]), Vec::new(), setting.repeat(100)).await, 0).await;
    assert!(error.message.contains("more than 65536 bytes"), "{error}");
    let error = refused(server(greeting(), message(b'1', &[]), setting.repeat(100)).await, 0).await;
    assert!(error.message.contains("of settings"), "{error}");
}

#[tokio::test]
async fn endless_rows_end_at_the_limit_of_the_connection() {
    let column = [b"text".as_slice(), &[0; 7], &[0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 1]].concat();
    let columns = [&[0, 1], &column[..]].concat();
    let answer = [message(b'1', &[]), message(b'2', &[]), message(b'T', &columns)].concat();
    let row = [&[0, 1, 0, 0, 0xea, 0x60], &[b'x'; 60_000][..]].concat();
    let limit = 8 << 20;
    let (connection, sent) = server(greeting(), answer, message(b'D', &row)).await;
    let error = refused((connection.with_max_answer(limit), sent), limit).await;
    assert!(error.message.contains("more than 8388608 bytes in response to one request"), "{error}");
}

#[tokio::test]
async fn text_of_an_error_is_one_short_line() {
    let text = format!("SFATAL\0C53300\0Mfirst line\n\u{1b}[31m{}\0\0", "x".repeat(20_000));
    let (connection, _) = server(message(b'E', text.as_bytes()), Vec::new(), Vec::new()).await;
    let error = connection.connect("test").await.map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert!(error.message.contains(r"first line\n\u{1b}[31mxxx") && error.message.len() < 1200, "{error}");
}
