//! A channel as its file describes it, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::destination::Resend;
use contract::{EventType, Limits};

use super::formula::Formula;
use super::listing::Listing;
use super::path::Path;
use super::rules::{Match, Rule};
use super::settings::Answers;
use super::skus::Skus;
use super::template::Template;
use super::trial::Test;

/// How a channel was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proven {
    /// Against the real server.
    Server,
    /// Against the vendor's own schema or specification.
    Schema,
    /// By the vendor's documentation only.
    Documentation,
}

impl Proven {
    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Schema => "schema",
            Self::Documentation => "documentation",
        }
    }
}

/// A channel's file, checked, with the settings' answers in it.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// How it was proven.
    pub proven: Proven,
    /// What an unknown outcome allows.
    pub resend: Resend,
    /// What may be sent.
    pub limits: Limits,
    /// Requests at once.
    pub concurrent: usize,
    /// Most bytes of a request, about.
    pub bytes: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How to log in.
    pub auth: Auth,
    /// How long the API may take for what it took for later, and how often to ask.
    pub accepted: (Duration, Duration),
    pub(super) answers_given: Answers,
    pub(super) url: Formula,
    pub(super) headers: Vec<(String, HeaderValue)>,
    pub(super) answers: Vec<Rule>,
    pub(super) points: PointPlaces,
    pub(super) check: Option<(Request, Vec<Match>)>,
    pub(super) events: BTreeMap<EventType, Handling>,
    pub(super) tests: Vec<Test>,
    /// Items whose SKU is another one there.
    pub(super) skus: Skus,
}

/// Where an answer's body says what points are left.
#[derive(Debug, Clone, Default)]
pub(super) struct PointPlaces {
    pub(super) left: Option<Path>,
    pub(super) max: Option<Path>,
    pub(super) per_second: Option<Path>,
}

/// What is done with events of a type.
#[derive(Debug, Clone)]
pub(super) struct Handling {
    pub(super) filter: Option<Formula>,
    pub(super) batch: usize,
    pub(super) steps: Vec<Step>,
    pub(super) delete: Delete,
    pub(super) conflict: Option<Conflict>,
    pub(super) read: Option<Read>,
    pub(super) listing: Option<Listing>,
}

/// What a tombstone does.
#[derive(Debug, Clone)]
pub(super) enum Delete {
    /// The same steps, with no field but the key.
    Same,
    /// Nothing, for this reason.
    Skip(String),
    Steps(Vec<Step>),
}

/// Where to begin again when the API holds something else than what was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conflict {
    /// In the steps.
    pub(super) from: usize,
    /// In the steps of a tombstone that has its own.
    pub(super) from_of_delete: usize,
    pub(super) tries: u32,
}

/// How to read what the API holds.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) steps: Vec<Step>,
    pub(super) compare: Vec<Comparison>,
}

#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) name: String,
    pub(super) holds: Template,
    pub(super) would: Template,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Find(Box<Find>),
    Send(Box<Send>),
    Hold(Hold),
}

/// A reason to go no further.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub(super) when: Option<Formula>,
    pub(super) says: String,
}

/// What an API that does not have it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfMissing {
    /// The event waits for it.
    Missing,
    Rejected,
    /// There is nothing to do.
    Skip,
    /// Go on: what it would have found is null.
    Continue,
}

/// A look-up.
#[derive(Debug, Clone)]
pub(super) struct Find {
    pub(super) name: String,
    pub(super) when: Option<Formula>,
    /// What is looked for.
    pub(super) by: Option<Formula>,
    pub(super) request: Request,
    /// Where the answer lists what it has; else the answer is the one thing.
    pub(super) list: Option<Path>,
    /// Which member of a listed thing is what was looked for.
    pub(super) key: Option<Path>,
    pub(super) take: Vec<(String, Path)>,
    pub(super) missing: IfMissing,
    pub(super) says: Option<String>,
    /// Several things fit: take the first, or refuse.
    pub(super) first: bool,
    pub(super) cache: Option<Duration>,
    /// Keys in one request.
    pub(super) most: usize,
    pub(super) answers: Vec<Rule>,
    pub(super) done: Vec<Match>,
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub(super) struct Send {
    pub(super) when: Option<Formula>,
    pub(super) request: Request,
    /// One request is for several events.
    pub(super) items: bool,
    /// Only those that share this go into one request, and all of them do.
    pub(super) group: Option<Formula>,
    /// Events in one request, where this one takes fewer than the type's batch.
    pub(super) most: Option<usize>,
    pub(super) answers: Vec<Rule>,
    pub(super) done: Vec<Match>,
    pub(super) report: Option<ItemReport>,
    pub(super) take: Vec<(String, Path)>,
    pub(super) accepted: Option<Accepted>,
}

/// How an answer says what became of each event.
#[derive(Debug, Clone)]
pub(super) struct ItemReport {
    pub(super) list: Path,
    pub(super) by: ReportBy,
    pub(super) done: Vec<Match>,
    pub(super) answers: Vec<Rule>,
    pub(super) others: Others,
    /// One that failed undoes all.
    pub(super) atomic: bool,
}

#[derive(Debug, Clone)]
pub(super) enum ReportBy {
    /// The n-th is about the n-th event.
    Position,
    /// A member is the event's place, from 0.
    Index(Path),
    /// A member is what the expression says.
    Id(Path, Formula),
}

/// What became of events that a report does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    Unknown,
    Done,
    /// Surely not applied: send them again without those listed.
    Again,
}

