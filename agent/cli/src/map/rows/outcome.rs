//! What rows make, by a mapping at work on them alone.

use contract::{Finding, Source};
use mappings::MappingSet;
use mappings::relate::Look;
use mappings::trial::{Outcome, Trial};

use super::Rows;

/// A mapping after its rows.
pub(crate) struct Tried {
    pub(crate) outcome: Outcome,
    /// Each own row, step by step, by rule.
    pub(crate) looks: Vec<Look>,
}

/// Maps rows; the source's database is asked for what the rules read by key.
///
/// # Errors
/// Why the database does not answer.
pub(crate) async fn run(
    source: Option<&dyn Source>,
    set: &MappingSet,
    rows: &Rows,
    questions_max: usize,
) -> Result<Tried, Vec<Finding>> {
    let mut trial = Trial::to_look_at(set);
    let mut outcome = trial.take_changes(&rows.changes);
    let mut turn = None;
    let mut asked = 0;
    while let (Some(source), true) = (source, asked < questions_max) {
        let Some(questions) = trial.questions(&turn) else {
            break;
        };
        turn = questions.turn();
        asked += questions.len();
        let (answers, problem) = engine::ask_once(source, &questions).await;
        if let Some(error) = problem {
            let finding =
                Finding::fail(format!("rule {}, read", questions.name), error.to_string());
            return Err(vec![finding.fix(error.hint().unwrap_or("try again"))]);
        }
        outcome.and(trial.answered(&questions, &answers));
    }
    let mut looks = Vec::new();
    for (rule, own) in &rows.own {
        let answered = trial.answered_rows(rule);
        let keys = own.iter().map(|(_, key)| key).chain(&answered);
        for key in keys {
            looks.extend(trial.look(rule, key));
        }
    }
    Ok(Tried { outcome, looks })
}
