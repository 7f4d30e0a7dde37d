//! `lighterman support-bundle`: what somebody else needs to help, in one archive, with nothing in it that is
//! nobody's business.
//!
//! Each part is got by itself and within a time; what cannot be had does not keep the others away. What our own
//! commands say is asked of them as processes, so that one that hangs can be ended.

mod archive;
mod events;
mod logs;
mod masked;
mod own;
mod system;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use contract::look::bytes;
use contract::{Clock, Finding};
use engine::clock::SystemClock;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Common, Exit, audit, beside_settings, out, refuse};
use masked::Scrubber;

/// All parts together, unpacked.
const TOTAL_MAX: usize = 64 << 20;
/// One mapping file; larger ones are cut.
const MAPPING_MAX: u64 = 1 << 20;
const MAPPINGS_MAX: usize = 200;

/// Packs what somebody else needs to help into one archive: secrets masked, and without what rows and events
/// say. The agent may run or not.
#[derive(Debug, Args)]
pub(crate) struct BundleOptions {
    #[command(flatten)]
    common: Common,
    /// A file that does not exist, or a folder; else a name of its own where you are.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Log files of so many days, today included.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=31))]
    days: u16,
    /// Also which keys are held, why in the words of whoever refused them, and status as it is: these may name
    /// people and goods.
    #[arg(long)]
    with_keys: bool,
}

/// What became of a part.
#[derive(Debug, Serialize)]
struct Part {
    file: String,
    had: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// What was cut or left out of it, or why it could not be had.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    said: Vec<String>,
}

/// A part's text, and what is to be said of it.
type Had = Result<(String, Vec<String>), String>;

/// What is in the bundle.
struct Bundle {
    scrubber: Scrubber,
    files: Vec<(String, String)>,
    parts: Vec<Part>,
    total: usize,
}

impl Bundle {
    fn put(&mut self, file: &str, had: Had) {
        let had = had.and_then(|(text, said)| {
            let text = self.scrubber.scrub(&text);
            if self.total + text.len() > TOTAL_MAX {
                return Err(format!(
                    "the bundle would be larger than {}",
                    bytes(TOTAL_MAX as u64)
                ));
            }
            Ok((text, said))
        });
        let part = match had {
            Ok((text, said)) => {
                let size = text.len();
                self.total += size;
                self.files.push((file.to_owned(), text));
                Part {
                    file: file.to_owned(),
                    had: true,
                    bytes: Some(size),
                    said,
                }
            }
            Err(why) => Part {
                file: file.to_owned(),
                had: false,
                bytes: None,
                said: vec![self.scrubber.scrub(&why)],
            },
        };
        self.parts.push(part);
    }

    fn manifest(&self, options: &BundleOptions, now: Timestamp) -> Value {
        json!({
            "lighterman_support": 1,
            "made_at": format!("{now:.0}"),
            "version": env!("CARGO_PKG_VERSION"),
            "days": options.days,
            "with_keys": options.with_keys,
            "parts": self.parts,
        })
    }
}

