//! The settings file and what the environment says above it: read, checked as a whole, every problem at once.

mod flat;
mod overrides;
mod references;
mod schema;
mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::finding::{Level, Place, nearest};
use contract::section::misnamed;
use contract::{
    BuildDestination, BuildSource, CapturedTable, EventType, Finding, Node, NodeKind, Problems,
    Secrets, Section, Source, SourceContext,
};
use engine::{DeliverySettings, Pace, Reserve, RetryPolicy, SourceSetup};
use mappings::{Catalogue, MappingSet};
use state::Retention;

use crate::alerts::{self, AlertSettings};
use crate::check::{self, CheckSettings};
use crate::fit::SourceFiles;
use crate::local::{self, LocalSettings};
use crate::logs::{self, LogSettings};
use crate::otlp::{self, OtlpSettings};
use crate::read_text::read_text;
use crate::{delivery, disk, reconcile, secret, toml_node};

pub(crate) use flat::Flat;
pub(crate) use references::{Reference, references};
pub(crate) use schema::schema;
pub(crate) use show::show;

/// A checked settings file. Paths in it are relative to its folder, which is the working folder.
pub(crate) struct Config {
    pub(crate) tenant: String,
    pub(crate) state_folder: PathBuf,
    pub(crate) retention: Retention,
    pub(crate) log: LogSettings,
    /// How much of the state folder's disk is kept free.
    pub(crate) reserve: Reserve,
    /// How often the running agent checks by itself.
    pub(crate) check: CheckSettings,
    /// The local server, where there is to be one.
    pub(crate) local: Option<LocalSettings>,
    /// Where traces and metrics are sent, where they are.
    pub(crate) otlp: Option<OtlpSettings>,
    pub(crate) alerts: AlertSettings,
    pub(crate) sources: Vec<SourceConfig>,
    pub(crate) destinations: Vec<DestinationConfig>,
    /// What works but should be known.
    pub(crate) warnings: Vec<Finding>,
    /// All that the file and the environment say.
    pub(crate) said: Flat,
}

#[derive(Clone)]
pub(crate) struct SourceConfig {
    pub(crate) name: String,
    /// The adapter's name.
    pub(crate) kind: &'static str,
    build: BuildSource,
    pub(crate) mappings: Vec<PathBuf>,
    /// Mapping files that are tried beside those in force; nothing of them is sent.
    pub(crate) shadow: Vec<PathBuf>,
    pub(crate) reads_per_second: u32,
    pub(crate) pace: Pace,
    /// When the agent compares it by itself.
    pub(crate) reconcile: Option<reconcile::Schedule>,
    /// Which company its database holds, where a mapping file lists several.
    pub(crate) company: Option<String>,
}

pub(crate) struct DestinationConfig {
    pub(crate) name: String,
    pub(crate) build: BuildDestination,
    pub(crate) event_types: Vec<EventType>,
    pub(crate) retry: RetryPolicy,
    pub(crate) settings: DeliverySettings,
    /// Where its block begins.
    place: Place,
    /// When the agent compares it by itself.
    pub(crate) reconcile: Option<reconcile::Schedule>,
}

/// Keys asked of a database in a second, unless the settings say otherwise: no ERP feels it.
const READS_PER_SECOND: u32 = 100;

/// Tables of a source that may be read at once: each takes a connection of the database.
const PARALLEL_MAX: u64 = 16;

