//! Clients that others made read every type: Microsoft's ODBC driver and FreeTDS, with and without
//! encryption. Each is skipped by name where it is not installed; `tests/run` installs them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use tds_server::wire::{
    Answer, Certificate, Encryption, Handler, Login, Options, Parameter, Server, ServerError,
    Session, Transaction, Type, Value,
};

use crate::support::certificate::certificate;
use crate::support::golden::{self, Golden};

const PASSWORD: &str = "p@ss wörd";

/// Answers `g<n>` with a value, and keeps what the client said when it came.
#[derive(Clone)]
struct Typed {
    all: Arc<[Golden]>,
    logins: Arc<Mutex<Vec<Login>>>,
    sent: Arc<Mutex<Vec<Parameter>>>,
}

impl Handler for Typed {
    fn login(&self, login: &Login) -> Result<Box<dyn Session>, ServerError> {
        self.logins.lock().unwrap().push(login.clone());
        Ok(Box::new(self.clone()))
    }
}

impl Session for Typed {
    fn batch(&mut self, sql: &str, parameters: &[Parameter]) -> Answer {
        self.sent.lock().unwrap().extend_from_slice(parameters);
        let sql = sql.trim();
        // The second is what FreeTDS says first.
        if sql == "SELECT @P1" || sql == "set textsize 2147483647" {
            return Answer::empty();
        }
        match sql
            .strip_prefix('g')
            .and_then(|at| at.parse::<usize>().ok())
        {
            Some(at) => {
                let golden = &self.all[at];
                Answer::rows(vec![golden.column.clone()], [vec![golden.value.clone()]])
            }
            None => Answer::error(ServerError::invalid_object(sql)),
        }
    }

    fn transaction(&mut self, _: &Transaction) -> Result<(), ServerError> {
        Ok(())
    }
}

fn typed(encryption: Encryption, certificate: Option<Certificate>) -> (Server, Typed) {
    let typed = Typed {
        all: golden::all().into(),
        logins: Arc::default(),
        sent: Arc::default(),
    };
    let options = Options {
        encryption,
        certificate,
        ..Options::default()
    };
    (Server::start(options, typed.clone()).unwrap(), typed)
}

/// Runs a client and gives it lines.
fn run(mut command: Command, lines: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    format!("{told}{}", String::from_utf8_lossy(&output.stderr))
}

/// Says that a test did nothing, also where the output of tests that pass is kept back.
fn skipped(why: &str) {
    std::io::stderr()
        .write_all(format!("skipped: {why}\n").as_bytes())
        .unwrap();
}

/// A client that is ended when it hangs.
fn client(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["120", program]);
    command
}

fn decimal(digits: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let sign = if digits < 0 { "-" } else { "" };
    let text = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, part) = text.split_at(text.len() - scale);
    if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{part}")
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// What tiberius, which was compared before, read as text: that is the text with its padding.
fn text(golden: &Golden) -> String {
    match &golden.value {
        Value::Variant(variant) => match &variant.value {
            Value::Text(text) => text.clone(),
            other => panic!("{other:?} is no text"),
        },
        Value::Text(text) => match golden.column.kind {
            Type::Char(count) | Type::NChar(count) => {
                format!("{text:<width$}", width = usize::from(count))
            }
            _ => text.clone(),
        },
        other => panic!("{other:?} is no text"),
    }
}

mod odbc {
    use super::*;

