//! Connections: to the server, to its partner where it does not answer, and to where it sends us.

use std::sync::Arc;
use std::time::Duration;

use contract::{Secret, SourceError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

use crate::browser;
use crate::errors::{self, Failed, NOT_HERE, broken, classify};
use crate::prelogin::{self, Failure, Greeted, Wrapped};
use crate::session::{Session, quietly};
use crate::settings::{Auth, Server, Settings};
use crate::tls;

/// Who we are in `sys.dm_exec_sessions`.
const APPLICATION: &str = "lighterman";
/// How long a connection to one server may take to be there.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A token is not longer than this.
const TOKEN_BYTES: u64 = 64 << 10;
/// After so long without a word the network is asked whether the other side is still there,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// then so often,
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// and after so many questions without an answer the connection is dead.
const KEEPALIVE_TIMES: u32 = 3;
/// Bytes that the other side does not confirm in this time will not arrive any more.
#[cfg(target_os = "linux")]
const CONFIRM_MAX: Duration = Duration::from_mins(1);

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Ask.
    Read,
    /// Change the database: `source prepare --apply`.
    Write,
}

/// Any socket, plain or with TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What the client library talks through.
pub(crate) type Wire = Compat<Greeted<Box<dyn Duplex>>>;

/// Why there is no connection.
enum Refused {
    /// The server is there, and sends us to another place.
    Sent {
        host: String,
        port: u16,
    },
    Failed(Failed),
}

impl From<SourceError> for Refused {
    fn from(error: SourceError) -> Self {
        Self::Failed(Failed::ours(error))
    }
}

/// Opens a connection, to the partner where the first server does not have the database now.
pub(crate) async fn connect(settings: &Settings, rights: Rights) -> Result<Session, SourceError> {
    let first = match to(settings, &settings.server, rights).await {
        Ok(session) => return Ok(session),
        Err(failed) => failed,
    };
    let elsewhere = matches!(first.error, SourceError::Disconnected(_)) || first.is(NOT_HERE);
    let Some(partner) = settings.partner.as_ref().filter(|_| elsewhere) else {
        return Err(first.error);
    };
    match to(settings, partner, rights).await {
        Ok(session) => {
            tracing::info!(
                code = "source.failover_partner",
                host = partner.host,
                "connected to the failover partner"
            );
            Ok(session)
        }
        // What is wrong with the first is what a person looks at first.
        Err(second) => Err(with(first.error, &second.error)),
    }
}

fn with(first: SourceError, second: &SourceError) -> SourceError {
    let also = |what: String| format!("{what}; and the partner: {second}");
    match first {
        SourceError::Disconnected(what) => SourceError::Disconnected(also(what)),
        SourceError::Denied { what, hint } => SourceError::Denied {
            what: also(what),
            hint,
        },
        other => other,
    }
}

/// Where a server is, for errors.
pub(crate) fn place(server: &Server) -> String {
    match &server.instance {
        Some(instance) => format!("connect to {}\\{instance}", server.host),
        None => format!("connect to {}:{}", server.host, server.port),
    }
}

/// One server, and the one place that it may send us to.
async fn to(settings: &Settings, server: &Server, rights: Rights) -> Result<Session, Failed> {
    let (host, port) = match attempt(settings, server, rights).await {
        Ok(session) => return Ok(session),
        Err(Refused::Failed(failed)) => return Err(failed),
        Err(Refused::Sent { host, port }) => (host, port),
    };
    let next = Server {
        host,
        port,
        instance: None,
    };
    match attempt(settings, &next, rights).await {
        Ok(session) => Ok(session),
        Err(Refused::Failed(failed)) => Err(failed),
        Err(Refused::Sent { host, port }) => Err(Failed::ours(broken(
            &place(&next),
            format!("sends us on to {host}:{port}, and was itself where we were sent to"),
        ))),
    }
}

