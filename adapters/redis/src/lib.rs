//! Destination: Redis streams.
//!
//! An event is applied when its entry is in the stream. A small key beside the stream remembers for a
//! while what recognises its repetition; entry and key are written by one script, so both are there or none.

mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use broker::{Address, ClientConfig, Fates, Protocol, Template, Times};
use contract::{BuildDestination, Finding, Outgoing, Secret, Secrets, Section, cloudevent};

use wire::{Reply, Wire};

/// The `type` in the settings.
pub const NAME: &str = "redis";

/// A commented block for the settings file.
pub const EXAMPLE: &str = r#"[[destination]]
name = "bus"
type = "redis"
servers = ["redis.example.com:6379"] # tried in turn
stream = "lighterman.{type}"         # {type}, {op} and {key} are the event's
user = "lighterman"                  # left out where the server has a password only
password = { env = "REDIS_PASSWORD" }
# database = 0
# entries_max = 1000000              # a stream forgets its oldest beyond about so many
# known_minutes = 60                 # for so long a repetition is recognised by the server
# tls = true                         # else only servers on this machine are spoken to in plain
# ca_file = "ca.pem"                 # beside the system's certificate authorities
# certificate_file = "agent.crt"     # for servers that want one
# key_file = "agent.key"
# allow_plain = false                # true: events may leave this machine unencrypted
# batch_events_max = 200
# timeout_seconds = 15
"#;

/// What a guided set-up asks of it.
pub const QUESTIONS: &[contract::Question] = &[
    broker::SERVERS,
    contract::Question::new(
        "stream",
        "Into which stream do events go?",
        "{type}, {op} and {key} are the event's",
    ),
    broker::USER,
    broker::PASSWORD,
];

/// `KEYS`: the stream, the key that remembers. `ARGV`: seconds to remember, most entries (0 = any
/// number), then the entry's fields. Returns the entry's id, and 1 if it was there before.
const SCRIPT: &str = "\
local id = redis.call('GET', KEYS[2])
if id then return {id, '1'} end
if ARGV[2] == '0' then
  id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
else
  id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
end
redis.call('SET', KEYS[2], id, 'EX', ARGV[1])
return {id, '0'}";

/// What a server says when it surely did nothing, and may do it later.
const NOT_DONE: [&str; 12] = [
    "OOM",
    "LOADING",
    "BUSY",
    "READONLY",
    "MISCONF",
    "MASTERDOWN",
    "NOREPLICAS",
    "NOAUTH",
    "NOPERM",
    "NOSCRIPT",
    "MOVED",
    "CLUSTERDOWN",
];

#[derive(Clone)]
struct Redis {
    address: Address,
    user: Option<String>,
    password: Option<Secret>,
    database: u64,
    stream: Template,
    entries_max: u64,
    known_seconds: u64,
    times: Times,
    tls: Option<Arc<ClientConfig>>,
}

/// Reads a destination's own settings; see [`EXAMPLE`].
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildDestination> {
    let address = Address::read(section, 6379, 6380);
    let user = section.text("user").map(str::to_owned);
    let password = section.secret("password", secrets);
    if user.is_some() && section.get("password").is_none() {
        section.missing("password", "`password = { env = \"REDIS_PASSWORD\" }`");
    }
    let places = ["type", "op", "key"];
    let stream = Template::read(section, "stream", "lighterman.{type}", &places, |stream| {
        let odd = stream.is_empty() || stream.contains(['{', '}']);
        odd.then_some("is no name for a stream")
    });
    let database = section.number_or("database", 0, 1_000, 0);
    let entries_max = section.number("entries_max", 1, 1 << 40).unwrap_or(0);
    let minutes = section.number_or("known_minutes", 1, 100_000, 60);
    let times = Times::read(section);
    let redis = Redis {
        times,
        address: address?.within(times),
        user,
        password,
        database,
        stream,
        entries_max,
        known_seconds: minutes * 60,
        tls: None,
    };
    Some(Arc::new(move |name| {
        let tls = broker::tls(&redis.address)?;
        let redis = Redis {
            tls,
            ..redis.clone()
        };
        Ok(broker::build(name, redis.times, redis))
    }))
}

fn fine(what: &str, reply: Reply) -> Result<Option<String>, String> {
    match reply {
        Reply::Text(text) => Ok(text),
        Reply::Error(error) => Err(format!("{what}: the server says {error}")),
        Reply::List(_) => Err(format!("{what}: the server's answer is not understood")),
    }
}

