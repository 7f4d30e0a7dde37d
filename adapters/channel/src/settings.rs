//! A channel's block in the settings file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::text::{SAVE_AS, decode};
use contract::{
    BuildDestination, Destination, DestinationTraits, Finding, Key, Node, NodeKind, Secrets,
    Section,
};
use mappings::channel::{self, Answers, Channel, Declared, Given, SettingKind};

use crate::api::Api;
use crate::refreshed::Refreshed;

/// How much of a channel's own limits is used.
#[derive(Clone, Copy)]
struct Own {
    requests: Option<u64>,
    events: Option<u64>,
    timeout: Duration,
}

/// Reads a destination's own settings; see [`crate::EXAMPLE`].
pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<BuildDestination> {
    let allowed = section.flag_or("allow_plain_http", false);
    let own = Own {
        requests: section.number("requests_max", 1, 64),
        events: section.number("batch_events_max", 1, 10_000),
        timeout: Duration::from_secs(section.number_or("timeout_seconds", 1, 600, 60)),
    };
    let skus = crate::skus::read(section);
    let mut files = Vec::new();
    // Known keys, whatever becomes of the file that says more about them.
    section.get("settings");
    let Some((key, file, text)) = text(section) else {
        http_client::Settings::read(section, secrets, true);
        return None;
    };
    let node = section.get(key)?;
    let loaded = channel::declared(&file, &text).and_then(|declared| {
        let given = answers(section, &declared, secrets, &mut files);
        // What has no answer was said; what else is wrong with the file is said all the same.
        match given {
            Some(given) => channel::load(&file, &text, &Answers::new(declared, given)).map(Some),
            None => channel::load(&file, &text, &Answers::open(declared)).map(|_| None),
        }
    });
    let channel = match loaded {
        Ok(channel) => channel,
        Err(findings) => {
            for finding in findings
                .iter()
                .filter(|finding| finding.level == contract::Level::Fail)
            {
                section.wrong(key, node, finding.to_string(), None);
            }
            None
        }
    };
    let encrypted = channel
        .as_ref()
        .is_none_or(|channel| channel.base().starts_with("https://"));
    let http = http_client::Settings::read(section, secrets, encrypted);
    let channel = channel?;
    section.here("requests_max", channel.concurrent);
    section.here("batch_events_max", channel.batch());
    if !address(section, &channel, allowed) {
        return None;
    }
    let channel = Arc::new(channel.with_skus(skus));
    let (file, text): (Arc<str>, Arc<str>) = (Arc::from(file), Arc::from(text));
    Some(Arc::new(move |name| {
        let client = http.client(encrypted, own.timeout)?;
        let refreshed = Refreshed::new(name, channel.refresh_token(), &files);
        Ok(Arc::new(Api::new(
            name,
            Arc::clone(&channel),
            (Arc::clone(&file), Arc::clone(&text)),
            client,
            refreshed,
            traits(&channel, own),
        )) as Arc<dyn Destination>)
    }))
}

fn traits(channel: &Channel, own: Own) -> DestinationTraits {
    let fewer = |own: Option<u64>, theirs: usize| {
        own.and_then(|own| usize::try_from(own).ok())
            .map_or(theirs, |own| own.min(theirs))
    };
    DestinationTraits {
        batch_events_max: fewer(own.events, channel.batch()),
        batch_bytes_max: channel.bytes,
        requests_max: fewer(own.requests, channel.concurrent),
        resend: channel.resend,
        request_timeout: own.timeout,
        limits: channel.limits,
        accepted_max: channel.accepted.0,
        accepted_poll: channel.accepted.1,
    }
}

/// An answer as the settings' file would say it.
fn toml(given: &Given) -> String {
    let text = |text: &String| serde_json::Value::from(text.as_str()).to_string();
    match given {
        Given::Text(one) => text(one),
        Given::Number(number) => number.to_string(),
        Given::Flag(flag) => flag.to_string(),
        Given::Map(map) => {
            let pairs = map
                .iter()
                .map(|(ours, theirs)| format!("{} = {}", text(ours), text(theirs)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Given::List(list) => {
            format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(", "))
        }
    }
}

/// No file that a person writes is larger.
const BYTES_MAX: u64 = 4 << 20;

/// The text of a file that a person wrote.
///
/// # Errors
/// Why there is none, and what to do.
pub(crate) fn read_text(path: &str, bytes_max: u64) -> Result<String, (String, String)> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let fix = "see that the name is right, relative to the settings' folder, and the file may be read";
        return Err((format!("read {path}: {error}"), fix.to_owned()));
    }
    if bytes.len() as u64 > bytes_max {
        let fix = "see that it is the file that is meant";
        return Err((
            format!("{path} is larger than {bytes_max} bytes"),
            fix.to_owned(),
        ));
    }
    decode(&bytes).map_err(|not| {
        let found = format!("{path}:{}:{}: {}", not.line, not.column, not.found);
        (found, SAVE_AS.to_owned())
    })
}

