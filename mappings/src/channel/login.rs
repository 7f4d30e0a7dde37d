//! How a channel logs in: what is asked for a token, what its answer gives, and what goes with each
//! request. Pure: whoever runs it keeps the tokens, signs, and knows the time.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::answered::{Answered, hide};
use super::formula::{Formula, Scope};
use super::model::{AuthKind, Channel, Grant, HeaderValue, OAuth2, Piece, Request};
use super::prepared::{Prepared, form_body};
use super::rules::{Asks, Meaning, judge, plain};
use super::template::Render;

/// Tokens without a lifetime of their own are asked for anew after this.
const TOKEN_EXPIRES: Duration = Duration::from_mins(30);

/// What goes with each request.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sending {
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Parts of the address's query.
    pub query: Vec<(String, String)>,
}

/// What a login gave.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    values: Vec<(&'static str, String)>,
    /// How long they are good for.
    pub expires: Duration,
    /// What to log in with next time, where the API changes it each time.
    pub refresh: Option<String>,
}

/// A call that gives tokens.
#[derive(Clone)]
pub struct LoginCall {
    /// The request.
    pub request: Prepared,
    /// An assertion to be signed and put into its form.
    pub jwt: Option<Jwt>,
}

/// An assertion (RFC 7523), to be signed.
#[derive(Clone)]
pub struct Jwt {
    /// `RS256`, `PS256` or `ES256`.
    pub algorithm: &'static str,
    /// The private key, PKCS #8 in PEM.
    pub key: String,
    /// The key's name.
    pub key_id: Option<String>,
    /// Claims, but `iat`, `exp` and `jti`.
    pub claims: Map<String, Json>,
    /// How long it is good for.
    pub expires: Duration,
    /// The form's field that takes it.
    pub field: &'static str,
}

/// Keys of OAuth 1.0a (RFC 5849), signed with HMAC-SHA256.
#[derive(Clone)]
pub struct Signing {
    /// The application's key and secret.
    pub consumer: (String, String),
    /// The user's token and secret, where there is one.
    pub token: Option<(String, String)>,
    /// The realm.
    pub realm: Option<String>,
}

/// How to log in.
#[derive(Clone)]
pub enum Credentials {
    /// The same with each request.
    Fixed(Sending),
    /// By a call.
    Login(Box<LoginCall>),
    /// Each request is signed.
    Signed(Signing),
}

/// How to fetch a token against forged requests.
#[derive(Clone)]
pub struct CsrfFetch {
    /// The request.
    pub request: Prepared,
    /// The header that its answer has and each writing request takes.
    pub header: String,
}

impl Tokens {
    /// What of it nobody should see.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let values = self.values.iter().filter(|(name, _)| *name != "user");
        let values = values.map(|(_, text)| text.as_str());
        values.chain(self.refresh.as_deref())
    }
}

macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(<redacted>)"))
            }
        }
    )*};
}
redacted!(
    Sending,
    Tokens,
    LoginCall,
    Jwt,
    Signing,
    Credentials,
    CsrfFetch
);

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoToken {
    /// In words, without a secret.
    pub cause: String,
    /// It will be the same next time: a person must look.
    pub refused: bool,
}

fn said(formula: &Formula) -> Result<String, String> {
    formula
        .text(&Scope::default())?
        .ok_or_else(|| "a setting that the login needs has no answer".to_owned())
}

fn headers_of(
    all: &[(String, HeaderValue)],
    scope: &Scope<'_>,
) -> Result<Vec<(String, String)>, String> {
    let mut headers = Vec::with_capacity(all.len());
    for (name, value) in all {
        let text = value
            .text(scope)
            .map_err(|reason| format!("header {name}: {reason}"))?;
        headers.extend(text.map(|text| (name.clone(), text)));
    }
    Ok(headers)
}

