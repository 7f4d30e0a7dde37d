//! A TCP proxy on loopback that does to connections what networks do.
//!
//! It acts as told and at once: delays, holds without closing (half-open), resets in the middle
//! of anything, refuses. It looks at no byte.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// Pieces on their way in one direction.
const PIECES_MAX: usize = 64;
const PIECE_BYTES: usize = 16 << 10;

/// What is held back, with the connection open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stall {
    /// What the server sends.
    pub to_client: bool,
    /// What the client sends.
    pub to_server: bool,
}

impl Stall {
    /// Nothing gets through.
    pub const BOTH: Self = Self {
        to_client: true,
        to_server: true,
    };
    /// The server speaks and nobody hears it.
    pub const TO_CLIENT: Self = Self {
        to_client: true,
        to_server: false,
    };
    /// The client speaks and nobody hears it.
    pub const TO_SERVER: Self = Self {
        to_client: false,
        to_server: true,
    };
}

/// One connection through the proxy.
#[derive(Debug, Clone)]
struct Line {
    stall: watch::Sender<Stall>,
    reset: Arc<Notify>,
    open: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Shared {
    server: u16,
    /// From this connection on, counted from 0, another server.
    diverted: Mutex<Option<(usize, u16)>>,
    refuse: AtomicBool,
    latency_ms: AtomicU64,
    /// So many bytes may still go to clients before the connection that has more is reset.
    rest: Mutex<Option<u64>>,
    resets: AtomicU64,
    /// In the order they were accepted.
    lines: Mutex<Vec<Line>>,
}

/// A running proxy; its connections are reset when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// Resets all connections again and again until it is dropped.
#[derive(Debug)]
pub struct Flapping(JoinHandle<()>);

impl Drop for Flapping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// A proxy in front of a port of 127.0.0.1.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            diverted: Mutex::new(None),
            refuse: AtomicBool::new(false),
            latency_ms: AtomicU64::new(0),
            rest: Mutex::new(None),
            resets: AtomicU64::new(0),
            lines: Mutex::new(Vec::new()),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            port,
            shared,
            accepting,
        }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on every byte needs so long each way. The rate is not limited.
    pub fn latency(&self, latency: Duration) {
        let latency = u64::try_from(latency.as_millis()).unwrap();
        self.shared.latency_ms.store(latency, Ordering::Relaxed);
    }

    /// Holds back what is sent on the connections that are open now, or lets it pass again.
    pub fn stall(&self, stall: Stall) {
        for line in lock(&self.shared.lines).iter() {
            line.stall.send_replace(stall);
        }
    }

    /// As [`Proxy::stall`], on the `n`th connection that was accepted, from 0.
    pub fn stall_one(&self, n: usize, stall: Stall) {
        lock(&self.shared.lines)[n].stall.send_replace(stall);
    }

    /// Resets all connections that are open now.
    pub fn reset(&self) {
        reset(&self.shared);
    }

    /// Resets the connection on which the `bytes`-th byte from now on goes to a client, right
    /// after it.
    pub fn reset_after(&self, bytes: u64) {
        *lock(&self.shared.rest) = Some(bytes);
    }

    /// What was to be reset by [`Self::reset_after`] is not.
    pub fn reset_no_more(&self) {
        *lock(&self.shared.rest) = None;
    }

    /// Whether new connections are reset at once.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refuse.store(refuse, Ordering::Relaxed);
    }

    /// The `n`th connection, counted from 0, and those after it go to another port of 127.0.0.1.
    pub fn divert(&self, n: usize, server: u16) {
        *lock(&self.shared.diverted) = Some((n, server));
    }

    /// How many connections have been accepted so far.
    pub fn accepted(&self) -> usize {
        lock(&self.shared.lines).len()
    }

    /// How many connections have been reset so far, those refused not counted.
    pub fn resets(&self) -> u64 {
        self.shared.resets.load(Ordering::Relaxed)
    }

    /// Resets all connections again and again, and refuses new ones for a while each time. They
    /// live a little longer each time, so that at last whoever gets on gets through.
    pub fn flap(&self, mut up: Duration, down: Duration) -> Flapping {
        let shared = Arc::clone(&self.shared);
        Flapping(tokio::spawn(async move {
            loop {
                sleep(up).await;
                up += up / 4;
                let _refusing = Refusing::new(&shared);
                reset(&shared);
                sleep(down).await;
            }
        }))
    }
}

/// New connections are refused as long as it lives.
struct Refusing<'a>(&'a Shared);

