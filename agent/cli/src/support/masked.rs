//! What is taken out of a bundle: texts of which nobody knows what they say, and who and where we are.

use jiff::Timestamp;
use serde_json::Value;

use crate::audit;

/// Texts under these names are ours, the settings' or a table's name. All others may repeat what an event or an
/// API says.
const KNOWN: &[&str] = &[
    "alarm",
    "at",
    "cause",
    "checkpoint",
    "code",
    "destination",
    "destinations",
    "digest",
    "event_type",
    "file",
    "hash",
    "is",
    "kind",
    "level",
    "mode",
    "name",
    "origin",
    "partly",
    "position",
    "previous",
    "problem",
    "resync_asked",
    "rule",
    "sentence",
    "source",
    "sources",
    "sql",
    "stage",
    "state",
    "subject",
    "table",
    "tables",
    "type",
    "types",
    "unit",
    "version",
    "was",
    "what",
    "who",
    "worst",
];

/// Which texts of a value stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    None,
    /// It, or those of a list; what stands in an object of it is judged by its own name.
    Its,
    /// All within it: we wrote it.
    All,
}

/// Takes texts out of a value that are not known to be harmless: how many.
pub(super) fn known(value: &mut Value) -> usize {
    take_out(value, Stay::None)
}

fn take_out(value: &mut Value, stay: Stay) -> usize {
    match value {
        Value::String(text) => {
            if stay != Stay::None || text.is_empty() || text.parse::<Timestamp>().is_ok() {
                return 0;
            }
            *text = format!("({} characters left out)", text.chars().count());
            1
        }
        Value::Array(items) => items.iter_mut().map(|item| take_out(item, stay)).sum(),
        Value::Object(entries) => entries
            .iter_mut()
            .map(|(name, value)| {
                let stay = match name.as_str() {
                    _ if stay == Stay::All => Stay::All,
                    "settings" | "rules" => Stay::All,
                    name if KNOWN.contains(&name) => Stay::Its,
                    _ => Stay::None,
                };
                take_out(value, stay)
            })
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Names that say nothing of a person or a place.
const NOBODY: [&str; 6] = [
    "root",
    "lighterman",
    "localhost",
    "administrator",
    "postgres",
    "mysql",
];
/// Shorter names stand in other words, too.
const NAME_MIN: usize = 4;

/// Takes out who works here and what this machine is called.
pub(super) struct Scrubber(Vec<(String, &'static str)>);

impl Scrubber {
    /// For this machine and whoever gives the command.
    pub(super) fn of_here() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let home = variable("HOME").or_else(|| variable("USERPROFILE"));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.or_else(|| variable("COMPUTERNAME"));
        let people = [Some(audit::person()), variable("USER"), variable("LOGNAME")];
        Self::new(home, host, people.into_iter().flatten())
    }

    fn new(
        home: Option<String>,
        host: Option<String>,
        people: impl Iterator<Item = String>,
    ) -> Self {
        let mut all = Vec::new();
        let long = |text: &str| text.chars().count() >= NAME_MIN;
        if let Some(home) = home.filter(|home| long(home)) {
            all.push((home, "~"));
        }
        let named = |name: &String| long(name) && !NOBODY.contains(&name.to_lowercase().as_str());
        let host = host.map(|host| host.trim().to_owned()).filter(named);
        all.extend(host.map(|host| (host, "<host>")));
        all.extend(people.filter(named).map(|name| (name, "<user>")));
        Self(all)
    }

    /// The text without them, without logins in addresses and without addresses of mail.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut text = without_mail(&without_logins(text));
        for (name, instead) in &self.0 {
            text = replaced(&text, name, instead);
        }
        text
    }
}

/// Replaces a name where it is not part of a longer word.
fn replaced(text: &str, name: &str, instead: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    while let Some(at) = rest.find(name) {
        let (before, found) = rest.split_at(at);
        let (found, after) = found.split_at(name.len());
        made.push_str(before);
        let begins = made
            .chars()
            .next_back()
            .is_none_or(|letter| !is_word(letter))
            || !name.starts_with(is_word);
        let ends = after.chars().next().is_none_or(|letter| !is_word(letter));
        made.push_str(if begins && ends { instead } else { found });
        rest = after;
    }
    made.push_str(rest);
    made
}

/// `anna@example.com` as `<address>`.
fn without_mail(text: &str) -> String {
    let of_box = |letter: char| letter.is_alphanumeric() || "._%+-".contains(letter);
    let of_host = |letter: char| letter.is_alphanumeric() || ".-".contains(letter);
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('@') {
        let mailbox = before.trim_end_matches(of_box);
        let host = after.trim_start_matches(of_host);
        if mailbox.len() < before.len() && host.len() < after.len() {
            made.push_str(mailbox);
            made.push_str("<address>");
            rest = host;
        } else {
            made.push_str(before);
            made.push('@');
            rest = after;
        }
    }
    made.push_str(rest);
    made
}

/// `https://user:password@host` without what stands before the `@`.
fn without_logins(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        made.push_str(before);
        let end =
            after.find(|letter: char| letter.is_whitespace() || "/\"'\\?#<>".contains(letter));
        let authority = after.get(..end.unwrap_or(after.len())).unwrap_or(after);
        match authority.rfind('@') {
            Some(at) => {
                made.push_str("********");
                rest = after.get(at..).unwrap_or_default();
            }
            None => rest = after,
        }
    }
    made.push_str(rest);
    made
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_of_mail_are_nobodys_business() {
        let check = |text: &str, wanted: &str| assert_eq!(without_mail(text), wanted);
        check(
            r#"["Anna <anna.b@example.com>","it@example.com"]"#,
            r#"["Anna <<address>>","<address>"]"#,
        );
        check("@daily, 5 @ 3, a@", "@daily, 5 @ 3, a@");
        check("x@y@z", "<address>@z");
    }

    #[test]
    fn only_texts_that_are_known_to_be_ours_stay() {
        let mut value = json!({
            "running": true,
            "pid": 7,
            "destinations": [{ "name": "shop", "last_cause": "refused: anna@example.com", "held": 2,
                "paused": { "until": "2026-11-27T14:30:00Z" } }],
            "held": [{ "by": "shop", "key": "ACME|100XLG", "reason": "who is this?" }],
            "sentences": ["3 are held: 100XLG"],
            "state": { "note": "Meier" },
            "details": { "settings": { "source.erp.host": "\"db2\"" }, "which": { "key": "4711", "cause": "guard" } },
        });
        assert_eq!(known(&mut value), 7);
        let shown = value.to_string();
        for gone in ["anna", "100XLG", "who is", "Meier", "4711"] {
            assert!(!shown.contains(gone), "{shown}");
        }
        for kept in ["shop", "14:30", "db2", "guard", "\"held\":2", "\"pid\":7"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
    }

    #[test]
    fn who_and_where_we_are_is_taken_out_and_other_words_stay() {
        let people = ["anna".to_owned(), "root".to_owned(), "ab".to_owned()];
        let scrubber = Scrubber::new(
            Some("/home/anna".to_owned()),
            Some("erp-box\n".to_owned()),
            people.into_iter(),
        );
        let check = |text: &str, wanted: &str| assert_eq!(scrubber.scrub(text), wanted);
        check("/home/anna/site by anna", "~/site by <user>");
        check("annals of hannah, root, ab", "annals of hannah, root, ab");
        check("erp-box: erp-box2 os:anna", "<host>: erp-box2 os:<user>");
        check(
            "get https://u:p%40x@shop.example.com/a@b and http://shop.example.com",
            "get https://********@shop.example.com/<address> and http://shop.example.com",
        );
        check("://", "://");
    }
}
