//! What an operator does on the page: it goes the way of the commands, is noted before it is asked, and
//! says on the next page what came of it. What takes longer than an answer may goes on all the same: then the
//! next page says so, and a later one what came of it.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use contract::{Clock, clock};
use engine::clock::SystemClock;
use jiff::Timestamp;
use state::{AuditEntry, Command, Done, HeldFilter, Resync, StateReader, StoreError};

use super::gate::Fields;
use super::held;
use super::session::{Message, Visitor};
use super::which::{Which, which};
use super::{Page, view};
use crate::operate::counted;

/// So long the page waits for what comes of it. An answer of the local server is made within ten seconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// So long it is waited for at all, beside the page.
const DONE_MAX: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two looks at what takes long.
const LOOK_LATER: Duration = Duration::from_secs(1);

/// Changes of a mapping that are looked at for their tables.
const CHANGES_MAX: usize = 10_000;

/// The pauses that the page offers, in minutes; 0 = until somebody resumes it.
pub(super) const PAUSES: [(u64, &str); 5] = [
    (0, "until somebody resumes it"),
    (15, "for 15 minutes"),
    (60, "for 1 hour"),
    (4 * 60, "for 4 hours"),
    (12 * 60, "for 12 hours"),
];

/// What came of what was asked.
enum Came {
    Done(u64),
    /// Tables are read again, which takes its time.
    Reads(Vec<String>),
    /// It stands in the state file, and nobody has taken it up yet.
    Asked,
    /// Why it was not asked.
    Not(String),
}

/// Notes what somebody is about to do. What cannot be noted is not done.
async fn note(
    page: &Page,
    name: &str,
    what: &str,
    subject: &str,
    details: serde_json::Value,
) -> Result<(), String> {
    let noted = noted(page, name, what, subject, details).await;
    noted.map_err(|error| {
        format!("It could not be noted who does this, so nothing was done: {error}.")
    })
}

/// Notes what somebody does.
///
/// # Errors
/// Why it cannot be noted.
pub(super) async fn noted(
    page: &Page,
    name: &str,
    what: &str,
    subject: &str,
    details: serde_json::Value,
) -> Result<(), String> {
    let folder = page.seen.watched.folder.clone();
    let entry = AuditEntry {
        at: SystemClock.now(),
        who: format!("user:{name}"),
        what: what.to_owned(),
        subject: subject.to_owned(),
        details,
    };
    let noted = tokio::task::spawn_blocking(move || state::note_audit(&folder, &entry)).await;
    match noted {
        Ok(noted) => noted.map_err(|error| error.to_string()),
        Err(_) => Err("noting it ended by a bug".to_owned()),
    }
}

/// Asks the running agent, which is this process, and waits for its answer.
async fn ask(page: &Page, destination: &str, command: Command) -> Came {
    let folder = page.seen.watched.folder.clone();
    let name = destination.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        state::ask(&folder, &name, &command, SystemClock.now())
    });
    let request = match asked.await {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) => return Came::Not(format!("{destination} has never run.")),
        Ok(Err(error)) => return Came::Not(format!("The agent cannot be asked: {error}.")),
        Err(_) => return Came::Not("Asking the agent ended by a bug.".to_owned()),
    };
    let began = tokio::time::Instant::now();
    while began.elapsed() < DONE_MAX {
        match answered(page, request).await {
            Ok(Some(Done {
                problem: Some(problem),
                ..
            })) => return Came::Not(format!("It could not be done: {problem}.")),
            Ok(Some(done)) => {
                page.seen.changed().await;
                return Came::Done(done.count);
            }
            // It stands in the state file, whether that can be read now or not.
            Ok(None) | Err(_) => {
                let is_soon = began.elapsed() < ANSWER_MAX;
                let wait = if is_soon { LOOK_EVERY } else { LOOK_LATER };
                tokio::time::sleep(wait).await;
            }
        }
    }
    Came::Asked
}

async fn answered(page: &Page, request: i64) -> Result<Option<Done>, String> {
    page.read(move |reader: &StateReader| reader.answer(request))
        .await
}

impl Came {
    /// What the page says of it.
    fn message(self, done: impl FnOnce(u64) -> String) -> Message {
        let (is_good, text) = match self {
            Self::Done(count) => (true, done(count)),
            Self::Reads(tables) => (
                true,
                format!(
                    "{} read again and compared; what is clear then is held no more.",
                    tables.join(", ")
                ),
            ),
            Self::Asked => (
                true,
                "It is asked, and stands in the state file: the agent has not come to it yet."
                    .to_owned(),
            ),
            Self::Not(sentence) => (false, sentence),
        };
        Message { is_good, text }
    }
}

