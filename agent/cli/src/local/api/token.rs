//! `[[local.token]]` in the settings: who may ask the local API for what.

use std::collections::BTreeMap;

use contract::finding::nearest;
use contract::{EventType, Node, NodeKind, Secrets, Section};

use super::allowed::Allowed;
use super::kept::Kept;

/// Requests a minute, unless the settings say otherwise.
const PER_MINUTE: u32 = 120;
const PER_MINUTE_MAX: u64 = 60_000;
/// Tokens at most: each request is compared with all of them.
const TOKENS_MAX: usize = 64;
/// A shorter secret could be guessed.
const SECRET_CHARS_MIN: usize = 24;
const NAME_CHARS_MAX: usize = 64;

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    StatusRead,
    HeldRead,
    HeldWrite,
    TraceRead,
    ReplayWrite,
    DestinationWrite,
    PublishedRead,
}

impl Scope {
    const ALL: [Self; 7] = [
        Self::StatusRead,
        Self::HeldRead,
        Self::HeldWrite,
        Self::TraceRead,
        Self::ReplayWrite,
        Self::DestinationWrite,
        Self::PublishedRead,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::StatusRead => "status:read",
            Self::HeldRead => "held:read",
            Self::HeldWrite => "held:write",
            Self::TraceRead => "trace:read",
            Self::ReplayWrite => "replay:write",
            Self::DestinationWrite => "destination:write",
            Self::PublishedRead => "published:read",
        }
    }
}

/// A token of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it is called, in the log and the audit record.
    pub(super) name: String,
    pub(super) secret: Kept,
    pub(super) scopes: Vec<Scope>,
    /// The event types it may read; `None` = the settings do not say.
    pub(super) types: Option<Vec<EventType>>,
    /// Of these types only these fields.
    pub(super) fields: BTreeMap<EventType, Allowed>,
    pub(super) per_minute: u32,
}

impl Token {
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether something of an event type may be seen at all.
    pub(super) fn sees(&self, event_type: &str) -> bool {
        self.types
            .as_ref()
            .is_none_or(|types| types.iter().any(|known| known.name() == event_type))
    }

    /// The fields of a type that it may read.
    pub(super) fn allowed(&self, event_type: EventType) -> Allowed {
        let said = self.fields.get(&event_type).cloned();
        said.unwrap_or_else(|| Allowed::unless_private(event_type.schema()))
    }

    /// Whether it may read whatever stands in an event of a type, so that an API's answer, which may repeat
    /// what it was sent, tells it nothing that it may not know.
    pub(super) fn reads_all_of(&self, event_type: &str) -> bool {
        let known = event_type.parse::<EventType>();
        known.is_ok_and(|known| self.allowed(known).covers(known.schema()))
    }

    /// Who did something, for the record.
    pub(super) fn who(&self) -> String {
        format!("token:{}", self.name)
    }
}

/// Reads the tokens of `[local]`.
pub(crate) fn read(local: &mut Section<'_>, secrets: &dyn Secrets) -> Vec<Token> {
    let sections = local.sections("token");
    if sections.len() > TOKENS_MAX
        && let Some(node) = local.get("token")
    {
        let found = format!("there are more than {TOKENS_MAX} tokens");
        local.wrong("token", node, found, None);
    }
    let mut tokens: Vec<Token> = Vec::new();
    for mut section in sections {
        let (line, column) = section.place();
        let problems = section.problems().clone();
        let path = section.path().to_owned();
        let read = one(&mut section, secrets);
        section.finish();
        let Some(token) = read else {
            continue;
        };
        let wrong = |found: String, fix: &str| {
            problems.add(line, column, &path, found, Some(fix.to_owned()));
        };
        if tokens.iter().any(|known| known.name == token.name) {
            let found = format!("two tokens have the name `{}`", token.name);
            wrong(
                found,
                "give each its own name: the record says who did what by it",
            );
        }
        if let Some(same) = tokens.iter().find(|known| known.secret == token.secret) {
            let found = format!("its secret is that of the token `{}`", same.name);
            wrong(found, "make one: openssl rand -hex 32");
        }
        tokens.push(token);
    }
    tokens
}

