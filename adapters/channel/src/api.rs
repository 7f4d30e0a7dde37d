//! A channel as a destination.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contract::gate::{Open, Together};
use contract::trace_context::Context;
use contract::{
    Allowance, Compared, Destination, DestinationTraits, EventType, Finding, Gate, ListedPage,
    NotListed, Outcome, Outgoing, Report, Taken,
};
use flate2::read::MultiGzDecoder;
use mappings::channel::{
    self, Answered, Cache, Came, Channel, Heard, Next, Prepared, Purpose, Run, hide,
};
use reqwest::Client;

use crate::dress::{add_cookies, dress, trace};
use crate::refreshed::Refreshed;
use crate::session::{Csrf, NoCsrf, Pass, Session};

/// Most of an answer that is read.
const ANSWER_READ_MAX: usize = 8 << 20;
/// With less time than this nothing is begun.
const TIME_MIN: Duration = Duration::from_millis(50);
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct Api {
    name: String,
    pub(crate) channel: Arc<Channel>,
    client: Client,
    pub(crate) session: Session,
    pub(crate) traits: DestinationTraits,
    cache: Cache,
    /// The cache's clock.
    began: Instant,
    /// The name and the text of the file that the channel is.
    file: (Arc<str>, Arc<str>),
}

/// What came of a request, and with which login it went.
pub(crate) struct Exchanged {
    pub(crate) came: Came,
    pub(crate) generation: u64,
}

impl Api {
    pub(crate) fn new(
        name: &str,
        channel: Arc<Channel>,
        file: (Arc<str>, Arc<str>),
        client: Client,
        refreshed: Refreshed,
        traits: DestinationTraits,
    ) -> Self {
        Self {
            name: name.to_owned(),
            session: Session::new(Arc::clone(&channel), client.clone(), refreshed),
            channel,
            client,
            traits,
            cache: Cache::default(),
            began: Instant::now(),
            file,
        }
    }

