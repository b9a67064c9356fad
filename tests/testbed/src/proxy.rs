//! A proxy between a program and Postgres that can interrupt a connection in the middle of a commit.
//!
//! It parses the messages of the protocol far enough to recognize the statement of the commit and the end of its
//! response. All other messages pass unchanged.

use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// A statement that contains one of these calls is a commit.
const COMMITS: [&[u8]; 2] = [b".fence(", b".commit_batch("];

/// The point of a commit at which the proxy stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// The program has sent the commit; the server has received nothing of it.
    BeforeTheCommit,
    /// The server has received half of the message.
    HalfOfTheCommit,
    /// The server has committed and responded; the program has not received the response.
    AfterTheCommit,
}

/// The instruction for the next commit, or the state of the held one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Pass,
    StopAt(Moment),
    /// One commit is held; others pass.
    Held,
    /// The held commit continues.
    Release,
}

#[derive(Clone, Copy, Debug)]
struct Orders {
    order: Order,
    /// Incremented by each cut. Connections of earlier generations end.
    generation: u64,
    /// Whether the last cut left the side of the server open.
    server_stays: bool,
}

/// The proxy. Dropping the value ends its connections.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    orders: Arc<watch::Sender<Orders>>,
    server: Arc<Mutex<String>>,
    _end: oneshot::Sender<()>,
}

impl Proxy {
    /// Starts a proxy for the server at this host:port.
    pub fn to(server: &str) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let orders = Arc::new(watch::Sender::new(Orders { order: Order::Pass, generation: 0, server_stays: false }));
        let (end, ended) = oneshot::channel();
        let server = Arc::new(Mutex::new(server.to_owned()));
        let serve = serve(listener, Arc::clone(&server), Arc::clone(&orders));
        // A separate thread, because tests block theirs.
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, orders, server, _end: end }
    }

    /// Returns the URL of a database with the address of the proxy.
    pub fn url(&self, url: &str) -> String {
        let (credentials, rest) = url.split_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{credentials}@{}/{database}", self.address)
    }

    /// Holds the next commit at this point.
    pub fn stop_at(&self, moment: Moment) {
        self.orders.send_modify(|orders| orders.order = Order::StopAt(moment));
    }

    /// Waits until a commit is held.
    pub async fn holds_a_commit(&self) {
        let mut orders = self.orders.subscribe();
        let held = orders.wait_for(|orders| orders.order == Order::Held);
        tokio::time::timeout(std::time::Duration::from_secs(60), held).await.expect("a commit comes").unwrap();
    }

    /// Continues the held commit.
    pub fn release(&self) {
        self.orders.send_modify(|orders| orders.order = Order::Release);
    }

    /// Ends all connections. New connections go to the server at this host:port, as after a failover.
    pub fn point_to(&self, server: &str) {
        server.clone_into(&mut self.server.lock().unwrap());
        self.cut();
    }

    /// Ends all connections. New connections work.
    pub fn cut(&self) {
        self.cut_sides(false);
    }

    /// Ends all connections for the program. The server learns nothing of it, as if the network lost all packets.
    pub fn cut_unnoticed_by_the_server(&self) {
        self.cut_sides(true);
    }

    fn cut_sides(&self, server_stays: bool) {
        self.orders.send_modify(|orders| {
            *orders = Orders { order: Order::Pass, generation: orders.generation + 1, server_stays };
        });
    }
}

async fn serve(listener: std::net::TcpListener, server: Arc<Mutex<String>>, orders: Arc<watch::Sender<Orders>>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = server.lock().unwrap().clone();
        tokio::spawn(connect(client, server, Arc::clone(&orders)));
    }
}

async fn connect(client: TcpStream, server: String, orders: Arc<watch::Sender<Orders>>) {
    // If the server is down, the program sees a closed connection.
    let Ok(server) = TcpStream::connect(server).await else { return };
    let mut watched = orders.subscribe();
    let generation = watched.borrow_and_update().generation;
    let client = client.into_std().unwrap();
    let program = client.try_clone().unwrap();
    let (from_client, to_client) = TcpStream::from_std(client).unwrap().into_split();
    let (from_server, to_server) = server.into_split();
    let answers = watch::Sender::new(Answers::default());
    let up = Up { orders: Arc::clone(&orders), answers: answers.clone(), commits: false };
    let (mut up, mut down) = (pin!(up.run(from_client, to_server)), pin!(down(from_server, to_client, &answers)));
    let server_stays = tokio::select! {
        _ = &mut up => false,
        _ = &mut down => false,
        orders = watched.wait_for(|orders| orders.generation != generation) => orders.is_ok_and(|orders| orders.server_stays),
    };
    if server_stays {
        program.shutdown(Shutdown::Both).unwrap();
        // The halves of the connection with the server live until the proxy ends.
        std::future::pending::<()>().await;
    }
}