fn one(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Token> {
    let name = name(section);
    let secret = secret(section, secrets);
    let scopes = scopes(section);
    let types = types(section);
    let fields = fields(section, types.as_deref());
    let rate = section.number("requests_per_minute", 1, PER_MINUTE_MAX);
    let rate = rate.and_then(|rate| u32::try_from(rate).ok());
    let per_minute = section.or("requests_per_minute", rate, PER_MINUTE);
    if scopes.contains(&Scope::PublishedRead) && types.is_none() {
        section.missing(
            "types",
            "`types = [\"inventory.availability.v1\"]`: what it may read",
        );
    }
    Some(Token {
        name: name?,
        secret: secret?,
        scopes,
        types,
        fields,
        per_minute,
    })
}

fn name(section: &mut Section<'_>) -> Option<String> {
    let name = section.required_text("name", "`name = \"reports\"`")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
        let node = section.get("name")?;
        let found = "a name has letters, digits, `-`, `_` and `.`, 64 at most";
        section.wrong("name", node, found.to_owned(), None);
        return None;
    }
    Some(name.to_owned())
}

fn secret(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Kept> {
    const EXAMPLE: &str = "`secret = { env = \"LIGHTERMAN_TOKEN\" }`";
    let secret = section.secret("secret", secrets);
    let Some(node) = section.get("secret") else {
        section.missing("secret", EXAMPLE);
        return None;
    };
    let text = secret.as_ref()?.expose();
    let found = if text.len() < SECRET_CHARS_MIN {
        format!("the secret is shorter than {SECRET_CHARS_MIN} characters: it could be guessed")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "the secret has a character that cannot stand in a header: blanks, umlauts".to_owned()
    } else {
        return secret.as_ref().map(Kept::of);
    };
    let fix = "make one: openssl rand -hex 32".to_owned();
    section.wrong("secret", node, found, Some(fix));
    None
}

fn scopes(section: &mut Section<'_>) -> Vec<Scope> {
    let texts = section.texts("scopes");
    let Some(node) = section.get("scopes") else {
        section.missing("scopes", "`scopes = [\"status:read\"]`");
        return Vec::new();
    };
    let known = Scope::ALL.map(Scope::name);
    let mut scopes = Vec::new();
    for text in texts.unwrap_or_default() {
        if let Some(scope) = Scope::ALL.into_iter().find(|scope| scope.name() == text) {
            scopes.push(scope);
        } else {
            let found = format!("there is no scope `{text}`");
            section.wrong("scopes", node, found, Some(guess(text, &known)));
        }
    }
    scopes
}

fn types(section: &mut Section<'_>) -> Option<Vec<EventType>> {
    let texts = section.texts("types")?;
    let node = section.get("types")?;
    let mut types = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(event_type) => types.push(event_type),
            Err(()) => wrong_type(section, "types", node, text),
        }
    }
    Some(types)
}

fn wrong_type(section: &Section<'_>, key: &str, node: &Node, text: &str) {
    let known = EventType::ALL.map(EventType::name);
    let found = format!("`{text}` is not an event type");
    section.wrong(key, node, found, Some(guess(text, &known)));
}

