//! Tables that the log does not tell while it goes on telling others.

use contract::Untold;
use state::StoreError;

use super::{FULL_WAIT, Failed};
use crate::Common;

/// Notes which tables are not told now. One that is newly so is read again as soon as it can be:
/// what happens to its rows until then is in no log of ours. Whether a session that is under way must
/// start anew for that, once the batch is stored.
///
/// A full disk is waited out: the source says it once, and a batch that were stored without it would
/// be the last to know.
pub(super) async fn note(
    common: &Common,
    name: &str,
    source_id: i64,
    untold: Vec<Untold>,
    noted: &mut Vec<Untold>,
) -> Result<bool, Failed> {
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
    let said = untold.iter();
    let said = said.map(|one| format!("{}; to mend it: {}", one.what, one.hint));
    let said: Vec<String> = said.collect();
    let problem = (!said.is_empty()).then(|| said.join("; "));
    loop {
        let noting = common
            .store
            .note_untold(source_id, tables.clone(), problem.clone());
        match noting.await {
            Ok(()) => break,
            Err(error @ StoreError::Full) => {
                tracing::error!(source = name, stage = "capture", error = %error,
                    hint = error.hint(), "capture waits for disk space");
                if common.sleep(FULL_WAIT).await {
                    return Err(Failed::Stopped);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    *noted = untold;
    Ok(again)
}
