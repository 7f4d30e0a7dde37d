//! Answers of APIs: whatever comes, by the shipped destination files, each event of a batch ends in one outcome.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use contract::destination::ANSWER_BODY_BYTES_MAX;
use contract::schema::{example, later_example};
use contract::{Event, EventType, Outcome, Outgoing};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use mappings::channel::{
    Answered, Answers, Cache, Came, Channel, Given, Heard, Next, Purpose, Run, SHIPPED,
    SettingKind, Turned, declared, load,
};

/// No batch needs more requests than this.
const REQUESTS_MAX: usize = 400;
/// What no outcome may hold.
const SECRET: &str = "s3cr3t-of-the-settings";

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let all = channels();
    let channel = &all[usize::from(input.byte()) % all.len()];
    let which = input.byte();
    let event_type = EventType::ALL[usize::from(input.byte()) % EventType::ALL.len()];
    let secrets: Arc<[String]> = channel.secrets().into();
    if which % 5 == 4 {
        other_answers(channel, event_type, &mut input, &secrets);
        return;
    }
    let purpose = match which % 5 {
        0 | 1 => Purpose::Deliver,
        2 => Purpose::Verify,
        _ => Purpose::Compare,
    };
    let batch = batch(event_type);
    let cache = Cache::default();
    let mut run = Run::new(channel, &cache, purpose, &batch, Duration::ZERO);
    let (mut requests, mut answers) = (0_usize, 0_usize);
    while let Next::Send(request) = run.request() {
        assert!(request.url.starts_with("https://") && !request.method.is_empty());
        assert!(run.about().iter().all(|n| *n < batch.len()));
        requests += 1;
        assert!(requests < REQUESTS_MAX, "a run without an end");
        let came = came(&mut input, &secrets);
        answers += usize::from(matches!(came, Came::Answer(_)));
        if run.came(&came) == Heard::Login && requests > REQUESTS_MAX / 2 {
            run.stop("nobody can log in");
        }
    }
    if purpose == Purpose::Compare {
        assert_eq!(run.compared().len(), batch.len());
        return;
    }
    let outcomes = run.outcomes();
    assert_eq!(outcomes.len(), batch.len());
    for outcome in &outcomes {
        // What needs no request is applied without one, and says so.
        let told = matches!(outcome, Outcome::Applied(answer) if answer.status.is_some());
        if told || matches!(outcome, Outcome::Accepted { .. }) {
            assert!(answers > 0, "applied by an answer that never came");
        }
        if let Some(answer) = outcome.answer() {
            assert!(
                answer.body.len() <= ANSWER_BODY_BYTES_MAX + 8,
                "{} bytes are kept",
                answer.body.len()
            );
            assert!(!answer.body.contains(SECRET), "a secret is kept");
        }
    }
});

/// One answer: a status, headers, a body; or none.
fn came(input: &mut Input<'_>, secrets: &Arc<[String]>) -> Came {
    match input.byte() {
        _ if input.is_empty() => Came::NotSent("nobody is there".to_owned()),
        0xff => Came::Lost("the connection broke".to_owned()),
        _ => Came::Answer(answered(input, secrets)),
    }
}

fn answered(input: &mut Input<'_>, secrets: &Arc<[String]>) -> Answered {
    let kind = input.byte();
    let status = match kind {
        // As a rule it is one that means something.
        0..128 => [
            200, 201, 202, 204, 400, 401, 404, 409, 412, 422, 429, 500, 503, 504,
        ][usize::from(kind) % 14],
        _ => u16::from_le_bytes(input.array()),
    };
    let head = input.text();
    let headers = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = usize::from(u16::from_le_bytes(input.array()));
    let body = input.take(length);
    Answered::new(status, headers, body, kind == 127, 1).hiding(Arc::clone(secrets), body)
}

/// Answers that are about no event: of a login, a check, a list.
fn other_answers(
    channel: &Channel,
    event_type: EventType,
    input: &mut Input<'_>,
    secrets: &Arc<[String]>,
) {
    let mut after: Option<String> = None;
    for _ in 0..8 {
        let answered = answered(input, secrets);
        let _ = channel.allowance(&answered);
        let _ = (
            channel.session_ended(&answered),
            channel.csrf_refused(&answered),
        );
        let _ = channel.checked(&answered);
        if let Ok(tokens) = channel.logged_in(&answered) {
            let _ = channel.sending(&tokens);
            let _ = channel.credentials(tokens.refresh.as_deref());
        }
        if channel.lists(event_type) {
            let _ = channel.list_request(event_type, after.as_deref());
            if let Turned::Page(page) = channel.listed(event_type, after.as_deref(), &answered) {
                after = page.next;
            }
        }
        if input.is_empty() {
            break;
        }
    }
}

fn outgoing(event: &Event, offset: i64) -> Outgoing {
    Outgoing {
        offset,
        id: event.id.as_str().to_owned(),
        event_type: event.envelope.event_type,
        key: event.envelope.key.text(),
        op: event.envelope.op,
        idempotency_key: event.idempotency_key().to_owned(),
        origin: "acme/erp".to_owned(),
        occurred_at: event.envelope.occurred_at,
        attempt: 1,
        json: event.json().into(),
    }
}

/// One event as it is, and one that takes it back or corrects it.
fn batch(event_type: EventType) -> Vec<Outgoing> {
    static MADE: OnceLock<Vec<Vec<Outgoing>>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let of = |event_type| {
            let one = example(event_type).expect("an example fits its type");
            let other = later_example(event_type).expect("an example fits its type");
            vec![outgoing(&one, 1), outgoing(&other, 2)]
        };
        EventType::ALL.into_iter().map(of).collect()
    });
    let at = EventType::ALL.iter().position(|one| *one == event_type);
    made[at.unwrap_or(0)].clone()
}

/// The shipped channels, with secrets among their settings.
fn channels() -> &'static [Channel] {
    static LOADED: OnceLock<Vec<Channel>> = OnceLock::new();
    LOADED.get_or_init(|| {
        let mut all = Vec::new();
        for (file, text) in SHIPPED {
            let declared = declared(file, text).expect("a shipped file is whole");
            let given: BTreeMap<String, Given> = declared
                .iter()
                .filter(|one| one.default.is_none())
                .map(|one| {
                    let given = match one.kind {
                        SettingKind::Secret => Given::Text(SECRET.to_owned()),
                        SettingKind::Url => Given::Text("https://channel.example".to_owned()),
                        SettingKind::Number => Given::Number(contract::Decimal::from(1_i64)),
                        SettingKind::Flag => Given::Flag(true),
                        SettingKind::Map => {
                            Given::Map(BTreeMap::from([("MAIN".to_owned(), "1".to_owned())]))
                        }
                        SettingKind::List => Given::List(vec!["MAIN".to_owned()]),
                        SettingKind::Text => Given::Text(one.name.clone()),
                    };
                    (one.name.clone(), given)
                })
                .collect();
            let channel = load(file, text, &Answers::new(declared, given)).or_else(|_| {
                load(
                    file,
                    text,
                    &Answers::open(mappings::channel::declared(file, text)?),
                )
            });
            all.push(channel.expect("a shipped file loads"));
        }
        all
    })
}
