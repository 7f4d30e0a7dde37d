//! What was done to a disk, and what a power loss may have left of it.
//!
//! A model of what disks and file systems promise, no more: what a sync of a file came back from is there, its name with
//! it; each sector of 512 bytes that was written and not synced is there or is not, whatever came before or after it;
//! names change in order, and those that were not synced may be as they were.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

use super::notes::notes;

const SECTOR: usize = 512;

/// Something that was done.
#[derive(Debug, Clone)]
enum Step {
    /// A new file.
    Create(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    Write(usize, usize, Vec<u8>),
    Truncate(usize, usize),
    /// A file's content is safe.
    Sync(usize),
    /// The names in a folder are.
    SyncFolder(PathBuf),
    /// A sync that did nothing and said that it was done.
    Lost,
}

/// What becomes of what was not synced.
#[derive(Debug)]
pub enum Loss<'r> {
    /// All of it is there: a killed process, whose machine goes on.
    Nothing,
    /// None of it is.
    All,
    /// Chance decides for each sector and name.
    Some(&'r mut StdRng),
}

impl Loss<'_> {
    fn keeps(&mut self) -> bool {
        match self {
            Self::Nothing => true,
            Self::All => false,
            Self::Some(rng) => rng.random_bool(0.5),
        }
    }
}

/// What was done to a disk, in order.
#[derive(Debug, Default)]
pub struct Recorded {
    steps: Vec<Step>,
    /// So many of them say what was there before.
    before: usize,
    files: usize,
}

/// Which file is meant, while notes are read.
#[derive(Default)]
struct Known {
    /// By the number that the file system has for a file now; it may give it to another one later.
    inodes: BTreeMap<String, usize>,
    names: BTreeMap<PathBuf, usize>,
}

impl Known {
    fn file(&mut self, inode: &str, name: &str) -> usize {
        if let Some(file) = self.inodes.get(inode) {
            return *file;
        }
        let found = self.names.get(Path::new(name));
        let file = *found.unwrap_or_else(|| panic!("{name} was not there before"));
        self.inodes.insert(inode.to_owned(), file);
        file
    }
}

impl Recorded {
    /// Reads what the shim noted; `before` are all files as they were when it began.
    pub fn read(log: &Path, before: &[PathBuf], contents: &[Vec<u8>]) -> Self {
        let bytes = std::fs::read(log).unwrap();
        let mut read = Self::default();
        let mut known = Known::default();
        for (name, content) in before.iter().zip(contents) {
            let made = read.new_file();
            known.names.insert(name.clone(), made);
            let content = Step::Write(made, 0, content.clone());
            let there = [Step::Create(name.clone(), made), content, Step::Sync(made)];
            read.steps.extend(there);
        }
        read.before = read.steps.len();
        for note in notes(&bytes) {
            let (what, inode, offset, name) = (note.what, note.inode, note.offset, note.name);
            let is_folder = || Path::new(name).is_dir();
            let step = match what {
                "create" => {
                    let made = read.new_file();
                    known.inodes.insert(inode.to_owned(), made);
                    known.names.insert(name.into(), made);
                    Step::Create(name.into(), made)
                }
                "open" if is_folder() => continue,
                "open" => {
                    // Made by another process, and nothing that is written here.
                    if known.names.contains_key(Path::new(name)) {
                        known.file(inode, name);
                    }
                    continue;
                }
                "write" => Step::Write(known.file(inode, name), offset, note.data.to_vec()),
                "truncate" => Step::Truncate(known.file(inode, name), offset),
                "sync" if is_folder() => Step::SyncFolder(name.into()),
                "sync" => Step::Sync(known.file(inode, name)),
                "unlink" => {
                    known.names.remove(Path::new(name));
                    Step::Unlink(name.into())
                }
                "rename" => {
                    let (from, to) = name.split_once('\t').unwrap();
                    if let Some(file) = known.names.remove(Path::new(from)) {
                        known.names.insert(to.into(), file);
                    }
                    Step::Rename(from.into(), to.into())
                }
                "lost" => Step::Lost,
                // What the shim did, and not the program.
                "fault" | "cut" => continue,
                other => panic!("the shim noted {other}"),
            };
            read.steps.push(step);
        }
        read
    }

    fn new_file(&mut self) -> usize {
        self.files += 1;
        self.files
    }

    /// The same on a disk that said of each sync that it was done, and did nothing.
    #[must_use]
    pub fn without_syncs(&self) -> Self {
        let steps = self.steps.iter().enumerate();
        let steps = steps.map(|(n, step)| match step {
            // What was there before is.
            Step::Sync(_) | Step::SyncFolder(_) if n >= self.before => Step::Lost,
            other => other.clone(),
        });
        Self {
            steps: steps.collect(),
            before: self.before,
            files: self.files,
        }
    }

