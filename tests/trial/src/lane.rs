//! A proxy for one server, which disturbs its connections on command and counts the disturbed bytes.
//!
//! All programs reach all servers through lanes. A connection through a lane is a *link*. Its two pumps obey the link's
//! [`Mode`]; new links begin with the mode of the lane.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The treatment of the bytes of a link, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// They pass.
    Pass,
    /// They are kept, and pass once the mode changes, like packets that are lost and sent again.
    Hold,
    /// They vanish for ever, as behind a firewall that has forgotten the connection.
    Swallow,
    /// Each piece passes after this number of milliseconds.
    Delay(u64),
    /// They pass one by one, with this number of milliseconds between them.
    Trickle(u64),
    /// The program's side stays open, and the server's side is closed. The program learns nothing of it.
    DropServer,
    /// The server's side stays open, and the program's side is closed.
    DropProgram,
    /// Both sides are closed.
    Cut,
}

/// A proxy for one server. Dropping the last clone ends the listener and all links.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    /// The address that programs connect to, as host:port.
    pub address: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    upstream: Mutex<String>,
    mode: Mutex<Mode>,
    links: Mutex<Vec<Weak<Link>>>,
    disturbed: AtomicU64,
    exclusive: tokio::sync::Mutex<()>,
    end: watch::Sender<bool>,
}

#[derive(Debug)]
struct Link {
    mode: watch::Sender<Mode>,
    passed: AtomicU64,
}

/// The right to disturb a lane: one fault at a time, so that the end of one does not end another.
pub(crate) type Exclusive<'a> = tokio::sync::MutexGuard<'a, ()>;

impl Lane {
    /// Starts a lane whose server is not known yet.
    pub(crate) fn start(runtime: &tokio::runtime::Handle) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let address: SocketAddr = listener.local_addr().expect("a listener has an address");
        let inner = Arc::new(Inner {
            upstream: Mutex::default(),
            mode: Mutex::new(Mode::Pass),
            links: Mutex::default(),
            disturbed: AtomicU64::new(0),
            exclusive: tokio::sync::Mutex::default(),
            end: watch::Sender::new(false),
        });
        runtime.spawn(serve(listener, Arc::clone(&inner)));
        Self { address: address.to_string(), inner }
    }

    /// Sends new links to the server at this host:port.
    pub(crate) fn point_to(&self, server: &str) {
        server.clone_into(&mut lock(&self.inner.upstream));
    }

    /// Waits until no other fault disturbs this lane.
    pub(crate) async fn exclusively(&self) -> Exclusive<'_> {
        self.inner.exclusive.lock().await
    }

    /// Number of links on which bytes have passed.
    pub(crate) fn live_links(&self) -> usize {
        self.links().iter().filter(|link| link.passed.load(Ordering::Relaxed) > 0).count()
    }

    /// Number of links that are open on one side only.
    pub(crate) fn half_open(&self) -> usize {
        let is_half = |link: &&Arc<Link>| matches!(*link.mode.borrow(), Mode::DropServer | Mode::DropProgram);
        self.links().iter().filter(is_half).count()
    }

    /// Number of bytes that were kept, swallowed, delayed or trickled so far.
    pub(crate) fn disturbed(&self) -> u64 {
        self.inner.disturbed.load(Ordering::Relaxed)
    }

    /// Sets the mode of all present and future links.
    pub(crate) fn set_all(&self, mode: Mode) {
        *lock(&self.inner.mode) = mode;
        self.set_present(mode);
    }

    /// Sets the mode of future links.
    pub(crate) fn set_future(&self, mode: Mode) {
        *lock(&self.inner.mode) = mode;
    }

    /// Sets the mode of present links. Returns the number of live ones.
    pub(crate) fn set_present(&self, mode: Mode) -> usize {
        let live = self.live_links();
        for link in self.links() {
            // Nothing brings back a link whose bytes have vanished.
            link.mode.send_if_modified(|present| {
                let lost = matches!(*present, Mode::Swallow | Mode::DropServer | Mode::DropProgram);
                let changes = (!lost || mode == Mode::Cut) && *present != mode;
                if changes {
                    *present = mode;
                }
                changes
            });
        }
        live
    }

    /// Closes the present links. Returns the number of live ones.
    pub(crate) fn cut(&self) -> usize {
        self.set_present(Mode::Cut)
    }

    fn links(&self) -> Vec<Arc<Link>> {
        let mut links = lock(&self.inner.links);
        links.retain(|link| link.strong_count() > 0);
        links.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // The listener's task holds the other one.
        if Arc::strong_count(&self.inner) <= 2 {
            self.inner.end.send_replace(true);
            self.cut();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: std::net::TcpListener, inner: Arc<Inner>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut end = inner.end.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = end.wait_for(|end| *end) => return,
        };
        let Ok((program, _)) = accepted else { continue };
        let upstream = lock(&inner.upstream).clone();
        let link = Arc::new(Link { mode: watch::Sender::new(*lock(&inner.mode)), passed: AtomicU64::new(0) });
        lock(&inner.links).push(Arc::downgrade(&link));
        tokio::spawn(connect(program, upstream, link, Arc::downgrade(&inner)));
    }
}