impl<'a> Refusing<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.refuse.store(true, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Refusing<'_> {
    fn drop(&mut self) {
        self.0.refuse.store(false, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.reset();
    }
}

fn reset(shared: &Shared) {
    for line in lock(&shared.lines).iter() {
        if line.open.load(Ordering::Relaxed) {
            line.reset.notify_one();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.refuse.load(Ordering::Relaxed) {
            let _ = client.set_zero_linger();
            continue;
        }
        let line = Line {
            stall: watch::Sender::new(Stall::default()),
            reset: Arc::new(Notify::new()),
            open: Arc::new(AtomicBool::new(true)),
        };
        let n = {
            let mut lines = lock(&shared.lines);
            lines.push(line.clone());
            lines.len() - 1
        };
        let diverted = lock(&shared.diverted).filter(|(from, _)| n >= *from);
        let server = diverted.map_or(shared.server, |(_, server)| server);
        tokio::spawn(serve(client, server, line, Arc::clone(&shared)));
    }
}

async fn serve(mut client: TcpStream, server: u16, line: Line, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else {
        let _ = client.set_zero_linger();
        line.open.store(false, Ordering::Relaxed);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let passed = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pass(from_client, to_server, &line, &shared, false);
        let back = pass(from_server, to_client, &line, &shared, true);
        tokio::select! {
            passed = async { tokio::try_join!(there, back) } => passed.map(|_| ()),
            () = line.reset.notified() => Err(io::ErrorKind::ConnectionReset.into()),
        }
    };
    if passed.is_err() {
        shared.resets.fetch_add(1, Ordering::Relaxed);
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    line.open.store(false, Ordering::Relaxed);
}

/// Passes on what is sent in one direction, late and in order.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    line: &Line,
    shared: &Shared,
    to_client: bool,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Bytes)>(PIECES_MAX);
    let held = |stall: &Stall| {
        if to_client {
            stall.to_client
        } else {
            stall.to_server
        }
    };
    let (mut read_stall, mut write_stall) = (line.stall.subscribe(), line.stall.subscribe());
    let reading = async move {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        loop {
            read_stall
                .wait_for(|stall| !held(stall))
                .await
                .map_err(gone)?;
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            tokio::select! {
                read = from.read_buf(&mut piece) => { read?; }
                changed = read_stall.changed() => {
                    changed.map_err(gone)?;
                    continue;
                }
            }
            let latency = Duration::from_millis(shared.latency_ms.load(Ordering::Relaxed));
            let last = piece.is_empty();
            let piece = (Instant::now() + latency, piece.freeze());
            sender
                .send(piece)
                .await
                .map_err(|_| io::ErrorKind::BrokenPipe)?;
            // An empty piece is the end.
            if last {
                return Ok::<(), io::Error>(());
            }
        }
    };
    let writing = async move {
        while let Some((due, mut piece)) = pieces.recv().await {
            sleep_until(due).await;
            let free = write_stall.wait_for(|stall| !held(stall)).await;
            free.map_err(|_| io::ErrorKind::BrokenPipe)?;
            if piece.is_empty() {
                return to.shutdown().await;
            }
            let over = to_client && {
                let mut rest = lock(&shared.rest);
                let left = rest.map(|left| usize::try_from(left).unwrap_or(usize::MAX));
                let over = left.is_some_and(|left| left <= piece.len());
                if let (true, Some(left)) = (over, left) {
                    piece.truncate(left);
                    *rest = None;
                } else if let Some(left) = left {
                    *rest = Some((left - piece.len()) as u64);
                }
                over
            };
            to.write_all(&piece).await?;
            if over {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    async fn round_trip(socket: &mut TcpStream, text: &[u8]) {
        socket.write_all(text).await.unwrap();
        let mut back = vec![0; text.len()];
        socket.read_exact(&mut back).await.unwrap();
        assert_eq!(back, text);
    }

    #[tokio::test]
    async fn it_passes_holds_and_lets_go() {
        let proxy = Proxy::start(echo().await).await;
        let mut socket = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        round_trip(&mut socket, b"first").await;
        for stall in [Stall::TO_SERVER, Stall::TO_CLIENT, Stall::BOTH] {
            proxy.stall(stall);
            socket.write_all(b"held").await.unwrap();
            let mut back = [0; 4];
            let early = socket.read_exact(&mut back);
            let early = tokio::time::timeout(Duration::from_millis(50), early).await;
            assert!(early.is_err(), "{stall:?}");
            proxy.stall(Stall::default());
            socket.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"held");
        }
        round_trip(&mut socket, b"on time").await;
        proxy.latency(Duration::from_hours(1));
        socket.write_all(b"late").await.unwrap();
        let late = tokio::time::timeout(Duration::from_millis(50), socket.read(&mut [0])).await;
        assert!(late.is_err());
    }

    #[tokio::test]
    async fn it_resets_after_exactly_so_many_bytes_and_refuses() {
        let proxy = Proxy::start(echo().await).await;
        let mut socket = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        proxy.reset_after(7);
        socket.write_all(b"0123456789").await.unwrap();
        let mut back = Vec::new();
        let error = socket.read_to_end(&mut back).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(back, b"0123456");
        proxy.refuse(true);
        let mut socket = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        assert!(!matches!(socket.read(&mut [0]).await, Ok(1)));
        proxy.refuse(false);
        let mut socket = TcpStream::connect(("127.0.0.1", proxy.port()))
            .await
            .unwrap();
        round_trip(&mut socket, b"again").await;
        assert_eq!((proxy.accepted(), proxy.resets()), (2, 1));
    }
}
