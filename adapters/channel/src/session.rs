//! Who we are to the API: tokens, fetched once for all lanes together and kept until they expire
//! or the API does not know them any more.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use contract::Gate;
use mappings::channel::{
    Answered, Channel, Credentials, LoginCall, Prepared, Sending, Signing, form_body,
};
use reqwest::Client;
use tokio::sync::Mutex;

use crate::dress::dress;
use crate::refreshed::Refreshed;
use crate::sign;

/// A login that failed is not tried again before this: accounts are locked for less.
const LOGIN_REST: Duration = Duration::from_secs(5);
/// A token is not used in its last moments.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);
/// Most of an answer to a login that is read.
const LOGIN_READ_MAX: usize = 256 * 1024;
/// So many of the texts that logins gave last are kept out of what is kept of answers.
const GIVEN_MAX: usize = 32;
/// Shorter ones may be anything.
const GIVEN_BYTES_MIN: usize = 8;

/// What goes with a request.
#[derive(Clone)]
pub(crate) struct Pass {
    pub(crate) sending: Arc<Sending>,
    pub(crate) signing: Option<Arc<Signing>>,
    /// Which login it comes from.
    pub(crate) generation: u64,
}

#[derive(Default)]
struct State {
    pass: Option<(Pass, Option<Instant>)>,
    generation: u64,
    /// What the last login gave for the next one.
    refresh: Option<String>,
    failed: Option<(Instant, String)>,
    csrf: Option<Arc<Csrf>>,
}

/// A token against forged requests, and the cookies that it belongs to.
pub(crate) struct Csrf {
    pub(crate) header: String,
    pub(crate) token: String,
    pub(crate) cookies: Option<String>,
}

/// Why there is no token against forged requests.
pub(crate) enum NoCsrf {
    /// Our session has ended.
    Ended(String),
    Failed(String),
}

impl NoCsrf {
    pub(crate) fn cause(self) -> String {
        let (Self::Ended(cause) | Self::Failed(cause)) = self;
        cause
    }
}

impl From<String> for NoCsrf {
    fn from(cause: String) -> Self {
        Self::Failed(cause)
    }
}

pub(crate) struct Session {
    channel: Arc<Channel>,
    client: Client,
    refreshed: Refreshed,
    // Held while a login is on its way: the others wait for that one.
    state: Mutex<State>,
    /// What logins gave: nobody should see it.
    given: std::sync::Mutex<VecDeque<String>>,
    /// The settings' secrets.
    fixed: Vec<String>,
}

impl Session {
    pub(crate) fn new(channel: Arc<Channel>, client: Client, refreshed: Refreshed) -> Self {
        Self {
            fixed: spelt(&channel.secrets()),
            channel,
            client,
            refreshed,
            state: Mutex::default(),
            given: std::sync::Mutex::default(),
        }
    }