/// Reads and checks a settings file, mappings included.
pub(crate) fn load(file: &Path) -> Result<Config, Vec<Finding>> {
    let config = load_settings(file)?;
    let mut findings = config.warnings.clone();
    for source in &config.sources {
        match source.setup() {
            Ok((_, more)) | Err(more) => findings.extend(more),
        }
        findings.extend(source.shadow_findings());
    }
    // What it names, such as certificates, is looked at before anything is begun.
    for destination in &config.destinations {
        if let Err(found) = (destination.build)(&destination.name) {
            let fix =
                "see that the file is there, in PEM, and may be read by whoever runs the agent";
            let mut finding =
                Finding::fail(format!("destination {}", destination.name), found).fix(fix);
            finding.place = Some(Box::new(destination.place.clone()));
            findings.push(finding);
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

/// Reads and checks the sources of a settings file. Nothing else is looked at, nor are its secrets: whoever
/// writes mapping files may not have them.
pub(crate) fn load_sources(file: &Path) -> Result<Vec<SourceConfig>, Vec<Finding>> {
    let config = parse(file, |top| {
        top.get("destination");
        read(top, |_| Some(Vec::new()), false)
    })?;
    Ok(config.sources)
}

/// The state folder that a settings file names, whatever else stands in it: who looks after the state
/// needs no secrets and no mapping that fits.
pub(crate) fn load_state_folder(file: &Path) -> Result<PathBuf, Vec<Finding>> {
    let (root, problems) = open(file, Problems::new)?;
    let mut top = Section::new(&root, "", &problems);
    let folder = state_folder(&mut top);
    let findings = problems.take();
    if findings.is_empty() {
        Ok(folder)
    } else {
        Err(findings)
    }
}

fn state_folder(top: &mut Section<'_>) -> PathBuf {
    let folder = top.text_or("state_folder", "state");
    if let (true, Some(node)) = (folder.trim().is_empty(), top.get("state_folder")) {
        let found = "is blank, expected a folder".to_owned();
        top.wrong(
            "state_folder",
            node,
            found,
            Some("state_folder = \"state\"".to_owned()),
        );
    }
    PathBuf::from(folder)
}

fn text_of(file: &Path) -> Result<String, Vec<Finding>> {
    read_text(file, "read").map_err(|mut finding| {
        if !file.exists() {
            let near = finding.fix.filter(|fix| fix.contains("did you mean"));
            finding.fix = Some(near.unwrap_or_else(|| "lighterman init writes one".to_owned()));
        }
        vec![finding]
    })
}

/// Reads and checks a settings file, and not the mappings it names.
pub(crate) fn load_settings(file: &Path) -> Result<Config, Vec<Finding>> {
    parse(file, |top| read(top, read_destinations, true))
}

/// What is to be said of the sources and destinations in a text, with other secrets than those there are: for
/// whoever makes such a text.
pub(crate) fn blocks(text: &str, secrets: &dyn Secrets) -> Vec<Finding> {
    let problems = Problems::new("lighterman.toml");
    if let Some(root) = toml_node::parse(text, &problems) {
        let mut top = Section::new(&root, "", &problems);
        for section in top.sections("source") {
            let _ = read_source(section, secrets);
        }
        for section in top.sections("destination") {
            let _ = read_destination(section, secrets);
        }
    }
    problems.take()
}

/// What is to be said of all else in a text.
pub(crate) fn head(text: &str) -> Vec<Finding> {
    let problems = Problems::new("lighterman.toml");
    if let Some(root) = toml_node::parse(text, &problems) {
        let mut top = Section::new(&root, "", &problems);
        let _ = read(&mut top, |_| Some(Vec::new()), true);
        top.finish();
    }
    problems.take()
}

fn parse(
    file: &Path,
    read: impl FnOnce(&mut Section<'_>) -> Option<Config>,
) -> Result<Config, Vec<Finding>> {
    let (root, problems) = open(file, Problems::watched)?;
    let mut top = Section::new(&root, "", &problems);
    let config = read(&mut top);
    top.finish();
    let findings = problems.take();
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    match config {
        Some(config) if !failed => Ok(Config {
            warnings: findings,
            said: Flat::of(&root, &problems),
            ..config
        }),
        _ => Err(findings),
    }
}

/// The settings' tree, environment included, and where problems with it go.
///
/// # Errors
/// Why there is none.
fn open(file: &Path, problems: fn(&str) -> Problems) -> Result<(Node, Problems), Vec<Finding>> {
    let text = text_of(file)?;
    let problems = problems(&file.display().to_string());
    let Some(mut root) = toml_node::parse(&text, &problems) else {
        return Err(problems.take());
    };
    // A variable that is no text cannot be meant.
    let variables = std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
    overrides::apply(&mut root, variables, &problems);
    Ok((root, problems))
}

/// Reads all of it, or (`whole` = false) not what is for others than the sources.
fn read(
    top: &mut Section<'_>,
    destinations: impl FnOnce(&mut Section<'_>) -> Option<Vec<DestinationConfig>>,
    whole: bool,
) -> Option<Config> {
    let (local, otlp, alerts) = if whole {
        let local = top.section("local");
        let otlp = top.section("otlp");
        (
            local.and_then(|section| local::read(section, &secret::Local)),
            otlp.and_then(|section| otlp::read(section, &secret::Local)),
            alerts::read(top, &secret::Local),
        )
    } else {
        for key in ["local", "otlp", "alerts", "alert"] {
            top.get(key);
        }
        (None, None, AlertSettings::default())
    };
    let tenant = top.text_or("tenant", "default").to_owned();
    if let (Some(found), Some(node)) = (misnamed(&tenant), top.get("tenant")) {
        top.wrong("tenant", node, found, Some("tenant = \"acme\"".to_owned()));
    }
    let state_folder = state_folder(top);
    let mut retention = Retention::default();
    let mut section = top.section_or_empty("retention");
    let hours = section.number("keep_hours", 0, 24 * 365);
    let rows = section.number("events_max", 0, 1 << 40);
    retention.keep =
        Duration::from_hours(section.or("keep_hours", hours, retention.keep.as_secs() / 3_600));
    retention.rows_max = section.or("events_max", rows, retention.rows_max);
    section.finish();
    let log = logs::read(top, &state_folder);
    let reserve = disk::read(top);
    let check = check::read(top);
    some(top, "source");
    let sections = top.sections("source");
    let expected = sections.len();
    let sources: Vec<_> = sections
        .into_iter()
        .filter_map(|one| read_source(one, &secret::Local))
        .collect();
    let whole = sources.len() == expected;
    twice(top, "source");
    let destinations = destinations(top)?;
    whole.then_some(Config {
        tenant,
        state_folder,
        retention,
        log,
        reserve,
        check,
        local,
        otlp,
        alerts,
        sources,
        destinations,
        warnings: Vec::new(),
        said: Flat::default(),
    })
}

fn read_destinations(top: &mut Section<'_>) -> Option<Vec<DestinationConfig>> {
    some(top, "destination");
    let sections = top.sections("destination");
    let expected = sections.len();
    let destinations: Vec<_> = sections
        .into_iter()
        .filter_map(|one| read_destination(one, &secret::Local))
        .collect();
    twice(top, "destination");
    (destinations.len() == expected).then_some(destinations)
}

/// At least one block of a kind.
fn some(top: &mut Section<'_>, key: &'static str) {
    match top.get(key) {
        None => top.missing(key, &format!("a [[{key}]] block")),
        Some(node) if node.kind == NodeKind::List(Vec::new()) => {
            let fix = format!("a [[{key}]] block in its place");
            top.wrong(
                key,
                node,
                "names none, expected at least one".to_owned(),
                Some(fix),
            );
        }
        Some(_) => {}
    }
}

/// Blocks of one name, told at the second one.
fn twice(top: &mut Section<'_>, key: &'static str) {
    let Some(NodeKind::List(blocks)) = top.get(key).map(|node| &node.kind) else {
        return;
    };
    let mut seen: Vec<&str> = Vec::new();
    for (n, block) in (1..).zip(blocks) {
        let NodeKind::Map(entries) = &block.kind else {
            continue;
        };
        for (name, node) in entries {
            if let (true, NodeKind::Text(text)) = (name.name == "name", &node.kind) {
                if seen.contains(&text.as_str()) {
                    let found = format!("another {key} has the name `{text}`");
                    let fix = "give it a name of its own: commands and messages name it by it";
                    top.wrong(
                        &format!("{key}[{n}].name"),
                        node,
                        found,
                        Some(fix.to_owned()),
                    );
                }
                seen.push(text);
            }
        }
    }
}

/// What others call our kinds.
const ALSO_CALLED: &[(&str, &str)] = &[
    ("postgresql", "postgres"),
    ("pg", "postgres"),
    ("mariadb", "mysql"),
    ("mssql", "sqlserver"),
    ("sql server", "sqlserver"),
    ("sql-server", "sqlserver"),
    ("sqlite3", "sqlite"),
    ("http", "webhook"),
    ("https", "webhook"),
    ("rabbitmq", "amqp"),
    ("mosquitto", "mqtt"),
    ("csv", "file"),
    ("api", "channel"),
    ("rest", "channel"),
];

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
        let lower = text.to_lowercase();
        let called = ALSO_CALLED
            .iter()
            .filter(|(other, ours)| *other == lower && names.contains(ours));
        let near = called.map(|(_, ours)| *ours).next();
        let near = near.or_else(|| nearest(text, names.iter().copied()));
        let fix = if names.contains(&"channel") && mappings::channel::shipped(&lower).is_ok() {
            format!("`type = \"channel\"` and `channel = \"{lower}\"`")
        } else {
            near.map_or_else(
                || format!("one of {}", names.join(", ")),
                |n| format!("did you mean `{n}`?"),
            )
        };
        section.wrong("type", node, format!("there is no `{text}`"), Some(fix));
    }
    found
}

fn read_source(mut section: Section<'_>, secrets: &dyn Secrets) -> Option<SourceConfig> {
    let name = section
        .required_name("name", "`name = \"erp\"`")
        .map(str::to_owned);
    let kind = kind(&mut section, registry::SOURCES, |kind| kind.name);
    if section.get("mappings").is_none() {
        section.missing("mappings", "`mappings = [\"mapping.yaml\"]`");
    }
    let mappings = section.texts("mappings").unwrap_or_default();
    mapping_files(&mut section);
    let shadow = section.texts("shadow_mappings").unwrap_or_default();
    let shadow = shadow.into_iter().map(PathBuf::from).collect();
    let reads = section.number("reads_per_second", 1, 10_000);
    let reads = reads.and_then(|reads| u32::try_from(reads).ok());
    let reads_per_second = section.or("reads_per_second", reads, READS_PER_SECOND);
    let mappings: Vec<PathBuf> = mappings.into_iter().map(PathBuf::from).collect();
    let company = section.text("company").map(str::to_owned);
    let (pace, zone) = read_pace(section.section_or_empty("snapshot"));
    let schedule = section.section("reconcile");
    let schedule = schedule.map(|section| reconcile::read(section, reconcile::Of::Source, zone));
    let build = kind.and_then(|kind| (kind.read)(&mut section, secrets));
    if kind.is_some() {
        section.finish();
    }
    Some(SourceConfig {
        name: name?,
        kind: kind?.name,
        build: build?,
        mappings,
        shadow,
        reads_per_second,
        pace,
        reconcile: schedule,
        company,
    })
}

/// What cannot be meant by the names of mapping files.
fn mapping_files(section: &mut Section<'_>) {
    let Some(node) = section.get("mappings") else {
        return;
    };
    let NodeKind::List(files) = &node.kind else {
        return;
    };
    if files.is_empty() {
        let fix = "mappings = [\"mapping.yaml\"]: lighterman map new writes one".to_owned();
        section.wrong(
            "mappings",
            node,
            "names no file: nothing would be told".to_owned(),
            Some(fix),
        );
    }
    let mut seen: Vec<&str> = Vec::new();
    for file in files {
        if let NodeKind::Text(text) = &file.kind {
            if text.trim().is_empty() {
                let fix = "mappings = [\"mapping.yaml\"]".to_owned();
                section.wrong(
                    "mappings",
                    file,
                    "is blank, expected a file".to_owned(),
                    Some(fix),
                );
            }
            if seen.contains(&text.as_str()) {
                let found = format!("`{text}` is named twice");
                section.wrong(
                    "mappings",
                    file,
                    found,
                    Some("name each file once".to_owned()),
                );
            }
            seen.push(text);
        }
    }
}

/// How tables are read: `snapshot = { .. }` in a source's block; and whether it says in which zone times are.
fn read_pace(mut section: Section<'_>) -> (Pace, bool) {
    let mut pace = Pace::default();
    if let Some(rate) = section.number("rows_per_second", 1, 10_000_000) {
        pace.rows_per_second = u32::try_from(rate).ok();
    }
    let parallel = section.number("parallel", 1, PARALLEL_MAX);
    let parallel = parallel.and_then(|parallel| usize::try_from(parallel).ok());
    pace.parallel = section.or("parallel", parallel, pace.parallel);
    let zone = delivery::zone(&mut section, "pause");
    pace.pauses = delivery::pauses(&mut section, "pause");
    let is_said = zone.is_some();
    pace.zone = zone.unwrap_or(pace.zone);
    section.finish();
    (pace, is_said)
}

fn read_destination(mut section: Section<'_>, secrets: &dyn Secrets) -> Option<DestinationConfig> {
    let name = section
        .required_name("name", "`name = \"shop\"`")
        .map(str::to_owned);
    let kind = kind(&mut section, registry::DESTINATIONS, |kind| kind.name);
    let mut event_types = Vec::new();
    let names = section.texts("events");
    if let (Some([]), Some(node)) = (names.as_deref(), section.get("events")) {
        let found = "names no event type".to_owned();
        let fix = "leave `events` out for all of them".to_owned();
        section.wrong("events", node, found, Some(fix));
    }
    for text in names.unwrap_or_default() {
        match text.parse() {
            Ok(event_type) => event_types.push(event_type),
            Err(()) => {
                if let Some(node) = section.get("events") {
                    let names = EventType::ALL.into_iter().map(EventType::name);
                    let fix = nearest(text, names.clone()).map_or_else(
                        || format!("one of {}", names.collect::<Vec<_>>().join(", ")),
                        |name| format!("did you mean `{name}`?"),
                    );
                    let found = format!("`{text}` is not an event type");
                    section.wrong("events", node, found, Some(fix));
                }
            }
        }
    }
    let default = RetryPolicy::default();
    let first = section.number("retry_first_ms", 10, 600_000);
    let max = section.number("retry_max_seconds", 1, 86_400);
    let first_default = u64::try_from(default.first.as_millis()).unwrap_or(u64::MAX);
    let retry = RetryPolicy {
        first: Duration::from_millis(section.or("retry_first_ms", first, first_default)),
        max: Duration::from_secs(section.or("retry_max_seconds", max, default.max.as_secs())),
    };
    let settings = delivery::read(&mut section);
    let zone = section.get("zone").is_some();
    let reconcile = section.section("reconcile");
    let reconcile =
        reconcile.map(|section| reconcile::read(section, reconcile::Of::Destination, zone));
    let build = kind.and_then(|kind| (kind.read)(&mut section, secrets));
    let (line, column) = section.place();
    let place = section.problems().place(line, column);
    if kind.is_some() {
        section.finish();
    }
    Some(DestinationConfig {
        place,
        name: name?,
        build: build?,
        event_types,
        retry,
        settings,
        reconcile,
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

    /// The mapping files that are tried beside those in force, as they are now.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn shadow_files(&self) -> Result<SourceFiles, Vec<Finding>> {
        SourceFiles::read(&self.shadow, self.company.clone())
    }

    /// What is wrong with them: it keeps nothing of what is in force from running.
    fn shadow_findings(&self) -> Vec<Finding> {
        if self.shadow.is_empty() {
            return Vec::new();
        }
        let load = |files: SourceFiles| MappingSet::new(files.load(&Catalogue::default())?);
        let mut findings = self.shadow_files().and_then(load).err().unwrap_or_default();
        for finding in &mut findings {
            finding.level = Level::Warn;
            finding.found = format!("shadow_mappings: {}", finding.found);
        }
        findings
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
