//! An administrator's connection. Whatever is run over it is kept for Microsoft's parser, as the texts of the
//! source are.

use std::borrow::Cow;

use futures_util::FutureExt as _;
use tds_server::wire::keep_sent;
use tiberius::error::Error;
use tiberius::{AuthMethod, Client, ColumnData, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

/// Where a server is, and who may do everything there.
#[derive(Clone)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    /// The source's own setting. An administrator's connection is not encrypted.
    pub tls: &'static str,
}

impl Address {
    /// `server=tcp:HOST,PORT;user=NAME;password=WORD;TrustServerCertificate=true`
    pub fn parse(url: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut pairs = url.split(';').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then_some(value))
        };
        let server = value("server")?.trim();
        let server = server.strip_prefix("tcp:").unwrap_or(server);
        let (host, port) = server.split_once(',').unwrap_or((server, "1433"));
        let trust =
            value("TrustServerCertificate").is_some_and(|it| it.eq_ignore_ascii_case("true"));
        Some(Self {
            host: host.to_owned(),
            port: port.trim().parse().ok()?,
            user: value("user")?.to_owned(),
            password: value("password")?.to_owned(),
            tls: if trust { "require" } else { "verify-full" },
        })
    }
}

/// Rows as texts; NULL is none.
pub type Rows = Vec<Vec<Option<String>>>;

pub struct Admin(Client<Compat<TcpStream>>);

impl Admin {
    pub async fn connect(to: &Address, database: &str) -> Self {
        let mut config = Config::new();
        config.host(&to.host);
        config.port(to.port);
        config.database(database);
        config.application_name("lighterman-tests");
        config.encryption(EncryptionLevel::NotSupported);
        config.authentication(AuthMethod::sql_server(&to.user, &to.password));
        let socket = TcpStream::connect((to.host.as_str(), to.port))
            .await
            .unwrap();
        socket.set_nodelay(true).unwrap();
        let client = Client::connect(config, socket.compat_write());
        let mut admin = Self(client.boxed().await.unwrap());
        admin.run("SET XACT_ABORT ON; SET NOCOUNT ON").await;
        admin
    }

    /// The rows of the last answer, or the number of the error.
    pub async fn try_run(&mut self, sql: &str) -> Result<Rows, (u32, String)> {
        keep_sent(sql).unwrap();
        let failed = |error: Error| match error {
            Error::Server(error) => (error.code(), error.message().to_owned()),
            other => (0, other.to_string()),
        };
        let stream = self.0.simple_query(sql).await.map_err(failed)?;
        let mut answers = stream.into_results().await.map_err(failed)?;
        let rows = answers.pop().unwrap_or_default();
        let row = |row: tiberius::Row| row.into_iter().map(text).collect();
        Ok(rows.into_iter().map(row).collect())
    }

    #[track_caller]
    pub fn run(&mut self, sql: &str) -> impl Future<Output = Rows> {
        let at = std::panic::Location::caller();
        async move {
            let done = self.try_run(sql).await;
            done.unwrap_or_else(|(number, why)| panic!("{at}: {sql}: error {number}: {why}"))
        }
    }

    /// The only value of an answer.
    pub async fn one(&mut self, sql: &str) -> Option<String> {
        let mut rows = self.run(sql).await;
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}");
        rows.pop()?.pop()?
    }

    /// The number of the error that a text must end with.
    pub async fn error(&mut self, sql: &str) -> u32 {
        let done = self.try_run(sql).await;
        done.map_or_else(|(number, _)| number, |_| panic!("{sql}: no error"))
    }
}

fn text(cell: ColumnData<'static>) -> Option<String> {
    match cell {
        ColumnData::U8(value) => value.map(|it| it.to_string()),
        ColumnData::I16(value) => value.map(|it| it.to_string()),
        ColumnData::I32(value) => value.map(|it| it.to_string()),
        ColumnData::I64(value) => value.map(|it| it.to_string()),
        ColumnData::Bit(value) => value.map(|it| it.to_string()),
        ColumnData::String(value) => value.map(Cow::into_owned),
        ColumnData::Binary(value) => value.map(|it| format!("0x{}", contract::value::hex(&it))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_url_names_the_server_and_its_administrator() {
    let url = "server=tcp:db.example.com,1444;user=sa;password=Str0ng!=Passw0rd;TrustServerCertificate=true";
    let read = Address::parse(url).unwrap();
    let found = (
        read.host.as_str(),
        read.port,
        read.user.as_str(),
        read.password.as_str(),
        read.tls,
    );
    assert_eq!(
        found,
        ("db.example.com", 1444, "sa", "Str0ng!=Passw0rd", "require")
    );
    let read = Address::parse("Server=localhost;User=sa;Password=x").unwrap();
    assert_eq!((read.port, read.tls), (1433, "verify-full"));
    assert!(Address::parse("localhost").is_none());
}