fn token_call(auth: &OAuth2, refresh: Option<&str>) -> Result<LoginCall, String> {
    let grant = match auth.grant {
        Grant::ClientCredentials => "client_credentials",
        Grant::RefreshToken => "refresh_token",
        Grant::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
    };
    let mut form = vec![("grant_type".to_owned(), grant.to_owned())];
    let mut headers = headers_of(&auth.headers, &Scope::default())?;
    let id = auth.client_id.text(&Scope::default())?;
    match (id, &auth.client_secret, auth.basic) {
        (Some(id), Some(secret), true) => {
            // RFC 6749 section 2.3.1: both are form-encoded first.
            let encode = |text: &str| super::prepared::percent(text, b"");
            let both = format!("{}:{}", encode(&id), encode(&said(secret)?));
            let value = HeaderValue {
                formula: Formula::constant(contract::Value::Text(both)),
                base64: Some("Basic ".to_owned()),
            };
            headers.extend(headers_of(
                &[("authorization".to_owned(), value)],
                &Scope::default(),
            )?);
        }
        (Some(id), secret, _) => {
            form.push(("client_id".to_owned(), id));
            if let Some(secret) = secret {
                form.push(("client_secret".to_owned(), said(secret)?));
            }
        }
        (None, _, _) => {}
    }
    if let Some(token) = &auth.refresh_token {
        let token = refresh.map_or_else(|| said(token), |token| Ok(token.to_owned()))?;
        form.push(("refresh_token".to_owned(), token));
    }
    for (name, value) in &auth.more {
        if let Some(text) = value.text(&Scope::default())? {
            form.push((name.clone(), text));
        }
    }
    let jwt = match &auth.jwt {
        None => None,
        Some(jwt) => {
            let mut claims = Map::new();
            for (name, value) in &jwt.claims {
                claims.insert(name.clone(), value.json(&Scope::default())?);
            }
            if jwt.as_client {
                form.push((
                    "client_assertion_type".to_owned(),
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
                ));
            }
            Some(Jwt {
                algorithm: jwt.algorithm,
                key: said(&jwt.key)?,
                key_id: jwt.key_id.as_ref().map(said).transpose()?,
                claims,
                expires: jwt.expires,
                field: if jwt.as_client {
                    "client_assertion"
                } else {
                    "assertion"
                },
            })
        }
    };
    headers.push((
        "content-type".to_owned(),
        "application/x-www-form-urlencoded".to_owned(),
    ));
    headers.push(("accept".to_owned(), "application/json".to_owned()));
    let body = Some(form_body(&form).into_bytes());
    let request = Prepared {
        method: "POST",
        url: said(&auth.url)?,
        headers,
        body,
        points: 0,
        form,
        away: false,
    };
    Ok(LoginCall { request, jwt })
}

impl Channel {
    /// The refresh token of the settings, where the channel logs in with one. An API may give another
    /// in its place, which then is the only one it knows.
    pub fn refresh_token(&self) -> Option<String> {
        let AuthKind::OAuth2(auth) = &self.auth.kind else {
            return None;
        };
        said(auth.refresh_token.as_ref()?).ok()
    }

    /// How to log in; `refresh` is what the last login gave for this one.
    ///
    /// # Errors
    /// Why that cannot be said, without a secret.
    pub fn credentials(&self, refresh: Option<&str>) -> Result<Credentials, String> {
        Ok(match &self.auth.kind {
            AuthKind::None => Credentials::Fixed(Sending::default()),
            AuthKind::Basic { user, password } => {
                let both = format!("{}:{}", said(user)?, said(password)?);
                let value = HeaderValue {
                    formula: Formula::constant(contract::Value::Text(both)),
                    base64: Some("Basic ".to_owned()),
                };
                let headers =
                    headers_of(&[("authorization".to_owned(), value)], &Scope::default())?;
                Credentials::Fixed(Sending {
                    headers,
                    query: Vec::new(),
                })
            }
            AuthKind::Bearer(token) => {
                let headers = vec![(
                    "authorization".to_owned(),
                    format!("Bearer {}", said(token)?),
                )];
                Credentials::Fixed(Sending {
                    headers,
                    query: Vec::new(),
                })
            }
            AuthKind::Key {
                header,
                query,
                value,
            } => {
                let value = said(value)?;
                let named = |name: &Option<String>| {
                    name.clone()
                        .map(|name| (name, value.clone()))
                        .into_iter()
                        .collect()
                };
                Credentials::Fixed(Sending {
                    headers: named(header),
                    query: named(query),
                })
            }
            AuthKind::Login(login) => {
                let request = login.request.prepare(self, &Render::default())?;
                Credentials::Login(Box::new(LoginCall { request, jwt: None }))
            }
            AuthKind::OAuth2(auth) => Credentials::Login(Box::new(token_call(auth, refresh)?)),
            AuthKind::OAuth1(auth) => {
                let token = match (&auth.token, &auth.token_secret) {
                    (Some(token), Some(secret)) => Some((said(token)?, said(secret)?)),
                    _ => None,
                };
                let realm = auth.realm.as_ref().map(said).transpose()?;
                let consumer = (said(&auth.consumer_key)?, said(&auth.consumer_secret)?);
                Credentials::Signed(Signing {
                    consumer,
                    token,
                    realm,
                })
            }
        })
    }

