//! Mapping files by path, and the packs they extend.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use contract::Finding;
use mappings::trial::{self, TestResult};
use mappings::{Catalogue, Given, LoadContext, Mapping, Which, packs};

use crate::config;
use crate::read_text::read_text;

/// Folders in folders, this deep.
const DEPTH_MAX: usize = 8;

/// A mapping file's text and the name it is shown by, with what it extends: as they were when
/// first read, however often it is loaded.
pub(crate) struct MappingFile {
    pub(crate) name: String,
    path: PathBuf,
    text: String,
    packs: Mutex<BTreeMap<String, Pack>>,
}

/// A pack's name and text, or why there is none.
type Pack = Result<(String, String), String>;

impl MappingFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, Finding> {
        let name = path.display().to_string();
        let text = read_text(path, "read mapping")?;
        Ok(Self {
            name,
            path: path.to_owned(),
            text,
            packs: Mutex::default(),
        })
    }

    /// The file as a mapping, checked against `catalogue`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn load(&self, catalogue: &Catalogue) -> Result<Mapping, Vec<Finding>> {
        self.load_as(Which::First, catalogue)
    }

    /// As [`MappingFile::load`], for a company.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn load_as(
        &self,
        company: Which<'_>,
        catalogue: &Catalogue,
    ) -> Result<Mapping, Vec<Finding>> {
        self.with(catalogue, |context| {
            Mapping::load_with(&self.name, &self.text, LoadContext { company, ..context })
        })
    }

    /// The mapping for a company, or for the first.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn load_for(&self, company: Option<&str>) -> Result<Mapping, Vec<Finding>> {
        let company = company.map_or(Which::First, Which::Named);
        self.load_as(company, &Catalogue::default())
    }

    /// The tests that stand in it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn tests(&self) -> Result<Vec<Given>, Vec<Finding>> {
        Ok(self.load_for(None)?.tests().to_vec())
    }

    /// What became of its tests.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn test(&self) -> Result<Vec<TestResult>, Vec<Finding>> {
        let offline = Catalogue::default();
        self.with(&offline, |context| {
            trial::test_file(&self.name, &self.text, context)
        })
    }

    fn with<T>(&self, catalogue: &Catalogue, work: impl FnOnce(LoadContext<'_>) -> T) -> T {
        work(LoadContext {
            company: Which::First,
            catalogue,
            packs: &|wanted| self.pack(wanted),
        })
    }

    fn pack(&self, wanted: &str) -> Pack {
        let mut known = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || pack(&self.path, wanted);
        known.entry(wanted.to_owned()).or_insert_with(read).clone()
    }
}

/// As [`read`]; without any path, the files that the settings name for their sources, or for one of them.
///
/// # Errors
/// What is wrong with the settings, and what cannot be read.
pub(crate) fn read_or_named(
    paths: &[PathBuf],
    config: &Path,
    source: Option<&str>,
) -> Result<Vec<MappingFile>, Vec<Finding>> {
    if !paths.is_empty() {
        return read(paths);
    }
    let folder = config.parent().unwrap_or(Path::new(""));
    let mut named: Vec<PathBuf> = Vec::new();
    for one in config::load_sources(config)? {
        if source.is_none_or(|name| name == one.name) {
            named.extend(one.mappings.iter().map(|file| folder.join(file)));
        }
    }
    named.sort();
    named.dedup();
    read(&named)
}

/// The YAML files that paths mean: files themselves, folders with all files in them.
///
/// # Errors
/// What cannot be read, and folders without any mapping file.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<MappingFile>, Vec<Finding>> {
    let mut found = Vec::new();
    let mut findings = Vec::new();
    for path in paths {
        let mut files = Vec::new();
        let listed = if path.is_dir() {
            list(path, 0, &mut files)
        } else {
            files.push(path.clone());
            Ok(())
        };
        let what = format!("read {}", path.display());
        if let Err(error) = listed {
            findings.push(Finding::fail(what, error.to_string()));
            continue;
        }
        if files.is_empty() {
            let fix = "a file or a folder with mapping files (*.yaml)";
            findings.push(Finding::fail(what, "has no mapping file").fix(fix));
        }
        for file in files {
            match MappingFile::read(&file) {
                Ok(file) => found.push(file),
                Err(finding) => findings.push(finding),
            }
        }
    }
    if findings.is_empty() {
        Ok(found)
    } else {
        Err(findings)
    }
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        entries.push(entry?.path());
    }
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if depth < DEPTH_MAX {
                list(&path, depth + 1, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Finds what a file `extends`: another file, by its path from there, or a shipped pack.
fn pack(from: &Path, wanted: &str) -> Pack {
    let is_file = Path::new(wanted)
        .extension()
        .is_some_and(|extension| extension == "yaml");
    if !is_file {
        return packs::shipped(wanted);
    }
    let path = match from.parent() {
        Some(folder) => folder.join(wanted),
        None => PathBuf::from(wanted),
    };
    let shown = path.display().to_string();
    match read_text(&path, "cannot read") {
        Ok(text) => Ok((shown, text)),
        Err(finding) => Err(match finding.fix {
            Some(fix) => format!("{}: {} ({fix})", finding.what, finding.found),
            None => finding.found,
        }),
    }
}
