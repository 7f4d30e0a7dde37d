//! `auth:` of a channel's file.

use std::time::Duration;

use contract::{NodeKind, Section};

use super::formula::Formula;
use super::load::duration;
use super::load_steps::Steps;
use super::load_template::Reader;
use super::model::{Auth, AuthKind, Csrf, Grant, HeaderValue, Jwt, Login, OAuth1, OAuth2};

/// What a login call may hand on, beside the token.
const TAKEN: &[&str] = &["token", "user", "session"];
const KINDS: &[&str] = &["basic", "bearer", "api_key", "login", "oauth2", "oauth1"];

impl Steps<'_> {
    /// `auth:`; `auth: none` says that there is none.
    pub(super) fn auth(&self, top: &mut Section<'_>) -> Option<Auth> {
        let Some(node) = top.get("auth") else {
            top.missing(
                "auth",
                "`auth: none`, or one of basic, bearer, api_key, login, oauth2, oauth1",
            );
            return None;
        };
        if matches!(&node.kind, NodeKind::Text(text) if text == "none") {
            return Some(Auth {
                kind: AuthKind::None,
                csrf: None,
            });
        }
        let mut section = top.section("auth")?;
        let present: Vec<&str> = KINDS
            .iter()
            .copied()
            .filter(|kind| section.get(kind).is_some())
            .collect();
        let kind = match present.as_slice() {
            ["basic"] => section.section("basic").and_then(|mut one| {
                let (user, password) =
                    (self.must(&mut one, "user"), self.must(&mut one, "password"));
                one.finish();
                Some(AuthKind::Basic {
                    user: user?,
                    password: password?,
                })
            }),
            ["bearer"] => self.must(&mut section, "bearer").map(AuthKind::Bearer),
            ["api_key"] => section.section("api_key").and_then(|one| self.key(one)),
            ["login"] => section
                .section("login")
                .and_then(|one| self.login(one))
                .map(|login| AuthKind::Login(Box::new(login))),
            ["oauth2"] => section
                .section("oauth2")
                .and_then(|one| self.oauth2(one))
                .map(|auth| AuthKind::OAuth2(Box::new(auth))),
            ["oauth1"] => section.section("oauth1").and_then(|mut one| {
                let auth = OAuth1 {
                    consumer_key: self.must(&mut one, "consumer_key")?,
                    consumer_secret: self.must(&mut one, "consumer_secret")?,
                    token: self.may(&mut one, "token"),
                    token_secret: self.may(&mut one, "token_secret"),
                    realm: self.may(&mut one, "realm"),
                };
                one.finish();
                Some(AuthKind::OAuth1(Box::new(auth)))
            }),
            [] => Some(AuthKind::None),
            _ => {
                top.wrong(
                    "auth",
                    node,
                    "expected one way to log in".to_owned(),
                    Some(format!("one of {}", KINDS.join(", "))),
                );
                None
            }
        };
        let csrf = section.section("csrf").and_then(|mut one| {
            let request = self.reader.request(&mut one, false);
            let header = one
                .text("header")
                .unwrap_or("x-csrf-token")
                .to_ascii_lowercase();
            let refused = self.reader.matches(&mut one, "refused");
            one.finish();
            Some(Csrf {
                request: request?,
                header,
                refused,
            })
        });
        section.finish();
        Some(Auth { kind: kind?, csrf })
    }

    fn must(&self, section: &mut Section<'_>, key: &'static str) -> Option<Formula> {
        if section.get(key).is_none() {
            section.missing(key, &format!("`{key}: setting.{key}`"));
        }
        self.may(section, key)
    }

    fn may(&self, section: &mut Section<'_>, key: &'static str) -> Option<Formula> {
        let node = section.get(key)?;
        self.reader
            .formula(node, &format!("{}.{key}", section.path()))
    }

    fn key(&self, mut section: Section<'_>) -> Option<AuthKind> {
        let (header, query) = (
            section.text("header").map(str::to_ascii_lowercase),
            section.text("query").map(str::to_owned),
        );
        let value = self.must(&mut section, "value");
        if header.is_some() == query.is_some() {
            section.missing(
                "header",
                "exactly one of `header: x-api-key` and `query: key`",
            );
        }
        section.finish();
        value.map(|value| AuthKind::Key {
            header,
            query,
            value,
        })
    }

    /// The reader of what goes with each request, once there is a token.
    fn after(&self) -> Reader<'_> {
        let mut reader = self.reader.clone();
        reader.allowed.given = TAKEN;
        reader
    }

    fn bearer(&self) -> Vec<(String, HeaderValue)> {
        let formula = Formula::read("'Bearer ' || token", &self.after().allowed);
        let value = formula.map(|formula| HeaderValue {
            formula,
            base64: None,
        });
        value
            .map(|value| ("authorization".to_owned(), value))
            .into_iter()
            .collect()
    }

    fn login(&self, mut section: Section<'_>) -> Option<Login> {
        let request = self.reader.request(&mut section, false);
        let mut take = Vec::new();
        if let Some(mut taken) = section.section("take") {
            for name in TAKEN {
                take.extend(
                    self.reader
                        .may_path(&mut taken, name)
                        .map(|path| (*name, path)),
                );
            }
            taken.finish();
        }
        if !take.iter().any(|(name, _)| *name == "token") {
            section.missing(
                "take",
                "`take: {token: $header.x-token}`: where the answer has the token",
            );
        }
        let says = self.reader.may_path(&mut section, "says");
        let send = if section.get("send").is_some() {
            self.after().named_headers(&mut section, "send")
        } else {
            self.bearer()
        };
        let expires = duration(&mut section, "expires").unwrap_or(Duration::from_hours(1));
        section.finish();
        Some(Login {
            request: request?,
            take,
            says,
            send,
            expires,
        })
    }

    fn oauth2(&self, mut section: Section<'_>) -> Option<OAuth2> {
        let grant = match section.word(
            "grant",
            &["client_credentials", "refresh_token", "jwt_bearer"],
        ) {
            Some("refresh_token") => Grant::RefreshToken,
            Some("jwt_bearer") => Grant::JwtBearer,
            _ => Grant::ClientCredentials,
        };
        if section.get("grant").is_none() {
            section.missing(
                "grant",
                "`grant: client_credentials`, refresh_token or jwt_bearer",
            );
        }
        let url = self.must(&mut section, "token_url");
        let client_id = match grant {
            Grant::JwtBearer => self
                .may(&mut section, "client_id")
                .or(Some(Formula::constant(contract::Value::Null))),
            _ => self.must(&mut section, "client_id"),
        };
        let client_secret = self.may(&mut section, "client_secret");
        let basic = section.word("client", &["form", "basic"]) == Some("basic");
        let refresh_token = match grant {
            Grant::RefreshToken => Some(self.must(&mut section, "refresh_token")),
            _ => None,
        };
        let more = self.reader.named(&mut section, "form");
        let headers = self.reader.headers(&mut section);
        let jwt = section.section("jwt").and_then(|one| self.jwt(one));
        if grant == Grant::JwtBearer && section.get("jwt").is_none() {
            section.missing(
                "jwt",
                "`jwt: {key: setting.private_key, claims: {iss: ..}}`",
            );
        }
        let send = if section.get("send").is_some() {
            self.after().named_headers(&mut section, "send")
        } else {
            self.bearer()
        };
        section.finish();
        let refresh_token = match refresh_token {
            None => None,
            Some(token) => Some(token?),
        };
        Some(OAuth2 {
            grant,
            url: url?,
            client_id: client_id?,
            client_secret,
            basic,
            refresh_token,
            more,
            headers,
            jwt,
            send,
        })
    }

    fn jwt(&self, mut section: Section<'_>) -> Option<Jwt> {
        let algorithm = section
            .word("algorithm", &["RS256", "PS256", "ES256"])
            .unwrap_or("RS256");
        let key = self.must(&mut section, "key");
        let key_id = self.may(&mut section, "key_id");
        let claims = self.reader.named(&mut section, "claims");
        let expires = duration(&mut section, "expires").unwrap_or(Duration::from_mins(5));
        let as_client = section.flag("as_client").unwrap_or(false);
        section.finish();
        Some(Jwt {
            algorithm,
            key: key?,
            key_id,
            claims,
            expires,
            as_client,
        })
    }
}
