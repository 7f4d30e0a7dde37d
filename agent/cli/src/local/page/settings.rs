//! Who may see the status page: `[[local.user]]`, and what a reverse proxy says in `[local]`.

use axum::http::HeaderName;
use contract::{Secret, Secrets, Section};

/// Users at most: a page of a few people, not a directory.
const USERS_MAX: usize = 50;
const NAME_MAX: usize = 64;
/// Shorter secrets can be guessed however slowly one has to guess.
const SECRET_MIN: usize = 12;
const SECRET_MAX: usize = 1_024;

/// What a visitor may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Look at everything.
    Viewer,
    /// And retry, drop, pause and resume.
    Operator,
}

impl Role {
    const WORDS: [&'static str; 2] = ["viewer", "operator"];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator]
            .into_iter()
            .find(|role| role.word() == word)
    }
}

/// A person who logs in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) secret: Secret,
    pub(super) role: Role,
}

/// In which headers a reverse proxy says who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProxyHeaders {
    pub(super) user: HeaderName,
    pub(super) role: Option<HeaderName>,
}

/// Who may see the page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageSettings {
    pub(super) users: Vec<User>,
    pub(super) proxy: Option<ProxyHeaders>,
}

impl PageSettings {
    /// Whether anybody can.
    pub(super) fn is_for_somebody(&self) -> bool {
        !self.users.is_empty() || self.proxy.is_some()
    }
}

/// Reads them.
pub(crate) fn read(
    section: &mut Section<'_>,
    behind_proxy: bool,
    secrets: &dyn Secrets,
) -> PageSettings {
    let user = header(section, "proxy_user_header", behind_proxy);
    let role = header(section, "proxy_role_header", behind_proxy);
    if let (None, Some(node)) = (&user, section.get("proxy_role_header"))
        && section.get("proxy_user_header").is_none()
    {
        let found = "there is no proxy_user_header: nobody would have the role".to_owned();
        let fix = Some("proxy_user_header = \"X-Forwarded-User\"".to_owned());
        section.wrong("proxy_role_header", node, found, fix);
    }
    let sections = section.sections("user");
    if sections.len() > USERS_MAX
        && let Some(node) = section.get("user")
    {
        section.wrong("user", node, format!("more than {USERS_MAX} users"), None);
    }
    let mut users: Vec<User> = Vec::new();
    for mut one in sections.into_iter().take(USERS_MAX) {
        let user = read_user(&mut one, secrets);
        if let Some(user) = user {
            match (
                users.iter().any(|known| known.name == user.name),
                one.get("name"),
            ) {
                (true, Some(node)) => {
                    let found = format!("two users have the name `{}`", user.name);
                    one.wrong("name", node, found, None);
                }
                _ => users.push(user),
            }
        }
        one.finish();
    }
    PageSettings {
        users,
        proxy: user.map(|user| ProxyHeaders { user, role }),
    }
}

fn header(section: &mut Section<'_>, key: &'static str, behind_proxy: bool) -> Option<HeaderName> {
    let text = section.text(key)?;
    let node = section.get(key)?;
    if !behind_proxy {
        let found = "who asks is believed from a header only behind a reverse proxy".to_owned();
        let fix = "behind_proxy = true, where a proxy takes that header out of what clients send";
        section.wrong(key, node, found, Some(fix.to_owned()));
        return None;
    }
    let name = text.parse::<HeaderName>().ok();
    if name.is_none() {
        let fix = Some(format!("{key} = \"X-Forwarded-User\""));
        section.wrong(key, node, format!("`{text}` is no name of a header"), fix);
    }
    name
}

