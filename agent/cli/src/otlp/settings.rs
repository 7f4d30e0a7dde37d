//! `[otlp]` in the settings file.

use std::time::Duration;

use contract::{Key, Node, NodeKind, Secret, Secrets, Section};

/// How often it is sent, unless the settings say otherwise.
const EVERY_SECONDS: u64 = 10;

/// Where traces and metrics go.
#[derive(Debug, Clone)]
pub(crate) struct OtlpSettings {
    /// Without the path of a signal.
    pub(super) endpoint: String,
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) traces: bool,
    pub(super) metrics: bool,
    pub(super) every: Duration,
    pub(super) http: http_client::Settings,
}

impl OtlpSettings {
    pub(super) fn is_encrypted(&self) -> bool {
        self.endpoint.starts_with("https://")
    }
}

/// Reads them. Without an `[otlp]` block nothing is sent.
pub(crate) fn read(mut section: Section<'_>, secrets: &dyn Secrets) -> Option<OtlpSettings> {
    let endpoint = section.required_text("endpoint", "`endpoint = \"http://127.0.0.1:4318\"`");
    let allowed = section.flag_or("allow_plain_http", false);
    section.word_or("protocol", &["http"], "http");
    let traces = section.flag_or("traces", true);
    let metrics = section.flag_or("metrics", true);
    let every = section.number_or("every_seconds", 1, 3_600, EVERY_SECONDS);
    let headers = headers(section.section_or_empty("headers"), secrets);
    let endpoint = endpoint.and_then(|text| address(&mut section, text, allowed));
    let encrypted = endpoint
        .as_ref()
        .is_none_or(|endpoint| endpoint.starts_with("https://"));
    let http = http_client::Settings::read(&mut section, secrets, encrypted);
    section.finish();
    Some(OtlpSettings {
        endpoint: endpoint?,
        headers: headers?,
        traces,
        metrics,
        every: Duration::from_secs(every),
        http,
    })
}

/// The address, without what would go in the clear.
fn address(section: &mut Section<'_>, text: &str, allowed: bool) -> Option<String> {
    let node = section.get("endpoint")?;
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let fix = Some("http://127.0.0.1:4318, a collector on this machine, or https".to_owned());
    let Some(host) = host.filter(|host| !host.is_empty() && !host.contains('@')) else {
        section.wrong(
            "endpoint",
            node,
            "is no http or https address without user and password".to_owned(),
            fix,
        );
        return None;
    };
    let here = ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        host == *name
            || host
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(':'))
    });
    if text.starts_with("http://") && !here && !allowed {
        let fix = Some("use https, or set allow_plain_http = true".to_owned());
        section.wrong(
            "endpoint",
            node,
            "would be sent unencrypted".to_owned(),
            fix,
        );
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}

/// Each is a secret, under a name that the receiver chose.
fn headers(mut section: Section<'_>, secrets: &dyn Secrets) -> Option<Vec<(String, Secret)>> {
    let path = section.path().to_owned();
    let problems = section.problems().clone();
    let mut headers = Vec::new();
    let mut whole = true;
    for (key, node) in section.free_entries() {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if key.name.is_empty() || !key.name.bytes().all(fits) {
            let found = format!("`{}` is no name of a header", key.name);
            let fix = "letters, digits, - and _, such as api-key".to_owned();
            section.wrong(&key.name, node, found, Some(fix));
            whole = false;
            continue;
        }
        let name = Key {
            name: "secret".to_owned(),
            ..key.clone()
        };
        let holder = Node {
            line: node.line,
            column: node.column,
            kind: NodeKind::Map(vec![(name, node.clone())]),
        };
        let mut one = Section::new(&holder, format!("{path}.{}", key.name), &problems);
        match one.secret("secret", secrets) {
            Some(value) => headers.push((key.name.clone(), value)),
            None => whole = false,
        }
    }
    whole.then_some(headers)
}

#[cfg(test)]
mod tests {
    use contract::{Problems, SecretPlace};

    use super::*;

    struct Named;

    impl Secrets for Named {
        fn read(&self, _: &SecretPlace) -> Result<Secret, String> {
            Ok(Secret::new("x"))
        }
    }

    fn check(text: &str) -> (Option<OtlpSettings>, Vec<String>) {
        let problems = Problems::new("lighterman.toml");
        let root = crate::toml_node::parse(text, &problems).unwrap();
        let settings = read(Section::new(&root, "otlp", &problems), &Named);
        let found = problems.take().iter().map(ToString::to_string).collect();
        (settings, found)
    }

    #[test]
    fn what_leaves_this_machine_is_encrypted() {
        for text in [
            "endpoint = \"http://127.0.0.1:4318/\"",
            "endpoint = \"http://localhost\"",
            "endpoint = \"https://otlp.example.com/otlp\"\nheaders = { Authorization = { env = \"A\" } }",
            "endpoint = \"http://c.example.com\"\nallow_plain_http = true\ntraces = false",
        ] {
            let (settings, found) = check(text);
            assert_eq!(found, Vec::<String>::new(), "{text}");
            assert!(!settings.unwrap().endpoint.ends_with('/'));
        }
        for (text, wanted) in [
            ("", "`endpoint` is missing"),
            (
                "endpoint = \"otlp.example.com\"",
                "is no http or https address",
            ),
            (
                "endpoint = \"http://a@127.0.0.1\"",
                "is no http or https address",
            ),
            ("endpoint = \"http://127.0.0.1.example.com\"", "unencrypted"),
            (
                "endpoint = \"http://localhost\"\nprotocol = \"grpc\"",
                "is not one of http",
            ),
            (
                "endpoint = \"http://localhost\"\nevery_seconds = 0",
                "from 1 to 3600",
            ),
            (
                "endpoint = \"http://localhost\"\nheaders = { \"a b\" = { env = \"A\" } }",
                "no name of a header",
            ),
            (
                "endpoint = \"http://localhost\"\ntrace = true",
                "did you mean `traces`?",
            ),
        ] {
            let (settings, found) = check(text);
            assert!(
                found.iter().any(|one| one.contains(wanted)),
                "{text}: {found:?}"
            );
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            drop(settings);
        }
    }
}