    /// Sends what a run of these events says until all is known or there is no time left.
    async fn go(&self, run: &mut Run<'_>, events: &[&Outgoing], gate: &dyn Gate) {
        let deadline = Instant::now() + self.traits.request_timeout;
        // A login that the API does not know any more.
        let mut stale = None;
        loop {
            let mut request = match run.request() {
                Next::Done => return,
                Next::Send(request) => request.clone(),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left < TIME_MIN {
                run.stop("no time was left for this part of the batch");
                return;
            }
            let about = run.about().iter().filter_map(|n| events.get(*n).copied());
            let about: Vec<&Outgoing> = about.collect();
            let context = Context::of_request(&about);
            if let Some(context) = &context {
                trace(&mut request, context);
            }
            let began = http_client::now();
            let exchanged = match self.exchange(&request, gate, deadline, stale).await {
                Ok(exchanged) => exchanged,
                Err(cause) => {
                    run.stop(&cause);
                    return;
                }
            };
            if let (Some(context), true) = (&context, about.len() > 1) {
                gate.together(&Together {
                    events: &about,
                    context,
                    began,
                    ended: http_client::now(),
                    status: match &exchanged.came {
                        Came::Answer(answered) => Some(answered.status),
                        Came::NotSent(_) | Came::Lost(_) => None,
                    },
                });
            }
            stale = match run.came(&exchanged.came) {
                Heard::Login => Some(exchanged.generation),
                Heard::Understood => None,
            };
        }
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// Why nothing can be sent now.
    pub(crate) async fn exchange(
        &self,
        request: &Prepared,
        gate: &dyn Gate,
        deadline: Instant,
        stale: Option<u64>,
    ) -> Result<Exchanged, String> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut pass = self.session.pass(gate, left(), stale).await?;
        let writes = !matches!(request.method, "GET" | "HEAD");
        let mut csrf = if writes {
            self.csrf(&mut pass, gate, deadline, None).await?
        } else {
            None
        };
        let mut came = self
            .once(request, &pass, csrf.as_ref(), gate, left())
            .await?;
        if let (Some(old), Came::Answer(answered)) = (&csrf, &came)
            && self.channel.csrf_refused(answered)
        {
            csrf = self.csrf(&mut pass, gate, deadline, Some(old)).await?;
            came = self
                .once(request, &pass, csrf.as_ref(), gate, left())
                .await?;
        }
        Ok(Exchanged {
            came,
            generation: pass.generation,
        })
    }

    async fn once(
        &self,
        request: &Prepared,
        pass: &Pass,
        csrf: Option<&Arc<Csrf>>,
        gate: &dyn Gate,
        limit: Duration,
    ) -> Result<Came, String> {
        let began = Instant::now();
        if !gate.pass(request.points, limit).await {
            return Err("the destination's limits left no room for the request in time".to_owned());
        }
        let limit = limit.saturating_sub(began.elapsed());
        if limit < TIME_MIN {
            return Err("no time was left for this part of the batch".to_owned());
        }
        let mut request = request.clone();
        // What goes to another server takes nothing along that says who we are.
        if !request.away {
            dress(&mut request, pass)?;
            if let Some(csrf) = csrf {
                let header = (csrf.header.clone(), csrf.token.clone());
                request.headers.push(header);
                if let Some(cookies) = &csrf.cookies {
                    add_cookies(&mut request, cookies);
                }
            }
        }
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let sent = http_client::Request {
            method: request.method,
            url: &request.url,
            headers,
            body: request.body.clone(),
        };
        let limit = limit.min(self.channel.timeout);
        Ok(
            match http_client::send(&self.client, sent, limit, ANSWER_READ_MAX).await {
                http_client::Sent::Refused(cause) => Came::NotSent(cause),
                http_client::Sent::Lost(cause) => Came::Lost(cause),
                http_client::Sent::Answered(answered) => {
                    let (body, whole) = unpacked(answered.body);
                    let answered = Answered::new(
                        answered.status,
                        answered.headers,
                        &body,
                        answered.broken || !whole,
                        answered.latency_ms,
                    )
                    .hiding(self.session.secrets(), &body);
                    let said = self.allowance(&answered);
                    // Another server's limits are not the API's.
                    if !request.away {
                        gate.heard(&said);
                    }
                    Came::Answer(answered.waiting(said.wait))
                }
            },
        )
    }

    /// What an answer's headers and body say of limits.
    fn allowance(&self, answered: &Answered) -> Allowance {
        let by_header = http_client::allowance(
            answered.status,
            |name| answered.header(name),
            http_client::now(),
        );
        let by_body = self.channel.allowance(answered);
        Allowance {
            throttled: by_header.throttled || by_body.throttled,
            wait: by_header.wait.or(by_body.wait),
            points_left: by_body.points_left,
            points: by_body.points,
            ..by_header
        }
    }

    /// What became of each event. Also what was read of an answer holds no secret when it is said.
    fn report(&self, run: Run<'_>, len: usize) -> Report {
        let secrets = self.session.secrets();
        let mut report = Report::new(len);
        for (n, mut outcome) in run.outcomes().into_iter().enumerate() {
            match &mut outcome {
                Outcome::Applied(_) | Outcome::Accepted { .. } => {}
                Outcome::Retry { cause, .. }
                | Outcome::Rejected { cause, .. }
                | Outcome::Conflict { cause, .. }
                | Outcome::Missing { cause, .. }
                | Outcome::Unknown { cause, .. } => *cause = hide(cause, &secrets),
            }
            report.set(n, outcome);
        }
        report
    }

    /// The token against forged requests. Where our session has ended meanwhile: one new login.
    async fn csrf(
        &self,
        pass: &mut Pass,
        gate: &dyn Gate,
        deadline: Instant,
        stale: Option<&Arc<Csrf>>,
    ) -> Result<Option<Arc<Csrf>>, String> {
        let left = || deadline.saturating_duration_since(Instant::now());
        match self.session.csrf(pass, gate, left(), stale).await {
            Err(NoCsrf::Ended(_)) => {
                let ended = Some(pass.generation);
                *pass = self.session.pass(gate, left(), ended).await?;
                let again = self.session.csrf(pass, gate, left(), None).await;
                again.map_err(NoCsrf::cause)
            }
            found => found.map_err(NoCsrf::cause),
        }
    }

    fn run(&self, purpose: Purpose, batch: &[Outgoing]) -> Run<'_> {
        Run::new(
            &self.channel,
            &self.cache,
            purpose,
            batch,
            self.began.elapsed(),
        )
    }
}

/// A body that is gzip by its first bytes (RFC 1952), unpacked: documents are kept so, whatever their headers say.
/// With it, whether it is whole.
fn unpacked(body: Vec<u8>) -> (Vec<u8>, bool) {
    if !body.starts_with(&[0x1f, 0x8b]) {
        return (body, true);
    }
    let mut all = Vec::new();
    let most = u64::try_from(ANSWER_READ_MAX).unwrap_or(u64::MAX);
    let read = MultiGzDecoder::new(body.as_slice())
        .take(most + 1)
        .read_to_end(&mut all);
    let whole = read.is_ok() && all.len() <= ANSWER_READ_MAX;
    all.truncate(ANSWER_READ_MAX);
    (all, whole)
}