async fn attempt(settings: &Settings, server: &Server, rights: Rights) -> Result<Session, Refused> {
    let doing = place(server);
    let opening = open(settings, server, rights, &doing);
    tokio::time::timeout(CONNECT_MAX, opening)
        .await
        .unwrap_or_else(|_| {
            let why = format!("no answer within {} s", CONNECT_MAX.as_secs());
            Err(broken(&doing, why).into())
        })
}

async fn open(
    settings: &Settings,
    server: &Server,
    rights: Rights,
    doing: &str,
) -> Result<Session, Refused> {
    let tls = tls::config(settings, &server.host).await?;
    if tls.is_none() && settings.auth.is_token() {
        return Err(errors::denied(
            format!("{doing}: a token is only sent over TLS"),
            "tls = \"verify-full\"",
        )
        .into());
    }
    let token = token(settings, doing).await?;
    let port = match &server.instance {
        Some(instance) => browser::port(&server.host, browser::PORT, instance, doing).await?,
        None => server.port,
    };
    let connecting = TcpStream::connect((server.host.as_str(), port)).await;
    let socket = connecting.map_err(|error| broken(doing, error))?;
    keep(&socket).map_err(|error| broken(doing, error))?;
    let line = greet(settings, server, tls, socket, doing).await?;
    let config = config(settings, server, port, token.as_ref());
    // It is large, and whoever holds a connection would be as large for as long as that lasts.
    let login = Box::pin(quietly(Client::connect(config, line.compat_write()))).await;
    let client = login.map_err(|error| match error {
        tiberius::error::Error::Routing { host, port } => Refused::Sent {
            host: host_of(&host).to_owned(),
            port,
        },
        error => Refused::Failed(of_login(settings, doing, &error)),
    })?;
    let session = Session::begin(client, rights, doing).await;
    session.map_err(Refused::Failed)
}

/// Of where a server sends us: MS-TDS has a name or an address there, and Azure may say `host\instance`. The port
/// is that of the instance.
fn host_of(route: &str) -> &str {
    route.split_once('\\').map_or(route, |(host, _)| host)
}

fn keep(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let often = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TIMES);
    socket.set_tcp_keepalive(&often)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(CONFIRM_MAX))?;
    Ok(())
}

/// The first words, and TLS where the settings want it. Nothing secret is said before it is there.
async fn greet(
    settings: &Settings,
    server: &Server,
    tls: Option<Arc<ClientConfig>>,
    mut socket: TcpStream,
    doing: &str,
) -> Result<Greeted<Box<dyn Duplex>>, SourceError> {
    let wanted = if tls.is_some() {
        prelogin::ENCRYPT_ON
    } else {
        prelogin::ENCRYPT_NOT_SUPPORTED
    };
    let token = settings.auth.is_token();
    let greeting = prelogin::greet(&mut socket, wanted, server.instance.as_deref(), token);
    let answer = greeting.await.map_err(|failure| match failure {
        Failure::NotAServer => errors::no_server(doing),
        Failure::Io(error) => of_greeting(doing, &error),
    })?;
    if !answer.instance_fits {
        return Err(errors::denied(
            format!("{doing}: another instance answers there"),
            "see that the server's SQL Browser is the one of this machine",
        ));
    }
    let offered =
        ![prelogin::ENCRYPT_NOT_SUPPORTED, prelogin::ENCRYPT_OFF].contains(&answer.encryption);
    match tls {
        Some(_) if !offered => Err(tls::absent(doing)),
        None if offered => Err(tls::demanded(doing)),
        None => Ok(Greeted::new(Box::new(socket), answer)),
        Some(tls) => {
            let name = ServerName::try_from(server.host.clone());
            let name = name.map_err(|_| tls::no_name(doing))?;
            let connecting = TlsConnector::from(tls).connect(name, Wrapped::new(socket));
            let mut socket = connecting.await.map_err(|error| {
                tls::refused(doing, &error)
                    .unwrap_or_else(|| broken(doing, format!("TLS: {error}")))
            })?;
            socket.get_mut().0.unwrap();
            Ok(Greeted::new(Box::new(socket), answer))
        }
    }
}

