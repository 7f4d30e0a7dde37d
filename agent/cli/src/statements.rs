//! Whether a source's database takes the statements of `read`: each is asked once, with nulls.

use contract::{Finding, Source};
use mappings::Statement;

/// What is wrong with the statements.
pub(crate) async fn check(source: &dyn Source, statements: &[Statement]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for statement in statements {
        let what = format!("rule {}, read", statement.rule());
        if !source.can_query() {
            let found = "this kind of source cannot be asked";
            findings.push(Finding::fail(what, found).fix("use `from` and `join`"));
            continue;
        }
        let asked = source.query(statement.probe()).await;
        findings.push(match asked.map(|answer| statement.fits(&answer)) {
            Ok(Ok(())) => Finding::pass(what, "the database takes the statement"),
            Ok(Err(found)) => Finding::fail(what, found).fix("correct `columns` or the statement"),
            Err(error) => {
                let finding = Finding::fail(what, error.to_string());
                finding.fix(error.hint().unwrap_or("lighterman check says more"))
            }
        });
    }
    findings
}