    /// What a login's answer gives.
    ///
    /// # Errors
    /// Why it gives nothing.
    pub fn logged_in(&self, answered: &Answered) -> Result<Tokens, NoToken> {
        let refused = |cause: String, refused| NoToken {
            cause: format!("login: {cause}"),
            refused,
        };
        // An answer to a login may hold what nobody should see: only its status is told, and what the file says may be.
        if !answered.is_success() {
            let verdict = judge(answered, &[], &[], Asks::Reads);
            let again = matches!(verdict.means, Meaning::Retry | Meaning::Throttled);
            let said = answered
                .json
                .as_ref()
                .and_then(|json| json.get("error"))
                .and_then(Json::as_str);
            // RFC 6749 section 5.2: a word such as invalid_client.
            let said = said.filter(|said| {
                said.len() < 40 && said.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            });
            let said = said.map(|said| format!(", {said}")).unwrap_or_default();
            return Err(refused(format!("HTTP {}{said}", answered.status), !again));
        }
        match &self.auth.kind {
            AuthKind::Login(login) => {
                let mut values = Vec::new();
                for (name, path) in &login.take {
                    let Some(found) = path.of(answered) else {
                        let said = login.says.as_ref().and_then(|path| path.of(answered));
                        let said = said.map_or_else(
                            || format!("the answer has no {name}"),
                            |said| {
                                let said = hide(&plain(&said), &self.secrets());
                                said.chars().take(200).collect()
                            },
                        );
                        return Err(refused(said, true));
                    };
                    values.push((*name, plain(&found)));
                }
                Ok(Tokens {
                    values,
                    expires: login.expires,
                    refresh: None,
                })
            }
            AuthKind::OAuth2(_) => {
                let json = answered.json.as_ref();
                let member = |name: &str| json.and_then(|json| json.get(name));
                let token = member("access_token").and_then(Json::as_str);
                let token = token
                    .ok_or_else(|| refused("the answer has no access_token".to_owned(), true))?;
                let expires = member("expires_in")
                    .and_then(|json| plain(json).parse().ok())
                    .map(Duration::from_secs);
                let refresh = member("refresh_token")
                    .and_then(Json::as_str)
                    .map(str::to_owned);
                Ok(Tokens {
                    values: vec![("token", token.to_owned())],
                    expires: expires.unwrap_or(TOKEN_EXPIRES),
                    refresh,
                })
            }
            _ => Err(refused("this channel has no login call".to_owned(), true)),
        }
    }

    /// What goes with each request once there are tokens.
    ///
    /// # Errors
    /// Why that cannot be said, without a secret.
    pub fn sending(&self, tokens: &Tokens) -> Result<Sending, String> {
        let given: Vec<(&'static str, &str)> = tokens
            .values
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let scope = Scope {
            given: &given,
            ..Scope::default()
        };
        let send = match &self.auth.kind {
            AuthKind::Login(login) => &login.send,
            AuthKind::OAuth2(auth) => &auth.send,
            _ => return Ok(Sending::default()),
        };
        Ok(Sending {
            headers: headers_of(send, &scope)?,
            query: Vec::new(),
        })
    }

    /// Whether a new login may help where an answer says that we are not known.
    pub fn logs_in(&self) -> bool {
        matches!(self.auth.kind, AuthKind::Login(_) | AuthKind::OAuth2(_))
    }

    /// Whether an answer says that our session has ended, and a new login may help.
    pub fn session_ended(&self, answered: &Answered) -> bool {
        self.logs_in()
            && judge(answered, &[&self.answers], &[], Asks::Reads).means == Meaning::Login
    }

    /// How to fetch a token against forged requests, where the API wants one.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub fn csrf(&self) -> Result<Option<CsrfFetch>, String> {
        let Some(csrf) = &self.auth.csrf else {
            return Ok(None);
        };
        let mut request = csrf.request.prepare(self, &Render::default())?;
        if !request.headers.iter().any(|(name, _)| *name == csrf.header) {
            request
                .headers
                .push((csrf.header.clone(), "fetch".to_owned()));
        }
        Ok(Some(CsrfFetch {
            request,
            header: csrf.header.clone(),
        }))
    }

    /// Whether an answer says that the token against forged requests is not good any more.
    pub fn csrf_refused(&self, answered: &Answered) -> bool {
        self.auth
            .csrf
            .as_ref()
            .is_some_and(|csrf| csrf.refused.iter().any(|one| one.answer(answered)))
    }

    /// The request that a check by hand sends.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub fn check_request(&self) -> Result<Option<Prepared>, String> {
        self.check
            .as_ref()
            .map(|(request, _)| request.prepare(self, &Render::default()))
            .transpose()
    }

    /// Whether its answer is as it should be; else what it says.
    ///
    /// # Errors
    /// What the answer says.
    pub fn checked(&self, answered: &Answered) -> Result<(), String> {
        let done = self
            .check
            .as_ref()
            .map(|(_, done)| done.as_slice())
            .unwrap_or_default();
        let verdict = judge(answered, &[&self.answers], done, Asks::Reads);
        if verdict.means == Meaning::Done {
            Ok(())
        } else {
            Err(verdict.cause)
        }
    }

    /// What stands for the path of a request, for messages.
    pub fn check_path(&self) -> Option<String> {
        let (request, _): &(Request, _) = self.check.as_ref()?;
        request.path.iter().find_map(|piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Value(_) => None,
        })
    }
}