fn read_user(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<User> {
    let name = section.required_text("name", "`name = \"anna\"`");
    let role = section.word("role", &Role::WORDS);
    let role = section.or("role", role, Role::Viewer.word());
    if section.get("secret").is_none() {
        section.missing("secret", "`secret = { file = \"secrets/anna\" }`");
    }
    let secret = section.secret("secret", secrets);
    if let (Some(name), Some(node)) = (name, section.get("name"))
        && !is_name(name)
    {
        let found = format!(
            "a name has 1 to {NAME_MAX} characters, no control characters, and no blank at its ends"
        );
        section.wrong("name", node, found, None);
        return None;
    }
    let secret = secret?;
    let length = secret.expose().trim().chars().count();
    if let Some(node) = section.get("secret")
        && !(SECRET_MIN..=SECRET_MAX).contains(&length)
    {
        let found = format!("a secret has {SECRET_MIN} to {SECRET_MAX} characters");
        let fix = Some("openssl rand -base64 24 makes a good one".to_owned());
        section.wrong("secret", node, found, fix);
        return None;
    }
    Some(User {
        name: name?.to_owned(),
        secret,
        role: Role::of(role)?,
    })
}

/// Whether it may be somebody's name.
pub(super) fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    (1..=NAME_MAX).contains(&length) && name.trim() == name && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use contract::{Problems, SecretPlace};

    use super::*;

    struct Named;

    impl Secrets for Named {
        fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
            match place {
                SecretPlace::Environment(name) => Ok(Secret::new(name)),
                other => Err(format!("{} is not there", other.parts().1)),
            }
        }
    }

    fn check(text: &str, behind_proxy: bool) -> (PageSettings, Vec<String>) {
        let problems = Problems::new("lighterman.toml");
        let root = crate::toml_node::parse(text, &problems).unwrap();
        let mut section = Section::new(&root, "local", &problems);
        let settings = read(&mut section, behind_proxy, &Named);
        section.finish();
        let found = problems.take().iter().map(ToString::to_string).collect();
        (settings, found)
    }

    #[test]
    fn users_and_headers_are_read() {
        let (settings, found) = check("", false);
        assert_eq!(found, Vec::<String>::new());
        assert!(!settings.is_for_somebody());
        let (settings, found) = check(
            "[[user]]\nname = \"anna\"\nsecret = {env = \"correct-horse-battery\"}\n\
             role = \"operator\"\n[[user]]\nname = \"desk\"\nsecret = {env = \"another-long-one\"}",
            false,
        );
        assert_eq!(found, Vec::<String>::new());
        let [anna, desk] = settings.users.as_slice() else {
            unreachable!("{settings:?}");
        };
        assert_eq!((anna.role, desk.role), (Role::Operator, Role::Viewer));
        assert_eq!(anna.secret.expose(), "correct-horse-battery");
        let headers = "proxy_user_header = \"X-Forwarded-User\"\nproxy_role_header = \"X-Role\"";
        let (settings, found) = check(headers, true);
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(settings.proxy.unwrap().user.as_str(), "x-forwarded-user");
    }

    #[test]
    fn what_would_let_the_wrong_ones_in_is_refused() {
        let user = |rest: &str| format!("[[user]]\nname = \"anna\"\n{rest}");
        let long = "secret = {env = \"correct-horse-battery\"}";
        for (text, behind_proxy, wanted) in [
            (
                user("secret = {env = \"short\"}"),
                false,
                "12 to 1024 characters",
            ),
            (user(""), false, "`secret` is missing"),
            (user(&format!("{long}\nrole = \"admin\"")), false, "viewer"),
            (
                user(&format!("{long}\nroll = \"viewer\"")),
                false,
                "unknown key `roll`",
            ),
            (
                format!("[[user]]\nname = \" anna\"\n{long}"),
                false,
                "no blank at its ends",
            ),
            (
                format!("{}\n{}", user(long), user(long)),
                false,
                "two users have the name `anna`",
            ),
            (
                "proxy_user_header = \"X-Forwarded-User\"".to_owned(),
                false,
                "behind_proxy = true",
            ),
            (
                "proxy_role_header = \"X-Role\"".to_owned(),
                true,
                "there is no proxy_user_header",
            ),
            (
                "proxy_user_header = \"not a header\"".to_owned(),
                true,
                "no name of a header",
            ),
        ] {
            let (_, found) = check(&text, behind_proxy);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(wanted), "{text}: {found:?}");
        }
    }
}
