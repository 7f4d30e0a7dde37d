//! Tables that the log does not tell while it goes on telling others.

use contract::Untold;
use state::{Part, StoreError};

use crate::Common;

/// Notes which tables are not told now. One that is newly so is read again as soon as it can be:
/// what happens to its rows until then is in no log of ours. Whether a session that is under way must
/// start anew for that, once the batch is stored.
pub(super) async fn note(
    common: &Common,
    name: &str,
    source_id: i64,
    untold: Vec<Untold>,
    noted: &mut Vec<Untold>,
) -> Result<bool, StoreError> {
    if untold == *noted {
        return Ok(false);
    }
    let mut tables = Vec::new();
    for one in &untold {
        if noted.iter().any(|known| known.table == one.table) {
            continue;
        }
        tracing::error!(source = name, stage = "capture", table = %one.table, hint = one.hint,
            "a table is read again as soon as it can be, the others go on: {}", one.what);
        tables.push(one.table.to_string());
    }
    let again = !tables.is_empty();
    match common.store.read_tables_again(source_id, tables).await {
        Ok(()) => {}
        // Whoever stores the batch waits for room; this is asked again with the next one.
        Err(StoreError::Full) => return Ok(false),
        Err(error) => return Err(error),
    }
    let said = untold.iter();
    let said = said.map(|one| format!("{}; to mend it: {}", one.what, one.hint));
    let said: Vec<String> = said.collect();
    let problem = (!said.is_empty()).then(|| said.join("; "));
    let part = Part::Untold;
    match common.store.set_partial(source_id, part, problem).await {
        Ok(()) => *noted = untold,
        Err(StoreError::Full) => {}
        Err(error) => return Err(error),
    }
    Ok(again)
}
