//! The form of a line on the console, and in systemd's journal where that keeps it.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Whether standard error goes into systemd's journal: it then says so by the file's numbers, which a
/// child that writes elsewhere does not have.
#[cfg(unix)]
pub(super) fn is_journal() -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|named| {
        rustix::fs::fstat(std::io::stderr())
            .is_ok_and(|file| named == format!("{}:{}", file.st_dev, file.st_ino))
    })
}

#[cfg(not(unix))]
pub(super) fn is_journal() -> bool {
    false
}

/// A form whose lines may begin with their priority as the journal reads it.
pub(super) struct Ranked<F> {
    form: F,
    ranks: bool,
}

pub(super) fn ranked<F>(form: F, ranks: bool) -> Ranked<F> {
    Ranked { form, ranks }
}

impl<S, N, F> FormatEvent<S, N> for Ranked<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.ranks {
            write!(writer, "<{}>", rank(*event.metadata().level()))?;
        }
        self.form.format_event(context, writer, event)
    }
}

/// syslog's priorities; see sd-daemon(3).
fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
