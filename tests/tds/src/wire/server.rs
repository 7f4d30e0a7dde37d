//! The server of a test: it listens, and ends with the value that stands for it.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::connection::serve;
use super::fault::{Fault, FaultKind, LoginFault};
use super::handler::{Handler, Login};
use super::link::Ended;
use super::prelogin::Encryption;
use super::sent;
use super::tls::Certificate;
use super::types::Collation;

/// The most texts and complaints that are kept.
const KEPT_MAX: usize = 10_000;

/// How a server is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in messages.
    pub name: String,
    /// Its version: major, minor and two bytes of the build.
    pub version: [u8; 4],
    /// The database of clients that ask for none.
    pub database: String,
    /// Its instance. Clients that ask for another are told so.
    pub instance: String,
    /// Its collation, told at the login.
    pub collation: Collation,
    /// What it says about encryption.
    pub encryption: Encryption,
    /// Its certificate, needed for encryption.
    pub certificate: Option<Certificate>,
    /// Its packet size, 512 to 32767 bytes; none for what the client asks for.
    pub packet_bytes: Option<u16>,
    /// The most bytes that it writes at once; none for no bound.
    pub write_bytes_max: Option<usize>,
    /// The most bytes in a chunk of a `(max)` value.
    pub chunk_bytes: usize,
    /// Whether the length of a `(max)` value is told before its chunks.
    pub announce_length: bool,
    /// Whether rows with NULLs have them in a bitmap (`NBCROW`), for clients that know it.
    pub null_bitmap: bool,
    /// The most bytes of a message of a client.
    pub message_bytes_max: usize,
    /// Where it listens, on a port of its own.
    pub address: Ipv4Addr,
    /// Where it sends clients on to, when they are in.
    pub route: Option<Route>,
}

/// Another server, that clients are sent to.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its host, as clients are to name it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Only those are sent that say that they only read.
    pub readers_only: bool,
}

impl Route {
    pub(super) fn takes(&self, login: &Login) -> bool {
        login.read_only || !self.readers_only
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "SCRIPTED".to_owned(),
            version: [16, 0, 4, 85],
            database: "master".to_owned(),
            instance: "MSSQLServer".to_owned(),
            collation: Collation::LATIN1,
            encryption: Encryption::NotSupported,
            certificate: None,
            packet_bytes: None,
            write_bytes_max: None,
            chunk_bytes: 4000,
            announce_length: true,
            null_bitmap: true,
            message_bytes_max: 64 << 20,
            address: Ipv4Addr::LOCALHOST,
            route: None,
        }
    }
}

/// What the connections and the test share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) handler: Box<dyn Handler>,
    log: Mutex<Log>,
    counts: watch::Sender<Counts>,
}

#[derive(Default)]
struct Log {
    statements: BTreeSet<String>,
    complaints: Vec<String>,
    faults: Vec<Fault>,
    login_faults: Vec<LoginFault>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    connections: u64,
    open: u64,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        // What is in it stays true if a task died with it.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a text that a program sent.
    pub(super) fn saw(&self, sql: &str, program: &str) {
        let mut log = self.log();
        if log.statements.contains(sql) {
            return;
        }
        if program == sent::PROGRAM
            && self.handler.is_asked_sql()
            && let Err(error) = sent::keep(sql)
        {
            drop(log);
            self.complain(format!("a text that was sent cannot be kept: {error}"));
            log = self.log();
        }
        if log.statements.len() < KEPT_MAX {
            log.statements.insert(sql.to_owned());
        } else {
            drop(log);
            self.complain(format!("more than {KEPT_MAX} different texts were sent"));
        }
    }

    fn complain(&self, complaint: String) {
        let mut log = self.log();
        if log.complaints.len() < KEPT_MAX {
            log.complaints.push(complaint);
        }
    }