pub(crate) async fn bundle(options: &BundleOptions) -> Exit {
    let json = options.common.json;
    let now = SystemClock.now();
    let name = format!("lighterman-support-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    // What a person names is seen from where that person stands.
    let to = match &options.to {
        Some(to) if to.is_dir() => to.join(format!("{name}.tar.gz")),
        Some(to) => to.clone(),
        None => PathBuf::from(format!("{name}.tar.gz")),
    };
    let to = std::path::absolute(&to).unwrap_or(to);
    let file = match beside_settings(&options.common) {
        Ok(file) if file.exists() => file,
        Ok(file) => {
            let what = format!("read {}", file.display());
            let finding = Finding::fail(what, "there is no settings file")
                .fix("give the command in the folder of lighterman.toml, or name it with --config");
            return refuse(&[finding], json);
        }
        Err(findings) => return refuse(&findings, json),
    };
    if to.exists() {
        let found = "it exists already, and a bundle never takes another file's place";
        let finding = Finding::fail(format!("write {}", to.display()), found);
        refuse(
            &[finding.fix("name another file, or a folder, in which it gets a name of its own")],
            json,
        );
        return Exit::Trouble;
    }
    let (bundle, folder) = collected(&file, options, now).await;
    let manifest = bundle.manifest(options, now);
    let files = bundle.files;
    let mut packed = vec![
        ("README.txt".to_owned(), README.to_owned()),
        ("manifest.json".to_owned(), format!("{manifest:#}\n")),
    ];
    packed.extend(files);
    let (path, folder_name) = (to.clone(), name.clone());
    let written =
        tokio::task::spawn_blocking(move || archive::write(&path, &folder_name, &packed, now))
            .await;
    let size = match written {
        Ok(Ok(size)) => size,
        Ok(Err(error)) => {
            let finding = Finding::fail(format!("write {}", to.display()), error.to_string());
            refuse(
                &[finding.fix("name a file in a folder that may be written to, with room")],
                json,
            );
            return Exit::State;
        }
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let noted = json!({ "days": options.days, "with_keys": options.with_keys.then_some(true) });
    audit::did(&folder, "support.bundle", &to.display().to_string(), noted);
    say(&to, size, &bundle.parts, &manifest, json);
    Exit::Ok
}

const README: &str = "A support bundle of Lighterman. manifest.json lists the parts and what could not be had.\n\
    Secrets are masked everywhere. Without --with-keys nothing in it says what rows and events say, but for literals\n\
    that stand in mapping files: those are in it as they are.\n";

/// Gets all parts: those, and the state folder.
async fn collected(file: &Path, options: &BundleOptions, now: Timestamp) -> (Bundle, PathBuf) {
    let mut bundle = Bundle {
        scrubber: Scrubber::of_here(),
        files: Vec::new(),
        parts: Vec::new(),
        total: 0,
    };
    let settings = own::json(file, &["config", "show", "--effective"], own::SHORT).await;
    let values = settings.as_ref().map(values).unwrap_or_default();
    let text = |path: &str| values.get(path).and_then(Value::as_str).map(PathBuf::from);
    let folder = text("state_folder").unwrap_or_else(|| PathBuf::from("state"));
    let log_folder = text("log.folder").unwrap_or_else(|| folder.join("logs"));
    let (check, status, verdict, metrics, stands) = tokio::join!(
        own::json(file, &["check"], own::CHECK),
        own::json(file, &["status"], own::SHORT),
        own::json(file, &["state", "verify"], own::LONG),
        own::metrics(&values),
        events::stands(&folder, options.with_keys),
    );
    bundle.put(
        "system.json",
        Ok((pretty(&system::json(&folder, now)), Vec::new())),
    );
    bundle.put("settings.json", whole(settings));
    for (name, had) in mapping_files(&values) {
        bundle.put(&name, had);
    }
    bundle.put("check.json", whole(check));
    let status = if options.with_keys {
        whole(status)
    } else {
        known(status)
    };
    bundle.put("status.json", status);
    let state = verdict.map(|verdict| json!({ "verify": verdict, "tables": stands.tables }));
    bundle.put("state.json", whole(state));
    bundle.put("held.json", whole(stands.held));
    bundle.put("audit.jsonl", stands.audit);
    bundle.put("metrics.txt", metrics);
    let found = logs::files(&log_folder, options.days, now);
    if found.is_empty() {
        let why = format!("{} has no file of these days", log_folder.display());
        bundle.put("logs", Err(why));
    }
    let mut left = logs::TOTAL_MAX;
    // The newest first: where there is no room for all, the oldest are missing.
    for path in found {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let had = logs::read(&path, left);
        left = left.saturating_sub(had.as_ref().map_or(0, |(text, _)| text.len() as u64));
        bundle.put(&format!("logs/{name}"), had);
    }
    (bundle, folder)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn whole(value: Result<Value, String>) -> Had {
    value.map(|value| (pretty(&value), Vec::new()))
}

/// What may be told of a value without knowing where its texts come from.
fn known(value: Result<Value, String>) -> Had {
    value.map(|mut value| {
        let left_out = masked::known(&mut value);
        let said = match left_out {
            0 => Vec::new(),
            count => vec![format!("{count} texts that may say what events say are left out; --with-keys leaves them in")],
        };
        (pretty(&value), said)
    })
}

/// The settings' values by their paths.
fn values(settings: &Value) -> BTreeMap<String, Value> {
    let lines = settings.get("settings").and_then(Value::as_array);
    let one = |line: &Value| {
        let path = line.get("path")?.as_str()?.to_owned();
        // Written as TOML, which is JSON for what is asked for here.
        let value = serde_json::from_str(line.get("value")?.as_str()?).ok()?;
        Some((path, value))
    };
    lines
        .map(|lines| lines.iter().filter_map(one).collect())
        .unwrap_or_default()
}

/// The mapping files that the settings name, as they are.
fn mapping_files(values: &BTreeMap<String, Value>) -> Vec<(String, Had)> {
    let mut all = Vec::new();
    for (path, value) in values {
        let source = path
            .strip_prefix("source.")
            .and_then(|rest| rest.strip_suffix(".mappings"));
        let (Some(source), Some(files)) = (source, value.as_array()) else {
            continue;
        };
        for (n, file) in (1..).zip(files.iter().filter_map(Value::as_str)) {
            if all.len() == MAPPINGS_MAX {
                return all;
            }
            let last = Path::new(file)
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            let plain = |text: &str| text.replace(['/', '\\', ':'], "_");
            let name = format!("mappings/{}/{n}-{}", plain(source), plain(&last));
            all.push((name, mapping_file(file)));
        }
    }
    all
}

fn mapping_file(file: &str) -> Had {
    use std::io::Read as _;
    let read = || -> std::io::Result<(Vec<u8>, u64)> {
        let file = std::fs::File::open(file)?;
        let size = file.metadata()?.len();
        let mut text = Vec::new();
        file.take(MAPPING_MAX).read_to_end(&mut text)?;
        Ok((text, size))
    };
    let (text, size) = read().map_err(|error| format!("read {file}: {error}"))?;
    let cut = size > text.len() as u64;
    let said = cut.then(|| format!("cut: the first {} of {}", bytes(MAPPING_MAX), bytes(size)));
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok((text, said.into_iter().collect()))
}

fn say(to: &Path, size: u64, parts: &[Part], manifest: &Value, json: bool) {
    if json {
        let form = json!({ "file": to, "bytes": size, "manifest": manifest });
        out(&form.to_string());
        return;
    }
    let had = parts.iter().filter(|part| part.had).count();
    out(&format!(
        "Wrote {} ({}, {had} parts).",
        to.display(),
        bytes(size)
    ));
    for part in parts {
        for said in &part.said {
            let not = if part.had { "" } else { "not had: " };
            out(&format!("  {}: {not}{said}", part.file));
        }
    }
    out(
        "Secrets are masked. Mapping files are in it as they are: look whether what stands in them may be sent. \
         Nothing was sent anywhere.",
    );
}
