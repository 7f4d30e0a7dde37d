//! Who we are at the server.

use std::path::PathBuf;

use contract::{Node, Secret, Secrets, Section};

/// Who we are at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    /// A login of the server's own.
    Sql { user: String, password: Secret },
    /// A token of Azure's directory.
    Token(Secret),
    /// The same, in a file that somebody keeps new.
    TokenFile(PathBuf),
    /// A Windows account: the one the agent runs as, or another by its password.
    Windows(Option<(String, Secret)>),
}

impl Auth {
    /// The user's name, where the settings have one.
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::Sql { user, .. } | Self::Windows(Some((user, _))) => Some(user),
            Self::Token(_) | Self::TokenFile(_) | Self::Windows(None) => None,
        }
    }

    pub(crate) fn is_token(&self) -> bool {
        matches!(self, Self::Token(_) | Self::TokenFile(_))
    }
}

/// Who we are. Exactly one of the three ways.
pub(super) fn auth(section: &mut Section<'_>, secrets: &dyn Secrets) -> Option<Auth> {
    let user = section.text("user");
    let has_password = section.get("password");
    let password = section.secret("password", secrets);
    let has_token = section.get("token");
    let token = section.secret("token", secrets);
    let token_file = section.text("token_file");
    let has_file = section.get("token_file");
    let is_integrated = section.get("integrated");
    let integrated = section.flag_or("integrated", false);
    if (has_password.is_some() && password.is_none()) || (has_token.is_some() && token.is_none()) {
        return None;
    }
    let both = has_token.is_some() && has_file.is_some();
    if let Some(node) = has_token.or(has_file)
        && (integrated || user.is_some() || password.is_some() || both)
    {
        let found = "a token already says who we are".to_owned();
        let fix =
            "leave out user, password and integrated, and take token or token_file".to_owned();
        section.wrong("token", node, found, Some(fix));
        return None;
    }
    if has_file.is_some() {
        return token_file.map(|file| Auth::TokenFile(PathBuf::from(file)));
    }
    if let Some(token) = token {
        return Some(Auth::Token(token));
    }
    if integrated {
        return windows(section, is_integrated?, user, password);
    }
    let Some(user) = user else {
        section.missing(
            "user",
            "`user = \"lighterman\"`, or `token` or `integrated` in its place",
        );
        return None;
    };
    let Some(password) = password else {
        section.missing("password", "`password = { env = \"ERP_PASSWORD\" }`");
        return None;
    };
    let user = user.to_owned();
    Some(Auth::Sql { user, password })
}

/// A Windows account, where the system has them: the client's way to log in with one needs Windows on our
/// side too.
fn windows(
    section: &mut Section<'_>,
    node: &Node,
    user: Option<&str>,
    password: Option<Secret>,
) -> Option<Auth> {
    if !cfg!(windows) {
        let found = "a Windows account can log in only where the agent itself runs on Windows";
        let fix = "set user and password of a SQL login (the server must allow both ways to log in), \
                   or token for Azure";
        section.wrong("integrated", node, found.to_owned(), Some(fix.to_owned()));
        return None;
    }
    match (user, password) {
        (None, None) => Some(Auth::Windows(None)),
        (Some(user), Some(password)) => Some(Auth::Windows(Some((user.to_owned(), password)))),
        (user, _) => {
            let missing = if user.is_some() { "password" } else { "user" };
            let found = format!(
                "needs user and password, or neither for the account that the agent runs as: \
                 `{missing}` is missing"
            );
            section.wrong("integrated", node, found, None);
            None
        }
    }
}