async fn connect(program: TcpStream, upstream: String, link: Arc<Link>, lane: Weak<Inner>) {
    // While the lane is silent, a connection is accepted and nothing answers. If the server is down, it is closed.
    let mut mode = link.mode.subscribe();
    let Ok(_) = mode.wait_for(|mode| *mode != Mode::Hold).await else { return };
    let Ok(server) = TcpStream::connect(&upstream).await else { return };
    drop((program.set_nodelay(true), server.set_nodelay(true)));
    let (program_reads, program_writes) = program.into_split();
    let (server_reads, server_writes) = server.into_split();
    let pump = |from, to, is_up| Pump { from, to, is_up, link: Arc::clone(&link), lane: Weak::clone(&lane) };
    let (up, down) = (pump(program_reads, server_writes, true), pump(server_reads, program_writes, false));
    let (mut up, mut down) = (std::pin::pin!(up.run()), std::pin::pin!(down.run()));
    let first = tokio::select! { ends = &mut up => (ends, true), ends = &mut down => (ends, false) };
    // A link of which one side is dropped lives on with the other one, until that is closed.
    if let (End::Dropped, up_ended) = first {
        if up_ended {
            down.await
        } else {
            up.await
        };
    }
}

/// Why a pump ended.
#[derive(PartialEq, Eq)]
enum End {
    /// A side was closed, or the link is cut.
    Closed,
    /// The other pump keeps a side open.
    Dropped,
}

/// One direction of a link.
struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    /// From the program to the server.
    is_up: bool,
    link: Arc<Link>,
    lane: Weak<Inner>,
}

impl Pump {
    async fn run(mut self) -> End {
        let mut mode = self.link.mode.subscribe();
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = tokio::select! {
                read = self.from.read(&mut buffer) => read,
                _ = mode.wait_for(|mode| matches!(mode, Mode::Cut | Mode::DropServer | Mode::DropProgram)) => Ok(0),
            };
            let now = *mode.borrow_and_update();
            match now {
                Mode::Cut => return End::Closed,
                Mode::DropServer | Mode::DropProgram if self.is_up == (now == Mode::DropServer) => {
                    return self.keep_reading().await;
                }
                Mode::DropServer | Mode::DropProgram => {
                    // Without a word to the side that stays open.
                    self.to.forget();
                    return End::Dropped;
                }
                Mode::Pass | Mode::Hold | Mode::Swallow | Mode::Delay(_) | Mode::Trickle(_) => {}
            }
            let Ok(count @ 1..) = read else { return End::Closed };
            if self.pass(&buffer[..count], &mut mode).await.is_err() {
                return End::Closed;
            }
        }
    }

    /// Closes the other side, reads from the one that stays open, and answers nothing.
    async fn keep_reading(self) -> End {
        let Self { mut from, to, link, lane, .. } = self;
        drop(to);
        let mut mode = link.mode.subscribe();
        let mut buffer = vec![0; 4096];
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read,
                _ = mode.wait_for(|mode| *mode == Mode::Cut) => return End::Closed,
            };
            let Ok(count @ 1..) = read else { return End::Closed };
            count_disturbed(&lane, count);
        }
    }

    async fn pass(&mut self, bytes: &[u8], mode: &mut watch::Receiver<Mode>) -> std::io::Result<()> {
        let (mut left, mut counted) = (bytes, false);
        loop {
            let now = *mode.borrow_and_update();
            if now != Mode::Pass && !counted {
                count_disturbed(&self.lane, left.len());
                counted = true;
            }
            match now {
                Mode::Pass => {
                    self.link.passed.fetch_add(left.len() as u64, Ordering::Relaxed);
                    return self.to.write_all(left).await;
                }
                Mode::Hold => {
                    let _changed = mode.changed().await;
                }
                Mode::Delay(millis) => {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    return self.to.write_all(left).await;
                }
                Mode::Trickle(millis) => {
                    let Some((first, rest)) = left.split_first() else { return Ok(()) };
                    self.to.write_all(&[*first]).await?;
                    left = rest;
                    let _changed = tokio::time::timeout(Duration::from_millis(millis), mode.changed()).await;
                }
                Mode::Swallow => return Ok(()),
                Mode::Cut | Mode::DropServer | Mode::DropProgram => return Ok(()),
            }
        }
    }
}

fn count_disturbed(lane: &Weak<Inner>, bytes: usize) {
    if let Some(lane) = lane.upgrade() {
        lane.disturbed.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