    /// Takes the faults of a statement.
    pub(super) fn faults(&self, sql: &str) -> Vec<FaultKind> {
        let mut taken = Vec::new();
        self.log().faults.retain_mut(|fault| {
            if !sql.contains(&fault.statement) {
                return true;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                return true;
            }
            taken.push(fault.kind.clone());
            false
        });
        taken
    }

    /// Takes the fault of a new connection.
    pub(super) fn login_fault(&self) -> Option<LoginFault> {
        let mut log = self.log();
        if log.login_faults.is_empty() {
            None
        } else {
            Some(log.login_faults.remove(0))
        }
    }
}

/// What a test reads and sets while the server runs. All copies are of the same server.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle(..)")
    }
}

impl Handle {
    /// Every different SQL text that was sent: batches and statements with parameters.
    pub fn statements(&self) -> BTreeSet<String> {
        self.shared.log().statements.clone()
    }

    /// How many connections there have been.
    pub fn connection_count(&self) -> u64 {
        self.shared.counts.borrow().connections
    }

    /// How many connections are open.
    pub fn open_connection_count(&self) -> u64 {
        self.shared.counts.borrow().open
    }

    /// Ends when no connection is open.
    pub async fn all_closed(&self) {
        // The sender is in `shared`, so the channel cannot end.
        let _ = self
            .shared
            .counts
            .subscribe()
            .wait_for(|counts| counts.open == 0)
            .await;
    }

    /// What was wrong with what clients sent, and with what the script wanted said. Empty when all is
    /// well.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.log().complaints.clone()
    }

    /// Lets a fault happen to a statement to come.
    pub fn fault(&self, fault: Fault) {
        self.shared.log().faults.push(fault);
    }

    /// Lets a fault happen to the next connection that has none yet.
    pub fn login_fault(&self, fault: LoginFault) {
        self.shared.log().login_faults.push(fault);
    }

    /// How many faults have not happened yet, so that a test knows that its faults did.
    pub fn faults_left(&self) -> usize {
        let log = self.shared.log();
        log.faults.len() + log.login_faults.len()
    }
}

/// A server on a port of its own, with a thread of its own. It ends, with all its
/// connections, when it is dropped.
pub struct Server {
    address: SocketAddr,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server.
    pub fn start(options: Options, handler: impl Handler) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tds-server")
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind((options.address, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            handler: Box::new(handler),
            log: Mutex::default(),
            counts: watch::Sender::new(Counts::default()),
        });
        let (stop, stopped) = oneshot::channel();
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("tds-server".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = listen(listener, for_thread) => {}
                        _ = stopped => {}
                    }
                });
                // A script that hangs is left behind, so that its test can end.
                runtime.shutdown_timeout(Duration::from_secs(1));
            })?;
        Ok(Self {
            address,
            handle: Handle { shared },
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the test reads and sets.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn listen(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        shared.complain("the server cannot listen".to_owned());
        return;
    };
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            came = listener.accept() => {
                let Ok((socket, _)) = came else { continue };
                // Small pieces go out at once; where it fails they only go out later.
                let _ = socket.set_nodelay(true);
                let mut number = 0;
                shared.counts.send_modify(|counts| {
                    counts.connections += 1;
                    counts.open += 1;
                    number = counts.connections;
                });
                let shared = shared.clone();
                tasks.spawn(async move {
                    let _open = Open(&shared);
                    let complaint = match serve(socket, number, &shared).await {
                        Ok(()) | Err(Ended::Gone | Ended::Wanted) => return,
                        Err(Ended::Malformed(what)) => format!("connection {number}: the client sent {what}"),
                        Err(Ended::Unfit(what)) => format!("connection {number}: the script gave {what}"),
                    };
                    shared.complain(complaint);
                });
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    shared.complain(format!("a connection's task died: {error}"));
                }
            }
        }
    }
}

/// A connection counts as open while this is there.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.counts.send_modify(|counts| counts.open -= 1);
    }
}