/// Does it, leaves what came of it for the next page, and goes there.
async fn done(
    page: &Arc<Page>,
    visitor: &Visitor,
    place: &str,
    work: impl Future<Output = Message> + Send + 'static,
) -> Response {
    let Ok(permit) = Arc::clone(&page.actions).try_acquire_owned() else {
        let text = "Too much is being done already; nothing was done. Wait until that has ended.";
        return told(page, visitor, place, Came::Not(text.to_owned()));
    };
    // On its own, for whoever waits for the answer may go, and what is half done is worse than what is not.
    let mut work = tokio::spawn(async move {
        let message = work.await;
        drop(permit);
        message
    });
    let ended = |ended: Result<Message, tokio::task::JoinError>| {
        let bug = || Came::Not("Doing it ended by a bug.".to_owned()).message(|_| String::new());
        ended.unwrap_or_else(|_| bug())
    };
    if let Ok(message) = tokio::time::timeout(ANSWER_MAX, &mut work).await {
        page.sessions.say(visitor, ended(message));
        return view::go_to(place);
    }
    let text = "It is being done, and takes long: another process may hold the state file, or the agent is at work on \
                more. What comes of it is said here when it has ended.";
    let text = text.to_owned();
    page.sessions.say(
        visitor,
        Message {
            is_good: true,
            text,
        },
    );
    let (own, who) = (Arc::clone(page), visitor.clone());
    tokio::spawn(async move {
        let message = ended(work.await);
        own.sessions.say(&who, message);
    });
    view::go_to(place)
}

/// Leaves what came of it for the next page, and goes there.
fn told(page: &Page, visitor: &Visitor, place: &str, came: Came) -> Response {
    page.sessions.say(visitor, came.message(|_| String::new()));
    view::go_to(place)
}

const HELD: &str = "/page/held";
const DESTINATIONS: &str = "/page/destinations";

pub(super) async fn retry(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let (own, who) = (Arc::clone(&page), visitor.clone());
    let work = async move {
        let came = match which(&own, &fields).await {
            Err(sentence) => Came::Not(sentence),
            Ok(which) => retried(&own, &who, which).await,
        };
        came.message(|count| format!("{} sent again.", counted(count, "event")))
    };
    done(&page, &visitor, HELD, work).await
}

async fn retried(page: &Page, visitor: &Visitor, which: Which) -> Came {
    let details = serde_json::json!({ "which": which.filter });
    let what = if which.is_of_mapping() {
        "source.resync"
    } else {
        "held.retry"
    };
    if let Err(sentence) = note(page, &visitor.name, what, &which.by, details).await {
        return Came::Not(sentence);
    }
    if which.is_of_mapping() {
        return read_again(page, which.filter).await;
    }
    let command = Command::Retry {
        which: which.filter,
        by: format!("user:{}", visitor.name),
    };
    ask(page, &which.by, command).await
}

/// What a mapping holds is tried again by reading its tables again.
async fn read_again(page: &Page, filter: HeldFilter) -> Came {
    let tables = page.read(move |reader| tables_of(reader, &filter)).await;
    let tables = match tables {
        Ok(tables) => tables,
        Err(sentence) => return Came::Not(sentence),
    };
    if tables.is_empty() {
        return Came::Not("Nothing of it is held any more.".to_owned());
    }
    let all = tables.len();
    let tables = match page
        .read(move |reader| not_being_read(reader, tables))
        .await
    {
        Ok(tables) => tables,
        Err(sentence) => return Came::Not(sentence),
    };
    if tables.is_empty() {
        let is = if all == 1 {
            "Its table is"
        } else {
            "Its tables are"
        };
        return Came::Not(format!(
            "{is} being read again already; wait until that is done."
        ));
    }
    let folder = page.seen.watched.folder.clone();
    let names: Vec<String> = tables.iter().map(|(_, table)| table.clone()).collect();
    let asked = tokio::task::spawn_blocking(move || {
        for (source, table) in tables {
            let what = Resync::Tables(vec![table]);
            state::ask_resync(&folder, &source, &what, SystemClock.now())?;
        }
        Ok::<(), StoreError>(())
    });
    match asked.await {
        Ok(Ok(())) => Came::Reads(names),
        Ok(Err(error)) => Came::Not(format!("The agent cannot be asked: {error}.")),
        Err(_) => Came::Not("Asking the agent ended by a bug.".to_owned()),
    }
}

