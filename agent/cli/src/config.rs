//! The settings file: read, checked as a whole, every problem at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::finding::{Level, nearest};
use contract::{
    BuildDestination, BuildSource, CapturedTable, EventType, Finding, Problems, Secret,
    SecretPlace, Secrets, Section, Source, SourceContext,
};
use engine::{DeliverySettings, Pace, RetryPolicy, SourceSetup};
use mappings::{Catalogue, MappingSet};
use state::Retention;

use crate::fit::SourceFiles;
use crate::logs::{self, LogSettings};
use crate::{delivery, toml_node};

/// A checked settings file. Paths in it are relative to its folder, which is the working folder.
pub(crate) struct Config {
    pub(crate) tenant: String,
    pub(crate) state_folder: PathBuf,
    pub(crate) retention: Retention,
    pub(crate) log: LogSettings,
    pub(crate) sources: Vec<SourceConfig>,
    pub(crate) destinations: Vec<DestinationConfig>,
    /// What works but should be known.
    pub(crate) warnings: Vec<Finding>,
}

pub(crate) struct SourceConfig {
    pub(crate) name: String,
    /// The adapter's name.
    pub(crate) kind: &'static str,
    build: BuildSource,
    pub(crate) mappings: Vec<PathBuf>,
    reads_per_second: u32,
    pace: Pace,
    /// Which company its database holds, where a mapping file lists several.
    pub(crate) company: Option<String>,
}

pub(crate) struct DestinationConfig {
    pub(crate) name: String,
    pub(crate) build: BuildDestination,
    pub(crate) event_types: Vec<EventType>,
    pub(crate) retry: RetryPolicy,
    pub(crate) settings: DeliverySettings,
}

/// Keys asked of a database in a second, unless the settings say otherwise: no ERP feels it.
const READS_PER_SECOND: u32 = 100;

/// Tables of a source that may be read at once: each takes a connection of the database.
const PARALLEL_MAX: u64 = 16;

/// Secrets from the environment and from files.
struct LocalSecrets;

impl Secrets for LocalSecrets {
    fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
        match place {
            SecretPlace::Environment(name) => std::env::var(name)
                .map(Secret::new)
                .map_err(|_| format!("environment variable {name} is not set")),
            SecretPlace::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
                }
                Err(error) => Err(format!("read secret file {path}: {error}")),
            },
        }
    }
}

/// Reads and checks a settings file, mappings included.
pub(crate) fn load(file: &Path) -> Result<Config, Vec<Finding>> {
    let config = load_settings(file)?;
    let mut findings = config.warnings.clone();
    for source in &config.sources {
        match source.setup() {
            Ok((_, more)) | Err(more) => findings.extend(more),
        }
    }
    if findings.iter().any(|finding| finding.level == Level::Fail) {
        return Err(findings);
    }
    Ok(Config {
        warnings: findings,
        ..config
    })
}

/// Reads and checks the sources of a settings file. Destinations are not looked at, nor are their
/// secrets: whoever writes mapping files may not have them.
pub(crate) fn load_sources(file: &Path) -> Result<Vec<SourceConfig>, Vec<Finding>> {
    let config = parse(file, |top| {
        top.get("destination");
        read(top, |_| Some(Vec::new()))
    })?;
    Ok(config.sources)
}

/// Reads and checks a settings file, and not the mappings it names.
fn load_settings(file: &Path) -> Result<Config, Vec<Finding>> {
    parse(file, |top| read(top, read_destinations))
}

fn parse(
    file: &Path,
    read: impl FnOnce(&mut Section<'_>) -> Option<Config>,
) -> Result<Config, Vec<Finding>> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        let finding = Finding::fail(format!("read {shown}"), error.to_string());
        vec![finding.fix("lighterman init writes one")]
    })?;
    let problems = Problems::new(&shown);
    let config = toml_node::parse(&text, &problems).and_then(|root| {
        let mut top = Section::new(&root, "", &problems);
        let config = read(&mut top);
        top.finish();
        config
    });
    let findings = problems.take();
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    match config {
        Some(config) if !failed => Ok(Config {
            warnings: findings,
            ..config
        }),
        _ => Err(findings),
    }
}