#[async_trait]
impl Destination for Api {
    fn traits(&self) -> DestinationTraits {
        self.traits
    }

    fn recorded(&self) -> Option<Vec<Finding>> {
        let (file, text) = &self.file;
        Some(channel::recorded(file, text))
    }

    async fn check(&self) -> Vec<Finding> {
        let what = format!("destination {}", self.name);
        let title = &self.channel.title;
        let request = match self.channel.check_request() {
            Ok(Some(request)) => request,
            Ok(None) => {
                return vec![
                    Finding::warn(what, format!("{title}: the channel's file has no `check`"))
                        .fix("add one: a request that changes nothing"),
                ];
            }
            Err(reason) => return vec![Finding::fail(what, reason)],
        };
        let deadline = Instant::now() + CHECK_TIMEOUT;
        let mut stale = None;
        // A second time with a new login, as a delivery would.
        for _ in 0..2 {
            let exchanged = match self.exchange(&request, &Open, deadline, stale).await {
                Ok(exchanged) => exchanged,
                Err(cause) => {
                    return vec![Finding::fail(what, cause).fix(
                        "check the address, name resolution, firewall, certificate and credentials",
                    )];
                }
            };
            match exchanged.came {
                Came::Answer(answered)
                    if answered.status == 401 && self.channel.logs_in() && stale.is_none() =>
                {
                    stale = Some(exchanged.generation);
                }
                Came::Answer(answered) => {
                    let header = |name: &str| {
                        let mut headers = answered.headers.iter();
                        let found = headers.find(|(known, _)| known == name);
                        found.map(|(_, value)| value.as_str())
                    };
                    let clock = http_client::clock(&what, header, http_client::now());
                    let mut findings = vec![match self.channel.checked(&answered) {
                        Ok(()) => Finding::pass(
                            what,
                            format!("{title} answers and takes our credentials"),
                        ),
                        Err(cause) => Finding::fail(what, format!("{title} answers: {cause}"))
                            .fix("check the settings and what the credentials may do"),
                    }];
                    findings.extend(clock);
                    return findings;
                }
                Came::NotSent(cause) | Came::Lost(cause) => {
                    return vec![
                        Finding::fail(what, format!("does not answer: {cause}"))
                            .fix("check the address, name resolution, firewall and certificate"),
                    ];
                }
            }
        }
        vec![
            Finding::fail(what, format!("{title} does not take our credentials"))
                .fix("check the credentials"),
        ]
    }

    async fn deliver(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        let mut run = self.run(Purpose::Deliver, batch);
        let events: Vec<&Outgoing> = batch.iter().collect();
        self.go(&mut run, &events, gate).await;
        self.report(run, batch.len())
    }

    async fn follow_up(&self, taken: &[Taken], gate: &dyn Gate) -> Report {
        let mut run = Run::follow(&self.channel, &self.cache, taken, self.began.elapsed());
        let events: Vec<&Outgoing> = taken.iter().map(|one| &one.outgoing).collect();
        self.go(&mut run, &events, gate).await;
        self.report(run, taken.len())
    }

    async fn verify(&self, batch: &[Outgoing], gate: &dyn Gate) -> Report {
        let mut run = self.run(Purpose::Verify, batch);
        let events: Vec<&Outgoing> = batch.iter().collect();
        self.go(&mut run, &events, gate).await;
        self.report(run, batch.len())
    }

    async fn compare(&self, batch: &[Outgoing], gate: &dyn Gate) -> Vec<Compared> {
        let mut run = self.run(Purpose::Compare, batch);
        let events: Vec<&Outgoing> = batch.iter().collect();
        self.go(&mut run, &events, gate).await;
        let secrets = self.session.secrets();
        let mut all = run.compared();
        for one in &mut all {
            match one {
                Compared::Same => {}
                Compared::Differs { holds, would } => {
                    *holds = hide(holds, &secrets);
                    *would = hide(would, &secrets);
                }
                Compared::CannotTell { cause } => *cause = hide(cause, &secrets),
            }
        }
        all
    }

    fn lists(&self, event_type: EventType) -> bool {
        self.channel.lists(event_type)
    }

    async fn list(
        &self,
        event_type: EventType,
        after: Option<&str>,
        gate: &dyn Gate,
    ) -> Result<ListedPage, NotListed> {
        self.page(event_type, after, gate).await
    }

    fn called(&self, batch: &[Outgoing]) -> Vec<Option<String>> {
        let all = batch.iter();
        all.map(|event| self.channel.called(event)).collect()
    }
}