    /// How many steps say what was there before.
    pub fn before(&self) -> usize {
        self.before
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many syncs said that they were done.
    pub fn syncs(&self) -> usize {
        let synced = |step: &&Step| matches!(step, Step::Sync(_) | Step::Lost);
        self.steps.iter().filter(synced).count()
    }

    /// Behind the last sync of a file whose name ends like this, among the first `cut` steps: what was promised then
    /// is promised still.
    pub fn promised(&self, cut: usize, end: &str) -> usize {
        let mut names: BTreeMap<usize, &Path> = BTreeMap::new();
        let mut last = 0;
        for (n, step) in self.steps.iter().take(cut).enumerate() {
            match step {
                Step::Create(name, file) => drop(names.insert(*file, name)),
                Step::Sync(file) => {
                    let name = names.get(file);
                    if name.is_some_and(|name| name.to_string_lossy().ends_with(end)) {
                        last = n + 1;
                    }
                }
                _ => {}
            }
        }
        last
    }

    /// Writes the files below `from`, as they are when the power is lost behind the first `cut` steps, to `to`. What
    /// is not below it lost nothing, and is left out.
    pub fn image(&self, cut: usize, loss: &mut Loss<'_>, from: &Path, to: &Path) {
        let from = super::real(from);
        let steps = &self.steps[..cut.min(self.steps.len())];
        let contents = contents(steps, loss);
        for (name, file) in names(steps, loss) {
            let Ok(within) = name.strip_prefix(&from) else {
                continue;
            };
            let at = to.join(within);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            let empty = Vec::new();
            std::fs::write(at, contents.get(&file).unwrap_or(&empty)).unwrap();
        }
    }
}

/// What files hold when the power is lost behind these steps.
fn contents(steps: &[Step], loss: &mut Loss<'_>) -> BTreeMap<usize, Vec<u8>> {
    // Behind its last sync, what a file was given may be lost.
    let mut synced: BTreeMap<usize, usize> = BTreeMap::new();
    for (n, step) in steps.iter().enumerate() {
        if let Step::Sync(file) = step {
            synced.insert(*file, n);
        }
    }
    let mut files: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for (n, step) in steps.iter().enumerate() {
        let is_safe = |file: &usize| synced.get(file).is_some_and(|at| n < *at);
        match step {
            Step::Write(file, offset, data) => {
                let safe = is_safe(file);
                let content = files.entry(*file).or_default();
                let mut at = *offset;
                let mut data = data.as_slice();
                while !data.is_empty() {
                    let part = data.len().min(SECTOR - at % SECTOR);
                    if safe || loss.keeps() {
                        content.resize(content.len().max(at + part), 0);
                        content[at..at + part].copy_from_slice(&data[..part]);
                    }
                    at += part;
                    data = &data[part..];
                }
            }
            Step::Truncate(file, size) if is_safe(file) || loss.keeps() => {
                files.entry(*file).or_default().resize(*size, 0);
            }
            _ => {}
        }
    }
    files
}

/// Which file has which name.
fn names(steps: &[Step], loss: &mut Loss<'_>) -> BTreeMap<PathBuf, usize> {
    let changes: Vec<usize> = (0..steps.len())
        .filter(|n| {
            let step = &steps[*n];
            matches!(step, Step::Create(..) | Step::Unlink(_) | Step::Rename(..))
        })
        .collect();
    // Names change in order: those up to one that is safe are.
    let mut safe = 0;
    for (n, step) in steps.iter().enumerate() {
        let covers = |change: &&usize| {
            **change < n
                && match (step, &steps[**change]) {
                    (Step::Sync(file), Step::Create(_, made)) => file == made,
                    (Step::SyncFolder(folder), change) => within(change, folder),
                    _ => false,
                }
        };
        if let Some(last) = changes.iter().rev().find(covers) {
            safe = safe.max(last + 1);
        }
    }
    let mut names = BTreeMap::new();
    let mut kept = true;
    for n in changes {
        kept = n < safe || kept && loss.keeps();
        if !kept {
            break;
        }
        match &steps[n] {
            Step::Create(name, file) => drop(names.insert(name.clone(), *file)),
            Step::Unlink(name) => drop(names.remove(name)),
            Step::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            _ => {}
        }
    }
    names
}

fn within(change: &Step, folder: &Path) -> bool {
    match change {
        Step::Create(name, _) | Step::Unlink(name) | Step::Rename(_, name) => {
            name.parent() == Some(folder)
        }
        _ => false,
    }
}