/// Those that are not under way: with each click they would be begun anew.
fn not_being_read(
    reader: &StateReader,
    mut tables: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, StoreError> {
    let sources = reader.sources()?;
    tables.retain(|(source, table)| {
        let mut of = sources.iter().filter(|one| one.name == *source);
        !of.any(|one| {
            one.tables
                .iter()
                .any(|one| one.table == *table && !one.done)
        })
    });
    Ok(tables)
}

fn tables_of(
    reader: &StateReader,
    filter: &HeldFilter,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut tables = Vec::new();
    reader.held_within(filter, CHANGES_MAX, |item| {
        if let Some(change) = item.change {
            let place = (change.source, change.table);
            if !tables.contains(&place) {
                tables.push(place);
            }
        }
        true
    })?;
    Ok(tables)
}

pub(super) async fn drop_held(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let which = match which(&page, &fields).await {
        Ok(which) => which,
        Err(sentence) => return told(&page, &visitor, HELD, Came::Not(sentence)),
    };
    let why = fields.get("why").unwrap_or_default().to_owned();
    // What came since the confirmation was shown is not meant.
    let others = which.filter.ids.is_empty()
        && fields.get("count").and_then(|count| count.parse().ok()) != Some(which.count);
    if others || why.is_empty() || why.chars().count() > held::WHY_MAX {
        return held::ask_why(&page, &visitor, &which, true).await;
    }
    let (own, who) = (Arc::clone(&page), visitor.clone());
    let work = async move {
        let came = dropped(&own, &who, which, &why).await;
        came.message(|count| format!("{} given up.", counted(count, "held item")))
    };
    done(&page, &visitor, HELD, work).await
}

async fn dropped(page: &Page, visitor: &Visitor, which: Which, why: &str) -> Came {
    let details = serde_json::json!({ "which": which.filter, "why": why });
    if let Err(sentence) = note(page, &visitor.name, "held.drop", &which.by, details).await {
        return Came::Not(sentence);
    }
    if which.is_of_mapping() {
        let command = Command::DropChanges {
            which: which.filter,
        };
        return ask(page, "", command).await;
    }
    let command = Command::Drop {
        which: which.filter,
        by: format!("user:{}", visitor.name),
        why: why.to_owned(),
    };
    ask(page, &which.by, command).await
}

/// A destination of the settings.
fn destination<'f>(page: &Page, fields: &'f Fields) -> Result<&'f str, Came> {
    let name = fields.get("destination").unwrap_or_default();
    if page.seen.watched.destinations.contains_key(name) {
        Ok(name)
    } else {
        let sentence = "There is no such destination in the settings; nothing was done.";
        Err(Came::Not(sentence.to_owned()))
    }
}

pub(super) async fn pause(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let minutes = fields.get("minutes").and_then(|text| text.parse().ok());
    let known = PAUSES.iter().find(|(known, _)| Some(*known) == minutes);
    let (name, (minutes, words)) = match (destination(&page, &fields), known) {
        (Err(came), _) => return told(&page, &visitor, DESTINATIONS, came),
        (Ok(_), None) => {
            let sentence = "Choose for how long; nothing was done.".to_owned();
            return told(&page, &visitor, DESTINATIONS, Came::Not(sentence));
        }
        (Ok(name), Some(known)) => (name.to_owned(), *known),
    };
    let (own, who) = (Arc::clone(&page), visitor.clone());
    let work = async move {
        let came = paused(&own, &who, &name, minutes).await;
        came.message(|_| format!("{name} is paused {words}: nothing leaves, events wait in order."))
    };
    done(&page, &visitor, DESTINATIONS, work).await
}

async fn paused(page: &Page, visitor: &Visitor, name: &str, minutes: u64) -> Came {
    let until: Option<Timestamp> =
        (minutes > 0).then(|| clock::after(SystemClock.now(), Duration::from_mins(minutes)));
    let details = serde_json::json!({ "until": until });
    match note(page, &visitor.name, "destination.pause", name, details).await {
        Ok(()) => ask(page, name, Command::Pause { until }).await,
        Err(sentence) => Came::Not(sentence),
    }
}

pub(super) async fn resume(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let name = match destination(&page, &fields) {
        Err(came) => return told(&page, &visitor, DESTINATIONS, came),
        Ok(name) => name.to_owned(),
    };
    let (own, who) = (Arc::clone(&page), visitor.clone());
    let work = async move {
        let details = serde_json::Value::Null;
        let came = match note(&own, &who.name, "destination.resume", &name, details).await {
            Ok(()) => ask(&own, &name, Command::Resume).await,
            Err(sentence) => Came::Not(sentence),
        };
        came.message(|_| format!("{name} goes on."))
    };
    done(&page, &visitor, DESTINATIONS, work).await
}