/// The state of the server's responses, shared by both directions.
#[derive(Clone, Copy, Default, Debug)]
struct Answers {
    /// Responses are not passed to the program.
    kept: bool,
    /// Number of ReadyForQuery messages.
    ready: u64,
}

/// From the program to the server.
struct Up {
    orders: Arc<watch::Sender<Orders>>,
    answers: watch::Sender<Answers>,
    /// Whether the last parsed statement is a commit. Statements are not prepared by name: the next message binds it.
    commits: bool,
}

impl Up {
    async fn run(mut self, mut client: OwnedReadHalf, mut server: OwnedWriteHalf) -> io::Result<()> {
        // The first message has no type byte.
        let start = body(&mut client).await?;
        server.write_all(&start).await?;
        loop {
            let message = message(&mut client).await?;
            match message[0] {
                b'P' => self.commits = is_commit(&message),
                b'B' if self.commits => {
                    if let Some(moment) = self.take_order() {
                        self.hold(moment, message, &mut client, &mut server).await?;
                        continue;
                    }
                }
                _ => {}
            }
            server.write_all(&message).await?;
        }
    }

    /// Takes the instruction to stop, if there is one. Only one connection gets it.
    fn take_order(&self) -> Option<Moment> {
        let mut taken = None;
        self.orders.send_if_modified(|orders| {
            if let Order::StopAt(moment) = orders.order {
                taken = Some(moment);
                // `held` sets the state as soon as the commit is held.
                orders.order = Order::Pass;
            }
            false
        });
        taken
    }

    async fn hold(
        &self,
        moment: Moment,
        bind: Vec<u8>,
        client: &mut OwnedReadHalf,
        server: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        match moment {
            Moment::BeforeTheCommit => {
                self.held().await;
                server.write_all(&bind).await
            }
            Moment::HalfOfTheCommit => {
                let (first, second) = bind.split_at(bind.len() / 2);
                server.write_all(first).await?;
                self.held().await;
                server.write_all(second).await
            }
            Moment::AfterTheCommit => {
                let mut answers = self.answers.subscribe();
                let before = answers.borrow().ready;
                self.answers.send_modify(|answers| answers.kept = true);
                server.write_all(&bind).await?;
                // Describe, Execute, and finally Sync.
                loop {
                    let message = message(client).await?;
                    server.write_all(&message).await?;
                    if message[0] == b'S' {
                        break;
                    }
                }
                answers.wait_for(|answers| answers.ready > before).await.map_err(io::Error::other)?;
                self.held().await;
                self.answers.send_modify(|answers| answers.kept = false);
                Ok(())
            }
        }
    }

    /// Reports the held commit, and waits for its release.
    async fn held(&self) {
        self.orders.send_modify(|orders| orders.order = Order::Held);
        let mut orders = self.orders.subscribe();
        let _released = orders.wait_for(|orders| orders.order == Order::Release).await;
    }
}

/// Whether a Parse message contains a commit.
///
/// # Panics
///
/// If the statement has a name: a pooler in transaction mode would not find it again.
fn is_commit(parse: &[u8]) -> bool {
    let mut strings = parse[5..].split(|byte| *byte == 0);
    let (name, sql) = (strings.next().unwrap(), strings.next().unwrap());
    let sql = String::from_utf8_lossy(sql);
    assert!(name.is_empty(), "prepared by name: {sql}");
    COMMITS.iter().any(|call| sql.as_bytes().windows(call.len()).any(|part| part == *call))
}

/// From the server to the program.
async fn down(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    answers: &watch::Sender<Answers>,
) -> io::Result<()> {
    let mut state = answers.subscribe();
    let mut responses = Vec::new();
    loop {
        let message = message(&mut server).await?;
        responses.extend_from_slice(&message);
        // ReadyForQuery.
        if message[0] == b'Z' {
            answers.send_modify(|answers| answers.ready += 1);
            state.wait_for(|answers| !answers.kept).await.map_err(io::Error::other)?;
        }
        if !state.borrow().kept {
            client.write_all(&responses).await?;
            responses.clear();
        }
    }
}

/// Reads a message: type byte, length, and body.
async fn message(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut message = vec![from.read_u8().await?];
    message.extend(body(from).await?);
    Ok(message)
}

/// Reads a length, which includes itself, and the body.
async fn body(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut body = length.to_be_bytes().to_vec();
    body.resize(length as usize, 0);
    from.read_exact(&mut body[4..]).await?;
    Ok(body)
}