/// How to ask about what the API took for later: each question when the one before it is answered.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) ticket: Path,
    pub(super) questions: Vec<Question>,
}

/// A question about what the API took for later.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) waiting: Vec<Match>,
    pub(super) done: Vec<Match>,
    pub(super) answers: Vec<Rule>,
    /// What becomes of each event; only of the last question.
    pub(super) report: Option<ItemReport>,
    /// What the questions behind it need.
    pub(super) take: Vec<(String, Path)>,
}

/// The shape of a request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: Vec<Piece>,
    pub(super) query: Vec<(String, Template)>,
    pub(super) headers: Vec<(String, HeaderValue)>,
    pub(super) body: Option<Template>,
    pub(super) form: Vec<(String, Formula)>,
    /// The body goes as a file in this part of a form.
    pub(super) part: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) points: u32,
    /// It goes to an address that an answer gave, at a server of one of these domains, and without our credentials.
    pub(super) away: Vec<String>,
}

/// A part of a path.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Text(String),
    /// Percent-encoded.
    Value(Formula),
}

/// A header's value.
#[derive(Debug, Clone)]
pub(super) struct HeaderValue {
    pub(super) formula: Formula,
    /// What stands before the value, which goes as base64.
    pub(super) base64: Option<String>,
}

/// How to log in.
#[derive(Debug, Clone)]
pub struct Auth {
    pub(super) kind: AuthKind,
    pub(super) csrf: Option<Csrf>,
}

#[derive(Debug, Clone)]
pub(super) enum AuthKind {
    None,
    Basic {
        user: Formula,
        password: Formula,
    },
    Bearer(Formula),
    Key {
        header: Option<String>,
        query: Option<String>,
        value: Formula,
    },
    Login(Box<Login>),
    OAuth2(Box<OAuth2>),
    OAuth1(Box<OAuth1>),
}

/// A session by a call.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) request: Request,
    pub(super) take: Vec<(&'static str, Path)>,
    pub(super) says: Option<Path>,
    pub(super) send: Vec<(String, HeaderValue)>,
    pub(super) expires: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    ClientCredentials,
    RefreshToken,
    JwtBearer,
}

/// A token by OAuth 2.0.
#[derive(Debug, Clone)]
pub(super) struct OAuth2 {
    pub(super) grant: Grant,
    pub(super) url: Formula,
    pub(super) client_id: Formula,
    pub(super) client_secret: Option<Formula>,
    /// The client's name and secret as basic authentication instead of in the form.
    pub(super) basic: bool,
    pub(super) refresh_token: Option<Formula>,
    pub(super) more: Vec<(String, Formula)>,
    pub(super) headers: Vec<(String, HeaderValue)>,
    pub(super) jwt: Option<Jwt>,
    pub(super) send: Vec<(String, HeaderValue)>,
}

#[derive(Debug, Clone)]
pub(super) struct Jwt {
    pub(super) algorithm: &'static str,
    pub(super) key: Formula,
    pub(super) key_id: Option<Formula>,
    pub(super) claims: Vec<(String, Formula)>,
    pub(super) expires: Duration,
    /// The assertion says who the client is: there is no secret.
    pub(super) as_client: bool,
}

#[derive(Debug, Clone)]
pub(super) struct OAuth1 {
    pub(super) consumer_key: Formula,
    pub(super) consumer_secret: Formula,
    pub(super) token: Option<Formula>,
    pub(super) token_secret: Option<Formula>,
    pub(super) realm: Option<Formula>,
}

/// A token against forged requests, fetched before writing.
#[derive(Debug, Clone)]
pub(super) struct Csrf {
    pub(super) request: Request,
    pub(super) header: String,
    pub(super) refused: Vec<Match>,
}