    fn python() -> Option<PathBuf> {
        let folder = |name: &str| std::env::var_os(name).filter(|folder| !folder.is_empty());
        let candidates = [
            folder("LIGHTERMAN_TESTS_CACHE").map(PathBuf::from),
            Some(PathBuf::from("/var/cache/lighterman-tests")),
            folder("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("lighterman-tests")),
            folder("HOME").map(|home| PathBuf::from(home).join(".cache/lighterman-tests")),
        ];
        let found = candidates
            .into_iter()
            .flatten()
            .map(|cache| cache.join("odbc"))
            .find(|folder| folder.join("version").exists());
        if found.is_none() {
            skipped("Microsoft's ODBC driver is not installed; run ./tests/odbc");
        }
        Some(found?.join("bin/python"))
    }

    fn ask(server: &Server, more: &str, lines: &str) -> Option<String> {
        let mut command = client(python()?.to_str().unwrap());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odbc.py"));
        command.arg(format!(
            "Server=127.0.0.1,{};UID=agent;PWD={{{PASSWORD}}};Database=shop;{more}",
            server.address().port()
        ));
        Some(run(command, lines))
    }

    fn micros(ticks: u64, scale: u8) -> u64 {
        let unit = 10_u64.pow(u32::from(7 - scale));
        ticks / unit * unit / 10
    }

    /// What `odbc.py` prints for a value.
    fn expected(golden: &Golden) -> String {
        let (kind, value) = match &golden.value {
            Value::Variant(variant) => (&variant.kind, &variant.value),
            value => (&golden.column.kind, value),
        };
        match (kind, value) {
            (_, Value::Bit(bit)) => format!("bit {}", u8::from(*bit)),
            (_, Value::TinyInt(n)) => format!("int {n}"),
            (_, Value::SmallInt(n)) => format!("int {n}"),
            (_, Value::Int(n)) => format!("int {n}"),
            (_, Value::BigInt(n)) => format!("int {n}"),
            (_, Value::Real(n)) => format!("float {:016x}", f64::from(*n).to_bits()),
            (_, Value::Float(n)) => format!("float {:016x}", n.to_bits()),
            (Type::Decimal(_, scale) | Type::Numeric(_, scale), Value::Decimal(digits)) => {
                format!("decimal {}", decimal(*digits, *scale))
            }
            (_, Value::Money(units)) => format!("decimal {}", decimal((*units).into(), 4)),
            (_, Value::SmallMoney(units)) => format!("decimal {}", decimal((*units).into(), 4)),
            (_, Value::DateTime { days, ticks }) => {
                // The driver rounds three-hundredths to milliseconds.
                let millis = (u64::from(*ticks) * 20 + 3) / 6;
                format!("datetime {} {}", days + 693_595, millis * 1000)
            }
            (_, Value::SmallDateTime { days, minutes }) => {
                let micros = u64::from(*minutes) * 60_000_000;
                format!("datetime {} {micros}", u32::from(*days) + 693_595)
            }
            (_, Value::Date(days)) => format!("date {days}"),
            (Type::Time(scale), Value::Time(ticks)) => format!("time {}", micros(*ticks, *scale)),
            (Type::DateTime2(scale), Value::DateTime2 { days, ticks }) => {
                format!("datetime {days} {}", micros(*ticks, *scale))
            }
            (
                Type::DateTimeOffset(scale),
                Value::DateTimeOffset {
                    days,
                    ticks,
                    offset_minutes,
                },
            ) => format!(
                "datetimeoffset {days} {} {offset_minutes}",
                micros(*ticks, *scale)
            ),
            (_, Value::Text(_)) => format!("text {}", hex(text(golden).as_bytes())),
            (Type::Binary(count), Value::Bytes(bytes)) => {
                let mut bytes = bytes.clone();
                bytes.resize((*count).into(), 0);
                format!("bytes {}", hex(&bytes))
            }
            (_, Value::Bytes(bytes)) => format!("bytes {}", hex(bytes)),
            (_, Value::Guid(guid)) => format!("guid {}", hex(guid)),
            other => panic!("{other:?}"),
        }
    }

    fn reads_everything(
        encryption: Encryption,
        certificate: Option<Certificate>,
        more: &str,
        is_encrypted: bool,
    ) {
        let (server, typed) = typed(encryption, certificate);
        let all = golden::all();
        let lines = (0..all.len())
            .map(|at| format!("g{at}\n"))
            .collect::<Vec<_>>()
            .concat();
        let Some(told) = ask(&server, more, &lines) else {
            return;
        };
        let mut told = told.lines();
        for (at, golden) in all.iter().enumerate() {
            let expected = format!("g{at}\t{}", self::expected(golden));
            let line = told.next().unwrap_or_default();
            assert!(
                line == expected,
                "{golden:?}\nread {line:.300}\nnot  {expected:.300}"
            );
        }
        assert_eq!(told.next(), None);
        let login = typed.logins.lock().unwrap()[0].clone();
        assert_eq!(
            (login.user.as_str(), login.password.as_str()),
            ("agent", PASSWORD)
        );
        assert_eq!(
            (login.database.as_str(), login.encrypted),
            ("shop", is_encrypted)
        );
        assert_eq!(server.handle().complaints(), Vec::<String>::new());
    }

    #[test]
    fn microsofts_driver_reads_every_type_in_plain_text() {
        reads_everything(Encryption::NotSupported, None, "Encrypt=no", false);
    }

    #[test]
    fn microsofts_driver_reads_every_type_with_its_login_encrypted() {
        reads_everything(Encryption::Off, Some(certificate().0), "Encrypt=no", false);
    }

    #[test]
    fn microsofts_driver_reads_every_type_encrypted() {
        let trusting = "Encrypt=yes;TrustServerCertificate=yes";
        let certificate = certificate().0;
        for encryption in [Encryption::Off, Encryption::On, Encryption::Required] {
            reads_everything(encryption, Some(certificate.clone()), trusting, true);
        }
        let forced = "Encrypt=no;TrustServerCertificate=yes";
        reads_everything(Encryption::Required, Some(certificate), forced, true);
    }

    #[test]
    fn microsofts_driver_refuses_what_it_cannot_trust_and_hears_errors() {
        let (server, _) = typed(Encryption::Off, Some(certificate().0));
        let Some(told) = ask(&server, "Encrypt=yes;TrustServerCertificate=no", "g0\n") else {
            return;
        };
        assert!(told.contains("certificate verify failed"), "{told}");
        let (server, _) = typed(Encryption::NotSupported, None);
        let told = ask(&server, "Encrypt=yes", "g0\n").unwrap();
        assert!(told.contains("Encryption not supported"), "{told}");
        let told = ask(&server, "Encrypt=no", "nothing\ng1\n").unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert!(
            lines[0].contains("Invalid object name 'nothing'."),
            "{told}"
        );
        assert_eq!(lines[1], "g1\tbit 1", "the connection goes on");
    }

    #[test]
    fn microsofts_driver_sends_parameters_of_every_type_it_has() {
        let (server, typed) = typed(Encryption::NotSupported, None);
        let lines = "\
            =1\n=2**40\n='text'\n='ж'*5000\n=b'abc'\n=b'x'*9000\n=decimal.Decimal('-12.50')\n\
            =datetime.date(2020,1,2)\n=datetime.time(1,2,3,4)\n=datetime.datetime(2020,1,2,3,4,5,6)\n\
            =datetime.datetime(2020,1,2,3,4,5,6,tzinfo=datetime.timezone.utc)\n\
            =uuid.UUID('00112233-4455-6677-8899-aabbccddeeff')\n=1.5\n=True\n=None\n";
        let Some(told) = ask(&server, "Encrypt=no", lines) else {
            return;
        };
        assert_eq!(told, "");
        let seen: Vec<Value> = typed
            .sent
            .lock()
            .unwrap()
            .iter()
            .map(|sent| sent.value.clone())
            .collect();
        let days = 737_425;
        assert_eq!(
            seen,
            [
                Value::TinyInt(1),
                Value::BigInt(1 << 40),
                Value::text("text"),
                Value::text(&"ж".repeat(5000)),
                Value::bytes(b"abc"),
                Value::bytes(&[b'x'; 9000]),
                Value::Decimal(-1250),
                Value::Date(days),
                Value::Time(37_230_000_040),
                Value::DateTime2 {
                    days,
                    ticks: 110_450_000_060
                },
                Value::DateTimeOffset {
                    days,
                    ticks: 110_450_000_060,
                    offset_minutes: 0
                },
                Value::Guid(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"),
                Value::Float(1.5),
                Value::Bit(true),
                Value::Null,
            ]
        );
        assert_eq!(server.handle().complaints(), Vec::<String>::new());
    }
}

mod freetds {
    use super::*;

    /// What `tsql` prints for a value, for the types whose text it does not shorten.
    fn expected(golden: &Golden) -> Option<String> {
        let (kind, value) = match &golden.value {
            Value::Variant(variant) => (&variant.kind, &variant.value),
            value => (&golden.column.kind, value),
        };
        Some(match (kind, value) {
            (_, Value::Bit(bit)) => u8::from(*bit).to_string(),
            (_, Value::TinyInt(n)) => n.to_string(),
            (_, Value::SmallInt(n)) => n.to_string(),
            (_, Value::Int(n)) => n.to_string(),
            (_, Value::BigInt(n)) => n.to_string(),
            (Type::Decimal(_, scale) | Type::Numeric(_, scale), Value::Decimal(digits)) => {
                decimal(*digits, *scale)
            }
            (_, Value::Money(units)) => decimal((*units).into(), 4),
            (_, Value::SmallMoney(units)) => decimal((*units).into(), 4),
            (_, Value::Date(days)) => match *days {
                0 => "Jan  1 1 12:00AM".to_owned(),
                693_595 => "Jan  1 1900 12:00AM".to_owned(),
                golden::LAST_DAY => "Dec 31 9999 12:00AM".to_owned(),
                _ => return None,
            },
            (_, Value::DateTime2 { days: 0, ticks: 0 }) => "Jan  1 1 12:00AM".to_owned(),
            (
                _,
                Value::DateTime2 {
                    days: golden::LAST_DAY,
                    ticks: 0,
                },
            ) => "Dec 31 9999 12:00AM".to_owned(),
            // tsql ends a text at its first zero.
            (_, Value::Text(text)) if text.contains('\0') => return None,
            (_, Value::Text(_)) => text(golden),
            (Type::Udt(_), _) => return None,
            (Type::Binary(count), Value::Bytes(bytes)) => {
                let mut bytes = bytes.clone();
                bytes.resize((*count).into(), 0);
                hex(&bytes)
            }
            (_, Value::Bytes(bytes)) => hex(bytes),
            (_, Value::Guid(guid)) => {
                let groups = [
                    &guid[..4],
                    &guid[4..6],
                    &guid[6..8],
                    &guid[8..10],
                    &guid[10..],
                ];
                groups.map(hex).join("-").to_uppercase()
            }
            _ => return None,
        })
    }

    fn ask(server: &Server, more: &str, lines: &str) -> Option<String> {
        if Command::new("tsql").arg("-C").output().is_err() {
            skipped("FreeTDS is not installed; as root: apt-get install -y freetds-bin");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("freetds.conf");
        let port = server.address().port();
        std::fs::write(
            &settings,
            format!(
                "[scripted]\nhost = 127.0.0.1\nport = {port}\nclient charset = UTF-8\n\
                 text size = 2147483647\n{more}\n"
            ),
        )
        .unwrap();
        let mut command = client("tsql");
        command
            .env("FREETDSCONF", &settings)
            .env("LC_ALL", "C.UTF-8");
        command.args([
            "-S", "scripted", "-U", "agent", "-P", PASSWORD, "-D", "shop", "-o", "fhq",
        ]);
        Some(run(command, lines))
    }

    fn reads_everything(
        encryption: Encryption,
        certificate: Option<Certificate>,
        more: &str,
        is_encrypted: bool,
    ) {
        let (server, typed) = typed(encryption, certificate);
        let all: Vec<(usize, String)> = golden::all()
            .iter()
            .enumerate()
            // Before 7.4 nothing is agreed about UTF-8.
            .filter(|(_, golden)| !(golden.column.collation.is_utf8() && more.contains("7.3")))
            .filter_map(|(at, golden)| Some((at, expected(golden)?)))
            .collect();
        assert!(all.len() > 150);
        let lines = all
            .iter()
            .map(|(at, _)| format!("g{at}\ngo\n"))
            .collect::<Vec<_>>()
            .concat();
        let Some(told) = ask(&server, more, &lines) else {
            return;
        };
        let mut told = told.lines();
        for (at, expected) in &all {
            let line = told.next().unwrap_or_default();
            assert!(
                line == expected,
                "g{at} read {line:.300}\nnot {expected:.300}"
            );
        }
        let login = typed.logins.lock().unwrap()[0].clone();
        assert_eq!(
            (login.user.as_str(), login.password.as_str()),
            ("agent", PASSWORD)
        );
        assert_eq!(
            (login.database.as_str(), login.encrypted),
            ("shop", is_encrypted)
        );
        assert_eq!(server.handle().complaints(), Vec::<String>::new());
    }

    #[test]
    fn freetds_reads_every_type_in_plain_text() {
        for version in ["7.3", "7.4"] {
            let more = format!("tds version = {version}\nencryption = off");
            reads_everything(Encryption::NotSupported, None, &more, false);
        }
    }

    #[test]
    fn freetds_reads_every_type_encrypted() {
        let certificate = certificate().0;
        let requests = "tds version = 7.4\nencryption = request";
        reads_everything(Encryption::Off, Some(certificate.clone()), requests, false);
        reads_everything(
            Encryption::Required,
            Some(certificate.clone()),
            requests,
            true,
        );
        let requires = "tds version = 7.4\nencryption = require";
        reads_everything(Encryption::Off, Some(certificate), requires, true);
    }

    #[test]
    fn freetds_hears_errors_and_goes_on() {
        let (server, _) = typed(Encryption::NotSupported, None);
        let more = "tds version = 7.4\nencryption = off";
        let Some(told) = ask(&server, more, "nothing\ngo\ng1\ngo\n") else {
            return;
        };
        assert!(
            told.contains("Msg 208") && told.contains("Invalid object name 'nothing'."),
            "{told}"
        );
        assert!(told.lines().any(|line| line == "1"), "{told}");
    }
}