fn read(
    top: &mut Section<'_>,
    destinations: impl FnOnce(&mut Section<'_>) -> Option<Vec<DestinationConfig>>,
) -> Option<Config> {
    let tenant = top.text("tenant").unwrap_or("default").to_owned();
    let state_folder = PathBuf::from(top.text("state_folder").unwrap_or("state"));
    let mut retention = Retention::default();
    if let Some(mut section) = top.section("retention") {
        if let Some(hours) = section.number("keep_hours", 0, 24 * 365) {
            retention.keep = Duration::from_hours(hours);
        }
        if let Some(rows) = section.number("events_max", 0, 1 << 40) {
            retention.rows_max = rows;
        }
        section.finish();
    }
    let log = logs::read(top, &state_folder);
    if top.get("source").is_none() {
        top.missing("source", "a [[source]] block");
    }
    let sections = top.sections("source");
    let expected = sections.len();
    let sources: Vec<_> = sections.into_iter().filter_map(read_source).collect();
    let whole = sources.len() == expected;
    twice(
        top.problems(),
        "source",
        sources.iter().map(|source| &source.name),
    );
    let destinations = destinations(top)?;
    whole.then_some(Config {
        tenant,
        state_folder,
        retention,
        log,
        sources,
        destinations,
        warnings: Vec::new(),
    })
}

fn read_destinations(top: &mut Section<'_>) -> Option<Vec<DestinationConfig>> {
    if top.get("destination").is_none() {
        top.missing("destination", "a [[destination]] block");
    }
    let sections = top.sections("destination");
    let expected = sections.len();
    let destinations: Vec<_> = sections.into_iter().filter_map(read_destination).collect();
    twice(
        top.problems(),
        "destination",
        destinations.iter().map(|d| &d.name),
    );
    (destinations.len() == expected).then_some(destinations)
}

fn twice<'a>(problems: &Problems, what: &str, names: impl Iterator<Item = &'a String>) {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            problems.add(1, 1, what, format!("two have the name `{name}`"), None);
        }
        seen.push(name);
    }
}

/// The kind named by `type`, or a problem with the nearest name.
fn kind<T>(
    section: &mut Section<'_>,
    kinds: &'static [T],
    name: fn(&T) -> &'static str,
) -> Option<&'static T> {
    let text = section.required_text("type", "`type = \"..\"`")?;
    let found = kinds.iter().find(|kind| name(kind) == text);
    if found.is_none()
        && let Some(node) = section.get("type")
    {
        let names: Vec<_> = kinds.iter().map(name).collect();
        let fix = nearest(text, names.iter().copied()).map_or_else(
            || format!("one of {}", names.join(", ")),
            |n| format!("did you mean `{n}`?"),
        );
        section.wrong("type", node, format!("there is no `{text}`"), Some(fix));
    }
    found
}

fn read_source(mut section: Section<'_>) -> Option<SourceConfig> {
    let name = section
        .required_text("name", "`name = \"erp\"`")
        .map(str::to_owned);
    let kind = kind(&mut section, registry::SOURCES, |kind| kind.name);
    if section.get("mappings").is_none() {
        section.missing("mappings", "`mappings = [\"mapping.yaml\"]`");
    }
    let mappings = section.texts("mappings").unwrap_or_default();
    let reads = section.number("reads_per_second", 1, 10_000);
    let reads_per_second = reads.and_then(|reads| u32::try_from(reads).ok());
    let mappings: Vec<PathBuf> = mappings.into_iter().map(PathBuf::from).collect();
    let company = section.text("company").map(str::to_owned);
    let pace = section
        .section("snapshot")
        .map(read_pace)
        .unwrap_or_default();
    let build = kind.and_then(|kind| (kind.read)(&mut section, &LocalSecrets));
    if kind.is_some() {
        section.finish();
    }
    Some(SourceConfig {
        name: name?,
        kind: kind?.name,
        build: build?,
        mappings,
        reads_per_second: reads_per_second.unwrap_or(READS_PER_SECOND),
        pace,
        company,
    })
}