impl Redis {
    /// One event as a command.
    fn add(&self, out: &mut Vec<u8>, script: &str, event: &Outgoing) {
        let stream = self.stream.name(event);
        // In a cluster, braces keep both keys in one place.
        let known = format!("{{{stream}}}:known:{}", event.repetition_key());
        let numbers = (self.known_seconds.to_string(), self.entries_max.to_string());
        let attributes = cloudevent::attributes(event);
        let (trace, context) = broker::trace(event);
        let mut words: Vec<&[u8]> = vec![
            b"EVALSHA",
            script.as_bytes(),
            b"2",
            stream.as_bytes(),
            known.as_bytes(),
            numbers.0.as_bytes(),
            numbers.1.as_bytes(),
        ];
        for (name, value) in &attributes {
            words.extend([name.as_bytes(), value.as_bytes()]);
        }
        words.extend([b"datacontenttype", cloudevent::DATA.as_bytes()]);
        words.extend([trace.as_bytes(), context.as_bytes()]);
        words.extend([b"data".as_slice(), &event.json]);
        wire::command(out, &words);
    }
}

#[async_trait]
impl Protocol for Redis {
    type Link = Wire;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn open(&self) -> Result<Wire, String> {
        let mut wire = Wire::new(broker::dial(&self.address, self.tls.as_ref()).await?);
        if let Some(password) = &self.password {
            let password = password.expose().as_bytes();
            let reply = match &self.user {
                Some(user) => wire.ask(&[b"AUTH", user.as_bytes(), password]).await?,
                None => wire.ask(&[b"AUTH", password]).await?,
            };
            fine("log in", reply)?;
        }
        if self.database > 0 {
            let number = self.database.to_string();
            let reply = wire.ask(&[b"SELECT", number.as_bytes()]).await?;
            fine("select the database", reply)?;
        }
        let reply = wire.ask(&[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()]).await?;
        wire.script = fine("load a script", reply)?.unwrap_or_default();
        Ok(wire)
    }

    async fn usable(&self, link: &mut Wire) -> bool {
        link.usable().await
    }

    async fn publish(
        &self,
        link: &mut Wire,
        batch: &[Outgoing],
        fates: &mut Fates,
    ) -> Result<(), String> {
        let mut out = Vec::new();
        for event in batch {
            self.add(&mut out, &link.script, event);
        }
        for index in 0..batch.len() {
            fates.out(index);
        }
        link.send(&out).await?;
        // Some errors are of the connection: then the next batch begins with a new one.
        let mut again = Ok(());
        for (index, event) in batch.iter().enumerate() {
            match link.reply().await? {
                Reply::List(found) => {
                    let [Some(id), Some(before)] = found.as_slice() else {
                        continue;
                    };
                    let known = if before == "1" {
                        ", which it had already"
                    } else {
                        ""
                    };
                    let stream = self.stream.name(event);
                    fates.applied(index, format!("stream {stream}, entry {id}{known}"));
                }
                Reply::Error(error) => {
                    let word = error.split(' ').next().unwrap_or_default();
                    let said = format!("the server says {error}");
                    if word == "WRONGTYPE" || error.contains("WRONGTYPE") {
                        let stream = self.stream.name(event);
                        fates.refused(index, format!("{stream} is not a stream"));
                    } else if NOT_DONE.contains(&word) {
                        fates.refused(index, said.clone());
                        again = Err(said);
                    } else {
                        again = Err(said);
                    }
                }
                // Nobody can tell.
                Reply::Text(_) => {}
            }
        }
        again
    }

    async fn look(&self, link: &mut Wire, what: &str) -> Vec<Finding> {
        match self.find(link, what).await {
            Ok(findings) => findings,
            Err(cause) => vec![Finding::fail(what, cause)],
        }
    }
}

impl Redis {
    async fn find(&self, link: &mut Wire, what: &str) -> Result<Vec<Finding>, String> {
        let mut findings = Vec::new();
        for stream in self.stream.samples() {
            let kind = link.ask(&[b"TYPE", stream.as_bytes()]).await?;
            let kind = fine("look at the stream", kind)?.unwrap_or_default();
            if !matches!(kind.as_str(), "stream" | "none") {
                let found = format!("{stream} is there and is no stream but a {kind}");
                let fix = "set `stream` to another name".to_owned();
                findings.push(Finding::fail(what, found).fix(fix));
            }
        }
        let mut said = String::new();
        for part in [b"persistence".as_slice(), b"memory"] {
            if let Reply::Text(Some(text)) = link.ask(&[b"INFO", part]).await? {
                said.push_str(&text);
            }
        }
        let value = |name: &str| {
            let mut lines = said.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        if value("aof_enabled") == Some("0") {
            let found = "the server keeps no append-only file: a crash loses events that it took";
            findings.push(Finding::warn(what, found).fix("set `appendonly yes` at the server"));
        }
        let bounded = value("maxmemory").is_some_and(|bytes| bytes != "0");
        let policy = value("maxmemory_policy").unwrap_or("noeviction");
        if bounded && policy != "noeviction" && !policy.starts_with("volatile") {
            let found = format!("the server may throw streams away when it is full ({policy})");
            findings.push(Finding::warn(what, found).fix("set `maxmemory-policy noeviction`"));
        }
        if findings.is_empty() {
            findings.push(Finding::pass(what, "the server takes the events"));
        }
        Ok(findings)
    }
}