/// The file: a shipped one or a person's own.
fn text(section: &mut Section<'_>) -> Option<(&'static str, String, String)> {
    let (shipped, own) = (section.text("channel"), section.text("file"));
    match (shipped, own) {
        (Some(name), None) => match channel::shipped(name) {
            Ok((file, text)) => Some(("channel", file, text.to_owned())),
            Err(found) => {
                let node = section.get("channel")?;
                section.wrong("channel", node, found, None);
                None
            }
        },
        (None, Some(path)) => match read_text(path, BYTES_MAX) {
            Ok(text) => Some(("file", path.to_owned(), text)),
            Err((found, fix)) => {
                let node = section.get("file")?;
                section.wrong("file", node, found, Some(fix));
                None
            }
        },
        _ => {
            section.missing(
                "channel",
                "exactly one of `channel = \"vendure\"` and `file = \"channels/my-shop.yaml\"`",
            );
            None
        }
    }
}

/// The settings' answers; nothing where some are missing or wrong. `files` gets the secrets that came from files.
fn answers(
    section: &mut Section<'_>,
    declared: &[Declared],
    secrets: &dyn Secrets,
    files: &mut Vec<(String, PathBuf)>,
) -> Option<BTreeMap<String, Given>> {
    let mut given = BTreeMap::new();
    let mut whole = true;
    let mut asked = section.section_or_empty("settings");
    for one in declared {
        if let Some(default) = &one.default {
            asked.here(&one.name, toml(default));
        }
    }
    let entries: &[(Key, Node)] = asked.free_entries();
    let path = |name: &str| format!("settings.{name}");
    for (key, node) in entries {
        let Some(one) = declared.iter().find(|one| one.name == key.name) else {
            let names: Vec<&str> = declared.iter().map(|one| one.name.as_str()).collect();
            let near = contract::finding::nearest(&key.name, names.iter().copied());
            let fix = near.map_or_else(
                || format!("the channel asks for: {}", names.join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            section.wrong(
                &path(&key.name),
                node,
                "is no setting of the channel".to_owned(),
                Some(fix),
            );
            whole = false;
            continue;
        };
        let found = if one.kind == SettingKind::Secret {
            secret(section, key, node, secrets, files)
        } else {
            let found = Given::of(node, one.kind);
            if found.is_none() {
                section.wrong(
                    &path(&key.name),
                    node,
                    format!("does not fit what the channel asks: {}", one.ask),
                    Some(format!("as in {}", example(one))),
                );
            }
            found
        };
        match found {
            Some(found) => {
                given.insert(key.name.clone(), found);
            }
            None => whole = false,
        }
    }
    for one in declared
        .iter()
        .filter(|one| one.required && !entries.iter().any(|(key, _)| key.name == one.name))
    {
        let example = example(one);
        section.missing(&path(&one.name), &format!("{example}: {}", one.ask));
        whole = false;
    }
    whole.then_some(given)
}

/// How an answer to a question is written.
fn example(one: &Declared) -> String {
    match one.kind {
        SettingKind::Secret => format!("`settings.{} = {{ env = \"NAME\" }}`", one.name),
        SettingKind::Map => format!("`settings.{} = {{ MAIN = \"1\" }}`", one.name),
        SettingKind::Number => format!("`settings.{} = 0`", one.name),
        SettingKind::Flag => format!("`settings.{} = false`", one.name),
        SettingKind::List => format!("`settings.{} = [\"..\"]`", one.name),
        SettingKind::Text | SettingKind::Url => format!("`settings.{} = \"..\"`", one.name),
    }
}

/// A secret under a name that the channel chose.
fn secret(
    section: &Section<'_>,
    key: &Key,
    node: &Node,
    secrets: &dyn Secrets,
    files: &mut Vec<(String, PathBuf)>,
) -> Option<Given> {
    let name = Key {
        name: "secret".to_owned(),
        ..key.clone()
    };
    let holder = Node {
        line: node.line,
        column: node.column,
        kind: NodeKind::Map(vec![(name, node.clone())]),
    };
    let mut one = Section::new(
        &holder,
        format!("settings.{}", key.name),
        section.problems(),
    );
    let secret = one.secret("secret", secrets)?;
    if let NodeKind::Map(place) = &node.kind {
        let file = place.iter().find(|(key, _)| key.name == "file");
        if let Some((
            _,
            Node {
                kind: NodeKind::Text(file),
                ..
            },
        )) = file
        {
            files.push((secret.expose().to_owned(), PathBuf::from(file)));
        }
    }
    Some(Given::Text(secret.expose().to_owned()))
}

/// Whether events may be sent to the address at all.
fn address(section: &Section<'_>, channel: &Channel, allowed: bool) -> bool {
    let base = channel.base();
    let wrong = |found: &str, fix: &str| {
        let (line, column) = section.place();
        section.problems().push(
            Finding::fail("settings", found.to_owned()).fix(fix),
            line,
            column,
        );
        false
    };
    let Ok(url) = reqwest::Url::parse(&base) else {
        return wrong("the channel's address is none", "https://shop.example.com");
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return wrong(
            "the channel's address is no http or https address",
            "https://shop.example.com",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong(
            "the channel's address must not hold a user or password",
            "use the channel's own settings for them",
        );
    }
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() == "http" && !loopback && !allowed {
        return wrong(
            "events and credentials would be sent unencrypted",
            "use https, or set allow_plain_http = true",
        );
    }
    true
}
