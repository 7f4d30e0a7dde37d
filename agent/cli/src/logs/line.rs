//! A line of the log as JSON.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The field with a line's code.
pub(super) const CODE: &str = "code";
/// The field with its sentence.
pub(super) const MESSAGE: &str = "message";
/// What a line that is not ours has as its code.
pub(super) const LIBRARY: &str = "library.says";

/// Longest value: an error that quotes a document must not fill the file.
const VALUE_CHARS_MAX: usize = 4_000;

/// One object a line: when, how grave, which code, the sentence, then its fields.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut when = String::new();
        SystemTime.format_time(&mut Writer::new(&mut when))?;
        let about = event.metadata();
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), when.into());
        line.insert("level".to_owned(), about.level().as_str().into());
        // Their places; the fields fill them.
        line.insert(CODE.to_owned(), LIBRARY.into());
        line.insert(MESSAGE.to_owned(), "".into());
        event.record(&mut Fields(&mut line));
        line.insert("target".to_owned(), about.target().into());
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let value = match value.char_indices().nth(VALUE_CHARS_MAX) {
            Some((end, _)) => format!("{}..", &value[..end]),
            None => value.to_owned(),
        };
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
