//! Where the first capture begins.

use contract::Section;
use jiff::Timestamp;

/// A place in the log that a person names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// Behind this log sequence number.
    Behind([u8; 10]),
    /// With the first transaction that was committed then or later.
    Time(Timestamp),
}

/// Where to begin; `Err` when what is given is no place.
pub(super) fn start(section: &mut Section<'_>) -> Result<Option<StartAt>, ()> {
    let (text, node) = (section.text("start"), section.get("start"));
    let (Some(text), Some(node)) = (text, node) else {
        return Ok(None);
    };
    let lsn = text.strip_prefix("0x").and_then(contract::value::unhex);
    let behind = lsn.and_then(|lsn| lsn.try_into().ok()).map(StartAt::Behind);
    let start = behind.or_else(|| text.parse().ok().map(StartAt::Time));
    if start.is_none() {
        let found = format!("`{text}` is no log sequence number and no time");
        let hint = "a time as \"2026-01-31T08:00:00Z\"; or what is told by SELECT \
                    sys.fn_cdc_get_max_lsn(), as \"0x\" and 20 digits";
        section.wrong("start", node, found, Some(hint.to_owned()));
    }
    start.map(Some).ok_or(())
}
