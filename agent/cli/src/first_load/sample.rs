//! A sample of each table, and what it says of the whole.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use contract::{ChunkLimits, EventType, TableInfo, TableName};
use mappings::{Catalogue, MappingSet};
use serde_json::{Value as Json, json};

use super::{problem, seconds};
use crate::config::SourceConfig;
use crate::map::{Trying, tried_first};
use contract::Finding;

/// Rows of each table that are read.
const SAMPLE: usize = 1_000;
const BYTES_MAX: usize = 4 << 20;

/// What a load of a source would be.
pub(super) struct Sampled {
    pub(super) name: String,
    pub(super) tables: Vec<Table>,
    pub(super) rules: Vec<Rule>,
    /// All of it, but for pauses.
    pub(super) time: Option<Duration>,
    /// Times of day at which nothing is read.
    pub(super) pauses: Vec<String>,
    pub(super) rows_per_second: Option<u32>,
}

/// One table.
pub(super) struct Table {
    pub(super) name: TableName,
    /// `None` = more than the sample, and the database has no estimate.
    pub(super) rows: Option<u64>,
    /// It was read to its end.
    pub(super) exact: bool,
    /// It was read before: it is not read again.
    pub(super) done: bool,
    pub(super) time: Option<Duration>,
}

/// What a rule made of its sample.
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) event_type: EventType,
    pub(super) rows: u64,
    pub(super) events: u64,
    pub(super) held: u64,
    /// Of the whole, where its size is known.
    pub(super) expected: Option<u64>,
    pub(super) expected_held: Option<u64>,
}

/// Reads a sample of each table of a source, and tries its mapping on it.
pub(super) async fn sampled(
    source: &SourceConfig,
    read_before: &[String],
) -> Result<Sampled, Vec<Finding>> {
    let files = source.files()?;
    let set = MappingSet::new(files.load(&Catalogue::default())?)?;
    let names: Vec<TableName> = set.tables().into_iter().map(|one| one.table).collect();
    let asked = source.bare()?.catalogue(&names).await;
    let infos = asked.map_err(|error| problem(&source.name, error.to_string()))?;
    let set = MappingSet::new(files.load(&Catalogue::new(&infos))?)?;
    let asked = source.capturing(set.tables())?;
    let mut tables = Vec::new();
    for name in names {
        let began = Instant::now();
        let limits = ChunkLimits {
            rows_max: SAMPLE,
            bytes_max: BYTES_MAX,
        };
        let chunk = async {
            let mut reader = asked.snapshot(1).await?;
            reader.chunk(&name, None, limits).await
        };
        let chunk = chunk
            .await
            .map_err(|error| problem(&source.name, format!("read {name}: {error}")))?;
        let (read, whole) = (chunk.rows.len() as u64, chunk.next.is_none());
        let rows = if whole {
            Some(read)
        } else {
            estimate(&infos, &name, read)
        };
        tables.push(Table {
            rows,
            exact: whole,
            done: read_before.contains(&name.to_string()),
            time: rows.map(|rows| time(source, rows, read, began.elapsed())),
            name,
        });
    }
    let trying = tried_first(&*asked, &infos, &set, SAMPLE).await?;
    let rules = rules(&set, &tables, &trying);
    let pace = &source.pace;
    let of_tables = tables.iter().filter(|table| !table.done);
    let times: Option<Duration> = of_tables.map(|table| table.time).sum();
    let readers = if pace.rows_per_second.is_some() {
        1
    } else {
        pace.parallel
    };
    let pause = |pause: &engine::Pause| {
        format!(
            "{}-{}",
            pause.from.strftime("%H:%M"),
            pause.to.strftime("%H:%M")
        )
    };
    Ok(Sampled {
        name: source.name.clone(),
        tables,
        rules,
        time: times.map(|time| time / u32::try_from(readers.max(1)).unwrap_or(1)),
        pauses: pace.pauses.iter().map(pause).collect(),
        rows_per_second: pace.rows_per_second,
    })
}

/// What the database believes, and no less than was read.
fn estimate(infos: &[TableInfo], name: &TableName, read: u64) -> Option<u64> {
    let info = infos.iter().find(|info| info.table == *name)?;
    Some(info.rows?.max(read))
}

/// How long so many rows take: at the rate of the settings, or with a rest behind each chunk as long as its reading.
#[expect(clippy::cast_precision_loss, reason = "a rough time, for people")]
fn time(source: &SourceConfig, rows: u64, read: u64, took: Duration) -> Duration {
    match source.pace.rows_per_second {
        Some(rate) => seconds(1.0 / f64::from(rate.max(1)), rows),
        None if read == 0 => Duration::ZERO,
        None => seconds(2.0 * took.as_secs_f64() / read as f64, rows),
    }
}

fn rules(set: &MappingSet, tables: &[Table], trying: &Trying) -> Vec<Rule> {
    let counted =
        |list: &BTreeMap<String, u64>, id: &str| list.get(id).copied().unwrap_or_default();
    let of_rule = |rule: mappings::RuleInfo| {
        let own = set.own_tables(&rule.id);
        let total: Option<u64> = own
            .iter()
            .map(|own| {
                let table = tables.iter().find(|table| table.name == own.table);
                // What was read before is not told by a load.
                table.and_then(|table| if table.done { Some(0) } else { table.rows })
            })
            .sum();
        let rows = counted(&trying.rows, &rule.id);
        let (events, held) = (
            counted(&trying.events, &rule.id),
            counted(&trying.held, &rule.id),
        );
        let of_all = |count: u64| {
            let all = u128::from(count) * u128::from(total?);
            u64::try_from(all.checked_div(u128::from(rows)).unwrap_or(0)).ok()
        };
        Rule {
            event_type: rule.event_type,
            rows,
            events,
            held,
            expected: of_all(events),
            expected_held: of_all(held),
            id: rule.id,
        }
    };
    set.rules().map(of_rule).collect()
}

impl Sampled {
    pub(super) fn json(&self) -> Json {
        let tables = self.tables.iter().map(|table| {
            json!({
                "table": table.name.to_string(),
                "rows": table.rows,
                "exact": table.exact,
                "read_before": table.done,
                "seconds": table.time.map(|time| time.as_secs()),
            })
        });
        let rules = self.rules.iter().map(|rule| {
            json!({
                "rule": rule.id,
                "type": rule.event_type.name(),
                "sample": { "rows": rule.rows, "events": rule.events, "held": rule.held },
                "events": rule.expected,
                "held": rule.expected_held,
            })
        });
        json!({
            "source": self.name,
            "tables": tables.collect::<Vec<_>>(),
            "rules": rules.collect::<Vec<_>>(),
            "seconds": self.time.map(|time| time.as_secs()),
            "pauses": self.pauses,
        })
    }
}