    /// What is kept of answers holds none of these: the settings' secrets, and what the last logins gave.
    pub(crate) fn secrets(&self) -> Arc<[String]> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        self.fixed.iter().chain(given.iter()).cloned().collect()
    }

    /// Remembers what nobody should see; of cookies, each one's value as well.
    fn hide(&self, text: &str) {
        let values = text
            .split("; ")
            .filter_map(|pair| Some(pair.split_once('=')?.1));
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        for text in std::iter::once(text).chain(values) {
            if text.len() >= GIVEN_BYTES_MIN && !given.iter().any(|known| known == text) {
                given.push_back(text.to_owned());
            }
        }
        while given.len() > GIVEN_MAX {
            given.pop_front();
        }
    }

    /// What goes with a request. `stale` = the login that the API does not know any more.
    ///
    /// # Errors
    /// Why there is none, without a secret.
    pub(crate) async fn pass(
        &self,
        gate: &dyn Gate,
        limit: Duration,
        stale: Option<u64>,
    ) -> Result<Pass, String> {
        let began = Instant::now();
        let Ok(mut state) = tokio::time::timeout(limit, self.state.lock()).await else {
            return Err("login: no time was left while another one was under way".to_owned());
        };
        if let Some((pass, until)) = &state.pass {
            let good = until.is_none_or(|until| Instant::now() < until);
            if good && stale != Some(pass.generation) {
                return Ok(pass.clone());
            }
        }
        state.pass = None;
        if let Some((at, cause)) = &state.failed
            && at.elapsed() < LOGIN_REST
        {
            return Err(cause.clone());
        }
        // Another process may have logged in meanwhile: then the API knows only what it left there.
        if let Some(token) = self.refreshed.newest().await {
            state.refresh = Some(token);
        }
        let generation = state.generation + 1;
        let (pass, until) = match self.channel.credentials(state.refresh.as_deref())? {
            Credentials::Fixed(sending) => (
                Pass {
                    sending: Arc::new(sending),
                    signing: None,
                    generation,
                },
                None,
            ),
            Credentials::Signed(signing) => {
                let signing = Some(Arc::new(signing));
                (
                    Pass {
                        sending: Arc::new(Sending::default()),
                        signing,
                        generation,
                    },
                    None,
                )
            }
            Credentials::Login(call) => {
                let tokens = match self
                    .login(*call, gate, limit.saturating_sub(began.elapsed()))
                    .await
                {
                    Ok(tokens) => tokens,
                    Err(cause) => {
                        state.failed = Some((Instant::now(), cause.clone()));
                        return Err(cause);
                    }
                };
                for text in tokens.secrets() {
                    self.hide(text);
                }
                if let Some(token) = &tokens.refresh
                    && state.refresh.as_ref() != Some(token)
                {
                    // Before the old one is forgotten: after a restart only this one is known there.
                    self.refreshed.keep(token).await;
                    state.refresh = Some(token.clone());
                }
                let margin = TOKEN_MARGIN.min(tokens.expires / 2);
                let until = Instant::now().checked_add(tokens.expires.saturating_sub(margin));
                let sending = Arc::new(self.channel.sending(&tokens)?);
                (
                    Pass {
                        sending,
                        signing: None,
                        generation,
                    },
                    until,
                )
            }
        };
        state.generation = generation;
        state.failed = None;
        state.csrf = None;
        state.pass = Some((pass.clone(), until));
        Ok(pass)
    }

    async fn login(
        &self,
        mut call: LoginCall,
        gate: &dyn Gate,
        limit: Duration,
    ) -> Result<mappings::channel::Tokens, String> {
        if let Some(jwt) = &call.jwt {
            let assertion = sign::assertion(jwt, http_client::now().as_second(), &nonce())?;
            call.request.form.push((jwt.field.to_owned(), assertion));
            call.request.body = Some(form_body(&call.request.form).into_bytes());
        }
        let answered = self
            .ask(&call.request, gate, limit, self.channel.timeout)
            .await
            .map_err(|cause| format!("login: {cause}"))?;
        self.channel.logged_in(&answered).map_err(|no| no.cause)
    }

    /// Sends what is no delivery. `own` = the time it has by itself, however little of the call's is left: what a
    /// login changed there is lost with its answer.
    async fn ask(
        &self,
        request: &Prepared,
        gate: &dyn Gate,
        limit: Duration,
        own: Duration,
    ) -> Result<Answered, String> {
        let began = Instant::now();
        if !gate.pass(request.points, limit).await {
            return Err("the destination's limits left no room for the request in time".to_owned());
        }
        let headers = request
            .headers
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let sending = http_client::Request {
            method: request.method,
            url: &request.url,
            headers,
            body: request.body.clone(),
        };
        let limit = limit
            .saturating_sub(began.elapsed())
            .max(own)
            .min(self.channel.timeout);
        match http_client::send(&self.client, sending, limit, LOGIN_READ_MAX).await {
            http_client::Sent::Answered(answered) => {
                let header = |name: &str| {
                    answered
                        .headers
                        .iter()
                        .find(|(known, _)| known == name)
                        .map(|(_, text)| text.as_str())
                };
                gate.heard(&http_client::allowance(
                    answered.status,
                    header,
                    http_client::now(),
                ));
                Ok(Answered::new(
                    answered.status,
                    answered.headers,
                    &answered.body,
                    answered.broken,
                    answered.latency_ms,
                ))
            }
            http_client::Sent::Refused(cause) | http_client::Sent::Lost(cause) => Err(cause),
        }
    }

    /// The token against forged requests, where the API wants one. `stale` = the one it refused.
    pub(crate) async fn csrf(
        &self,
        pass: &Pass,
        gate: &dyn Gate,
        limit: Duration,
        stale: Option<&Arc<Csrf>>,
    ) -> Result<Option<Arc<Csrf>>, NoCsrf> {
        let Some(mut fetch) = self.channel.csrf()? else {
            return Ok(None);
        };
        let Ok(mut state) = tokio::time::timeout(limit, self.state.lock()).await else {
            let cause = "no time was left while another request fetched a token";
            return Err(NoCsrf::Failed(cause.to_owned()));
        };
        if let Some(known) = &state.csrf
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, known))
        {
            return Ok(Some(Arc::clone(known)));
        }
        dress(&mut fetch.request, pass)?;
        let answered = self
            .ask(&fetch.request, gate, limit, Duration::ZERO)
            .await
            .map_err(|cause| format!("fetch a token: {cause}"))?;
        let Some(token) = answered.header(&fetch.header) else {
            let (status, header) = (answered.status, &fetch.header);
            let cause = format!("fetch a token: HTTP {status}, and no header {header}");
            return Err(if self.channel.session_ended(&answered) {
                NoCsrf::Ended(cause)
            } else {
                NoCsrf::Failed(cause)
            });
        };
        let cookies = answered.cookies();
        self.hide(token);
        if let Some(cookies) = &cookies {
            self.hide(cookies);
        }
        let found = Arc::new(Csrf {
            header: fetch.header,
            token: token.to_owned(),
            cookies,
        });
        state.csrf = Some(Arc::clone(&found));
        Ok(Some(found))
    }
}

/// Secrets as they stand in texts and, where that is something else, in JSON.
fn spelt(secrets: &[String]) -> Vec<String> {
    let mut all = secrets.to_vec();
    for secret in secrets {
        let quoted = serde_json::Value::from(secret.as_str()).to_string();
        let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        if inner != secret {
            all.push(inner.to_owned());
        }
    }
    // The longest first: one may be a part of another.
    all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    all
}

/// A number that is used once.
pub(crate) fn nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}