/// A server of another kind ends a connection when it hears us.
fn of_greeting(doing: &str, error: &std::io::Error) -> SourceError {
    let cut = error.kind() == std::io::ErrorKind::UnexpectedEof;
    let why = if cut {
        "the connection ended before the first answer".to_owned()
    } else {
        error.to_string()
    };
    broken(doing, why)
}

/// The token, as it is now: whoever keeps it new writes another one before it is over.
async fn token(settings: &Settings, doing: &str) -> Result<Option<Secret>, SourceError> {
    let file = match &settings.auth {
        Auth::Token(token) => return Ok(Some(token.clone())),
        Auth::TokenFile(file) => file.clone(),
        Auth::Sql { .. } | Auth::Windows(_) => return Ok(None),
    };
    let shown = file.display().to_string();
    let wrong = |why: String| {
        errors::denied(
            format!("{doing}: read the token from {shown}: {why}"),
            "set token_file to a file that our user may read, which has the token and nothing else",
        )
    };
    let reading = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(file)?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, TOKEN_BYTES + 1), &mut text)?;
        Ok(text)
    });
    let read: std::io::Result<String> = reading.await.map_err(|error| wrong(error.to_string()))?;
    let text = read.map_err(|error| wrong(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || text.len() as u64 > TOKEN_BYTES {
        return Err(wrong(format!("it has {} bytes", text.len())));
    }
    Ok(Some(Secret::new(token)))
}

fn config(settings: &Settings, server: &Server, port: u16, token: Option<&Secret>) -> Config {
    let mut config = Config::new();
    config.host(&server.host);
    config.port(port);
    config.database(&settings.database);
    config.application_name(APPLICATION);
    config.readonly(settings.read_only_intent);
    // What the library knows of it: below it everything is encrypted.
    config.encryption(EncryptionLevel::NotSupported);
    // Waits are bounded here, where a person is told what was waited for.
    config.handshake_timeout(None);
    config.command_timeout(None);
    // A text with half a character is marked by the values; it must not end the connection.
    config.lossy_utf16_decoding(true);
    config.authentication(match &settings.auth {
        Auth::Sql { user, password } => AuthMethod::sql_server(user, password.expose()),
        Auth::Token(_) | Auth::TokenFile(_) => {
            AuthMethod::aad_token(token.map_or("", |token| token.expose()))
        }
        Auth::Windows(account) => windows(account.as_ref()),
    });
    config
}

#[cfg(windows)]
fn windows(account: Option<&(String, contract::Secret)>) -> AuthMethod {
    match account {
        Some((user, password)) => AuthMethod::windows(user, password.expose()),
        None => AuthMethod::Integrated,
    }
}

/// The settings refuse it on other systems.
#[cfg(not(windows))]
fn windows(_: Option<&(String, contract::Secret)>) -> AuthMethod {
    AuthMethod::None
}

fn of_login(settings: &Settings, doing: &str, error: &tiberius::error::Error) -> Failed {
    let failed = classify(&format!("{doing}: log in"), error);
    if !settings.auth.is_token() || !failed.is(&[18456]) {
        return failed;
    }
    let hint = match &settings.auth {
        Auth::TokenFile(file) => format!(
            "have a new token written to {}: it is read at each connection",
            file.display()
        ),
        _ => "set token_file, which is read at each connection, in place of token, and have a new token \
              written there before the one in it is over"
            .to_owned(),
    };
    Failed {
        error: errors::denied(
            format!(
                "{}: the token has expired, as one does after about an hour, or is for another server or \
                 for an account that the database does not know",
                failed.error
            ),
            hint,
        ),
        ..failed
    }
}
