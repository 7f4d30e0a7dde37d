//! Questions to a source's database, for rules with `read`: one statement at a time, beside the
//! stream, never faster than the source's rate.
//!
//! A question stays in the store until its answer is committed. What the database refuses of one
//! key is held; a statement that it refuses altogether is the source's problem, and waits.

use std::sync::Arc;
use std::time::Duration;

use contract::{ReadRows, Source, SourceError};
use jiff::Timestamp;
use mappings::relate::{Answer, Questions, Turn};
use tokio::task::JoinSet;

use crate::RetryPolicy;

/// Keys asked by one statement.
pub(crate) const TOGETHER: usize = 50;
/// Until a change that is in the log is surely visible to readers.
const UNSEEN_WAIT: Duration = Duration::from_millis(100);
/// Between two tries when a person must act.
const DENIED_WAIT: Duration = Duration::from_secs(30);

/// What became of questions.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) questions: Arc<Questions>,
    pub(crate) answers: Arc<Vec<Answer>>,
    /// Why some were not answered, where it is the source.
    pub(crate) problem: Option<SourceError>,
    /// Some were asked before readers could see what they were asked for.
    unseen: bool,
}

/// Asks a source's database.
pub(crate) struct Asker {
    source: Arc<dyn Source>,
    rate: u32,
    /// Where the round over the waiting questions stands.
    pub(crate) turn: Turn,
    /// Questions may be waiting in the store.
    pub(crate) wanted: bool,
    not_before: Timestamp,
    running: JoinSet<Answered>,
    failures: u32,
}

impl Asker {
    /// Asks at most `rate` keys in a second.
    pub(crate) fn new(source: Arc<dyn Source>, rate: u32) -> Self {
        Self {
            source,
            rate: rate.max(1),
            turn: None,
            wanted: true,
            not_before: Timestamp::MIN,
            running: JoinSet::new(),
            failures: 0,
        }
    }

    /// When the next questions may be asked; `None` while some are asked or none wait.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        (self.wanted && self.running.is_empty()).then_some(self.not_before)
    }

    /// Whether the last questions were not answered.
    pub(crate) fn failed(&self) -> bool {
        self.failures > 0
    }

    /// How many keys to ask together: no more than a second's worth.
    pub(crate) fn together(&self) -> usize {
        TOGETHER.min(usize::try_from(self.rate).unwrap_or(TOGETHER))
    }

    /// Asks, in the background.
    pub(crate) fn ask(&mut self, questions: Questions, now: Timestamp) {
        self.turn = questions.turn();
        let count = u32::try_from(questions.len()).unwrap_or(u32::MAX);
        let pace = Duration::from_secs(1) / self.rate * count;
        self.not_before = contract::clock::after(now, pace);
        let source = Arc::clone(&self.source);
        self.running.spawn(ask(source, Arc::new(questions)));
    }

    /// The answers of what is asked; for ever where nothing is.
    pub(crate) async fn answered(&mut self) -> Answered {
        loop {
            match self.running.join_next().await {
                Some(Ok(answered)) => return answered,
                // The questions are still in the store.
                Some(Err(error)) => {
                    if error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                    tracing::error!(code = "read.ended_early",
                        stage = "read", error = %error, "asking ended early");
                    self.wanted = true;
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Takes note of answers that are stored: when to go on.
    pub(crate) fn note(&mut self, answered: &Answered, now: Timestamp) {
        self.wanted = true;
        let wait = match &answered.problem {
            Some(SourceError::Disconnected(_)) => {
                self.failures = self.failures.saturating_add(1);
                let policy = RetryPolicy {
                    first: Duration::from_millis(500),
                    max: DENIED_WAIT,
                };
                policy.bound(self.failures)
            }
            Some(_) => {
                self.failures = self.failures.saturating_add(1);
                DENIED_WAIT
            }
            None => {
                self.failures = 0;
                if answered.unseen {
                    UNSEEN_WAIT
                } else {
                    Duration::ZERO
                }
            }
        };
        self.not_before = self.not_before.max(contract::clock::after(now, wait));
    }
}

async fn ask(source: Arc<dyn Source>, questions: Arc<Questions>) -> Answered {
    failpoint::crash!("task.ask");
    let (answers, problem, unseen) = put(&*source, &questions).await;
    Answered {
        questions,
        answers: Arc::new(answers),
        problem,
        unseen,
    }
}

/// Asks questions once: what each is answered, and why some are not.
pub async fn ask_once(
    source: &dyn Source,
    questions: &Questions,
) -> (Vec<Answer>, Option<SourceError>) {
    let (answers, problem, _) = put(source, questions).await;
    (answers, problem)
}

async fn put(
    source: &dyn Source,
    questions: &Questions,
) -> (Vec<Answer>, Option<SourceError>, bool) {
    let mut answers = vec![Answer::Later; questions.len()];
    let mut open = Vec::new();
    for (n, answer) in answers.iter_mut().enumerate() {
        match questions.doubt(n) {
            Some(doubt) => *answer = Answer::Refused(doubt),
            None => open.push(n),
        }
    }
    let mut asking = Asking {
        source,
        questions,
        answers,
        unseen: false,
    };
    let problem = asking.all(&open).await.err();
    (asking.answers, problem, asking.unseen)
}

struct Asking<'a> {
    source: &'a dyn Source,
    questions: &'a Questions,
    answers: Vec<Answer>,
    unseen: bool,
}

impl Asking<'_> {
    /// Asks all at once, and where that is refused each alone.
    async fn all(&mut self, open: &[usize]) -> Result<(), SourceError> {
        if open.is_empty() {
            return Ok(());
        }
        match self.put(open).await {
            Err(SourceError::Denied { .. }) => {}
            put => return put,
        }
        // Is it the statement, or what some key makes of it?
        let probed = self.source.query(&self.questions.probe()).await?;
        self.sorted(1, &probed)?;
        for n in open {
            match self.put(&[*n]).await {
                Ok(()) => {}
                Err(SourceError::Denied { what, .. }) => {
                    if let Some(answer) = self.answers.get_mut(*n) {
                        *answer = Answer::Refused(what);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn put(&mut self, open: &[usize]) -> Result<(), SourceError> {
        let answer = self.source.query(&self.questions.query(open)).await?;
        let rows = self.sorted(open.len(), &answer)?;
        for (n, rows) in open.iter().zip(rows) {
            let seen = match (&answer.sees, self.questions.position(*n)) {
                (Some(sees), Some((position, transaction))) => {
                    sees.reflects(position, position, transaction)
                }
                _ => true,
            };
            self.unseen |= !seen;
            let Some(answer) = self.answers.get_mut(*n).filter(|_| seen) else {
                continue;
            };
            *answer = if rows.len() > self.questions.rows_max() {
                let max = self.questions.rows_max();
                Answer::Refused(format!(
                    "read: the answer has more than {max} rows (read.rows_max)"
                ))
            } else {
                Answer::Rows(rows)
            };
        }
        Ok(())
    }

    fn sorted(
        &self,
        questions: usize,
        answer: &ReadRows,
    ) -> Result<Vec<Vec<Vec<contract::Value>>>, SourceError> {
        self.questions
            .rows(questions, answer)
            .map_err(|what| SourceError::SchemaChanged {
                what: format!("read by key, rule {}: {what}", self.questions.name),
                hint: "correct the statement, or `columns` in its `read`".to_owned(),
            })
    }
}
