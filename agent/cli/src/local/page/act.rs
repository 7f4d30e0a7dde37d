//! What an operator does on the page: it goes the way of the commands, is noted before it is asked, and
//! says on the next page what came of it.

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

/// How long the running agent may take before the page says that it has not answered yet. An answer of
/// the local server is made within ten seconds.
const ANSWER_MAX: Duration = Duration::from_secs(7);
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
    let deadline = tokio::time::Instant::now() + ANSWER_MAX;
    while tokio::time::Instant::now() < deadline {
        match answered(page, request).await {
            Ok(Some(Done {
                problem: Some(problem),
                ..
            })) => return Came::Not(format!("It could not be done: {problem}.")),
            Ok(Some(done)) => {
                page.seen.changed().await;
                return Came::Done(done.count);
            }
            Ok(None) => tokio::time::sleep(LOOK_EVERY).await,
            Err(sentence) => return Came::Not(sentence),
        }
    }
    Came::Asked
}

async fn answered(page: &Page, request: i64) -> Result<Option<Done>, String> {
    page.read(move |reader: &StateReader| reader.answer(request))
        .await
}

/// Leaves what came of it for the next page, and goes there.
fn told(
    page: &Page,
    visitor: &Visitor,
    place: &str,
    came: Came,
    done: impl Fn(u64) -> String,
) -> Response {
    let (is_good, text) = match came {
        Came::Done(count) => (true, done(count)),
        Came::Reads(tables) => (
            true,
            format!(
                "{} read again and compared; what is clear then is held no more.",
                tables.join(", ")
            ),
        ),
        Came::Asked => (
            true,
            "It is asked, and stands in the state file: the agent has not come to it yet."
                .to_owned(),
        ),
        Came::Not(sentence) => (false, sentence),
    };
    page.sessions.say(visitor, Message { is_good, text });
    view::go_to(place)
}

const HELD: &str = "/page/held";
const DESTINATIONS: &str = "/page/destinations";

pub(super) async fn retry(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let came = match which(&page, &fields).await {
        Err(sentence) => Came::Not(sentence),
        Ok(which) => retried(&page, &visitor, which).await,
    };
    told(&page, &visitor, HELD, came, |count| {
        format!("{} sent again.", counted(count, "event"))
    })
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
    let (mut tables, mut looked) = (Vec::new(), 0);
    reader.held_each(filter, |item| {
        if let Some(change) = item.change {
            let place = (change.source, change.table);
            if !tables.contains(&place) {
                tables.push(place);
            }
        }
        looked += 1;
        looked < CHANGES_MAX
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
        Err(sentence) => {
            return told(&page, &visitor, HELD, Came::Not(sentence), |_| {
                String::new()
            });
        }
    };
    let why = fields.get("why").unwrap_or_default();
    // What came since the confirmation was shown is not meant.
    let others = which.filter.ids.is_empty()
        && fields.get("count").and_then(|count| count.parse().ok()) != Some(which.count);
    if others || why.is_empty() || why.chars().count() > held::WHY_MAX {
        return held::ask_why(&page, &visitor, &which, true).await;
    }
    let came = dropped(&page, &visitor, which, why).await;
    told(&page, &visitor, HELD, came, |count| {
        format!("{} given up.", counted(count, "held item"))
    })
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
    let (came, words) = match (destination(&page, &fields), known) {
        (Err(came), _) => (came, String::new()),
        (Ok(_), None) => {
            let sentence = "Choose for how long; nothing was done.".to_owned();
            (Came::Not(sentence), String::new())
        }
        (Ok(name), Some((minutes, words))) => (
            paused(&page, &visitor, name, *minutes).await,
            format!("{name} is paused {words}: nothing leaves, events wait in order."),
        ),
    };
    told(&page, &visitor, DESTINATIONS, came, |_| words.clone())
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
    let (came, words) = match destination(&page, &fields) {
        Err(came) => (came, String::new()),
        Ok(name) => {
            let details = serde_json::Value::Null;
            let noted = note(&page, &visitor.name, "destination.resume", name, details).await;
            let came = match noted {
                Ok(()) => ask(&page, name, Command::Resume).await,
                Err(sentence) => Came::Not(sentence),
            };
            (came, format!("{name} goes on."))
        }
    };
    told(&page, &visitor, DESTINATIONS, came, |_| words.clone())
}