/// How tables are read: `snapshot = { .. }` in a source's block.
fn read_pace(mut section: Section<'_>) -> Pace {
    let mut pace = Pace::default();
    if let Some(rate) = section.number("rows_per_second", 1, 10_000_000) {
        pace.rows_per_second = u32::try_from(rate).ok();
    }
    if let Some(parallel) = section.number("parallel", 1, PARALLEL_MAX) {
        pace.parallel = usize::try_from(parallel).unwrap_or(1);
    }
    let zone = delivery::zone(&mut section, "pause");
    pace.pauses = delivery::pauses(&mut section, "pause");
    pace.zone = zone.unwrap_or(pace.zone);
    section.finish();
    pace
}

fn read_destination(mut section: Section<'_>) -> Option<DestinationConfig> {
    let name = section
        .required_text("name", "`name = \"shop\"`")
        .map(str::to_owned);
    let kind = kind(&mut section, registry::DESTINATIONS, |kind| kind.name);
    let mut event_types = Vec::new();
    let names = section.texts("events").unwrap_or_default();
    for text in names {
        match text.parse() {
            Ok(event_type) => event_types.push(event_type),
            Err(()) => {
                if let Some(node) = section.get("events") {
                    let fix = nearest(text, EventType::ALL.into_iter().map(EventType::name))
                        .map(|name| format!("did you mean `{name}`?"));
                    section.wrong(
                        "events",
                        node,
                        format!("`{text}` is not an event type"),
                        fix,
                    );
                }
            }
        }
    }
    let default = RetryPolicy::default();
    let first = section
        .number("retry_first_ms", 10, 600_000)
        .map(Duration::from_millis);
    let max = section
        .number("retry_max_seconds", 1, 86_400)
        .map(Duration::from_secs);
    let retry = RetryPolicy {
        first: first.unwrap_or(default.first),
        max: max.unwrap_or(default.max),
    };
    let settings = delivery::read(&mut section);
    let build = kind.and_then(|kind| (kind.read)(&mut section, &LocalSecrets));
    if kind.is_some() {
        section.finish();
    }
    Some(DestinationConfig {
        name: name?,
        build: build?,
        event_types,
        retry,
        settings,
    })
}

impl SourceConfig {
    /// The source without any table to capture, for asking what it has.
    pub(crate) fn bare(&self) -> Result<Arc<dyn Source>, Vec<Finding>> {
        self.capturing(Vec::new())
    }

    /// The source, for some tables.
    ///
    /// # Errors
    /// What is wrong with its settings.
    pub(crate) fn capturing(
        &self,
        tables: Vec<CapturedTable>,
    ) -> Result<Arc<dyn Source>, Vec<Finding>> {
        let context = SourceContext {
            name: self.name.clone(),
            tables,
        };
        (self.build)(context)
            .map_err(|found| vec![Finding::fail(format!("source {}", self.name), found)])
    }

    /// Its mapping files as they are now.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn files(&self) -> Result<SourceFiles, Vec<Finding>> {
        SourceFiles::read(&self.mappings, self.company.clone())
    }

    /// The source as its settings and mapping files are now, and what loads but should be known.
    pub(crate) fn setup(&self) -> Result<(SourceSetup, Vec<Finding>), Vec<Finding>> {
        self.setup_of(&self.files()?)
    }

    /// The source with mapping files that were read, and what loads but should be known.
    pub(crate) fn setup_of(
        &self,
        files: &SourceFiles,
    ) -> Result<(SourceSetup, Vec<Finding>), Vec<Finding>> {
        let mappings = files.load(&Catalogue::default())?;
        let warnings = mappings
            .iter()
            .flat_map(|mapping| mapping.warnings().to_vec())
            .collect();
        let mapping = Arc::new(MappingSet::new(mappings)?);
        let context = SourceContext {
            name: self.name.clone(),
            tables: mapping.tables(),
        };
        let source = (self.build)(context)
            .map_err(|found| vec![Finding::fail(format!("source {}", self.name), found)])?;
        let setup = SourceSetup {
            source,
            mapping,
            reads_per_second: self.reads_per_second,
            pace: self.pace.clone(),
        };
        Ok((setup, warnings))
    }
}
