//! Files of older versions, which who only reads takes as they are.

use rusqlite::Connection;

use crate::error::StoreError;
use crate::migrate;

/// What a statement says of unfinished deliveries (`d`) for the index `delivery_lane` to answer it.
pub(crate) fn unfinished(db: &Connection) -> Result<&'static str, StoreError> {
    Ok(match migrate::format(db)? {
        ..8 => "d.state IN ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held')",
        8 => {
            "(d.state = 'queued' OR d.state = 'sending' OR d.state = 'unknown' OR d.state = 'accepted'
              OR d.state = 'backoff' OR d.state = 'held')"
        }
        _ => "d.open = 1",
    })
}