fn guess(text: &str, known: &[&str]) -> String {
    nearest(text, known.iter().copied()).map_or_else(
        || format!("one of {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    )
}

/// `fields = { "order.v1" = ["order_number", "lines.sku"] }`.
fn fields(section: &mut Section<'_>, types: Option<&[EventType]>) -> BTreeMap<EventType, Allowed> {
    let mut all = BTreeMap::new();
    let Some(mut fields) = section.section("fields") else {
        return all;
    };
    for (key, node) in fields.free_entries() {
        let Ok(event_type) = key.name.parse::<EventType>() else {
            wrong_type(&fields, &key.name, node, &key.name);
            continue;
        };
        if types.is_some_and(|types| !types.contains(&event_type)) {
            let found = "it stands not in `types`".to_owned();
            let fix = format!("add \"{event_type}\" to `types`, or leave this out");
            fields.wrong(&key.name, node, found, Some(fix));
        }
        let NodeKind::List(items) = &node.kind else {
            let found = format!(
                "expected a list of names of fields, found {}",
                node.type_name()
            );
            fields.wrong(&key.name, node, found, None);
            continue;
        };
        let mut allowed = Allowed::nothing();
        for item in items {
            let NodeKind::Text(path) = &item.kind else {
                let found = format!("expected the name of a field, found {}", item.type_name());
                fields.wrong(&key.name, item, found, None);
                continue;
            };
            if let Err((name, known)) = allowed.add(event_type.schema(), path) {
                let found = format!("`{path}`: there is no field `{name}`");
                fields.wrong(&key.name, item, found, Some(guess(&name, &known)));
            }
        }
        all.insert(event_type, allowed);
    }
    all
}

#[cfg(test)]
mod tests {
    use contract::{Problems, Secret, SecretPlace};

    use super::*;

    struct Twice;

    impl Secrets for Twice {
        fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
            match place {
                SecretPlace::Environment(name) => Ok(Secret::new(format!("{name}{name}"))),
                _ => Err("it is away".to_owned()),
            }
        }
    }

    const LONG: &str = "secret = { env = \"abcdefghijkl\" }";

    fn check(text: &str) -> (Vec<Token>, Vec<String>) {
        let problems = Problems::new("lighterman.toml");
        let root = crate::toml_node::parse(text, &problems).unwrap();
        let mut section = Section::new(&root, "local", &problems);
        let tokens = read(&mut section, &Twice);
        section.finish();
        let found = problems.take().iter().map(ToString::to_string).collect();
        (tokens, found)
    }

    #[test]
    fn a_token_is_read_and_its_secret_is_not_kept() {
        let (tokens, found) = check(&format!(
            "[[token]]\nname = \"reports\"\n{LONG}\nscopes = [\"published:read\", \"status:read\"]\n\
             types = [\"order.v1\"]\nfields = {{ \"order.v1\" = [\"order_number\", \"lines.sku\"] }}\n\
             requests_per_minute = 7"
        ));
        assert_eq!(found, Vec::<String>::new());
        let token = &tokens[0];
        assert!(token.secret.is("abcdefghijklabcdefghijkl") && !token.secret.is("abcdefghijkl"));
        assert!(!format!("{token:?}").contains("abcdefghijkl"));
        assert!(token.may(Scope::StatusRead) && !token.may(Scope::HeldRead));
        assert!(token.sees("order.v1") && !token.sees("product.v1"));
        assert_eq!(token.per_minute, 7);
        assert!(!token.reads_all_of("order.v1") && token.reads_all_of("product.v1"));
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said_with_what_to_do() {
        for (text, wanted) in [
            ("scopes = []", "required key `name` is missing"),
            ("name = \"a b\"\nscopes = []", "a name has letters"),
            (
                "name = \"a\"\nscopes = [\"status:reed\"]",
                "did you mean `status:read`?",
            ),
            ("name = \"a\"", "required key `scopes` is missing"),
            (
                "name = \"a\"\nscopes = [\"published:read\"]",
                "required key `types` is missing",
            ),
            (
                "name = \"a\"\nscopes = []\ntypes = [\"order.v2\"]",
                "did you mean `order.v1`?",
            ),
            (
                "name = \"a\"\nscopes = []\nfields = { \"order.v1\" = [\"ordernumber\"] }",
                "did you mean `order_number`?",
            ),
            (
                "name = \"a\"\nscopes = []\ntypes = []\nfields = { \"order.v1\" = [] }",
                "add \"order.v1\" to `types`",
            ),
            (
                "name = \"a\"\nscopes = []\nrequests_per_minute = 0",
                "from 1 to 60000",
            ),
            (
                "name = \"a\"\nscopes = []\nsecrets = 1",
                "unknown key `secrets`",
            ),
        ] {
            let (_, found) = check(&format!("[[token]]\n{LONG}\n{text}"));
            assert!(
                found.len() == 1 && found[0].contains(wanted),
                "{text}: {found:?}"
            );
        }
        for (secret, wanted) in [
            ("", "required key `secret` is missing"),
            ("secret = { env = \"short\" }", "could be guessed"),
            (
                "secret = { env = \"with blanks in it\" }",
                "cannot stand in a header",
            ),
            ("secret = { file = \"x\" }", "it is away"),
        ] {
            let (_, found) = check(&format!("[[token]]\nname = \"a\"\nscopes = []\n{secret}"));
            assert!(
                found.len() == 1 && found[0].contains(wanted),
                "{secret}: {found:?}"
            );
        }
        let two = format!("[[token]]\nname = \"a\"\nscopes = []\n{LONG}\n");
        let (_, found) = check(&format!("{two}{two}"));
        assert!(
            found.len() == 2
                && found[0].contains("have the name `a`")
                && found[1].contains("its secret is that"),
            "{found:?}"
        );
    }
}
