//! What is asked of the program. Without flags it is a part of the whole suite.

use std::time::Duration;

use crate::database;
use crate::destination;

pub const USAGE: &str = "\
cargo torture [flags]
  --seeds N              so many seeds (without any flag: the few of the suite)
  --from N               beginning with this one (0)
  --seed N               only this one
  --source KIND          sqlite, postgres, mariadb, sqlserver (by default all in turn)
  --destination KIND     webhook, file, nats, redis, kafka, amqp, mqtt (by default the seed decides)
  --changes N            about so many changed rows in each (by default the seed decides, 300 to 2000)
  --jobs N               so many at a time (4)
  --shrink-minutes N     how long to look for a smaller history of a seed that fails (3)
  --quiet-seconds N      what has not come by then after the last arrival is lost (60)";

#[derive(Debug, Clone)]
pub struct Flags {
    /// It is among the tests that are meant.
    pub meant: bool,
    /// No flag was given: the suite.
    pub suite: bool,
    pub from: u64,
    pub seeds: u64,
    pub source: Option<database::Kind>,
    pub destination: Option<destination::Kind>,
    pub changes: Option<u32>,
    pub jobs: usize,
    pub shrink: Duration,
    pub quiet: Duration,
}

fn kind<K: Copy + ToString>(all: &[K], text: &str) -> Result<K, String> {
    let found = all.iter().find(|kind| kind.to_string() == text);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = all.iter().map(ToString::to_string).collect();
        format!("{text} is none of {}", names.join(", "))
    })
}

/// Reads the flags; an error is a sentence for the person who wrote them.
pub fn read(words: impl Iterator<Item = String>) -> Result<Flags, String> {
    let mut flags = Flags {
        meant: true,
        suite: true,
        from: 0,
        seeds: 0,
        source: None,
        destination: None,
        changes: None,
        jobs: 4,
        shrink: Duration::from_mins(3),
        quiet: Duration::from_mins(1),
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix("--") else {
            // As test programs are told which of their tests are meant.
            flags.meant &= "torture".contains(&word);
            continue;
        };
        // What cargo and `./tests/run` may hand to any test program.
        if ["nocapture", "no-capture", "quiet"].contains(&name) {
            continue;
        }
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        let number = || {
            let number = value.parse::<u64>();
            number.map_err(|_| format!("{word} {value} is no number"))
        };
        flags.suite = false;
        match name {
            "seeds" => flags.seeds = number()?,
            "from" => flags.from = number()?,
            "seed" => (flags.from, flags.seeds) = (number()?, 1),
            "source" => flags.source = Some(kind(&database::Kind::ALL, &value)?),
            "destination" => flags.destination = Some(kind(&destination::Kind::ALL, &value)?),
            "changes" => {
                flags.changes = Some(u32::try_from(number()?.clamp(1, 1_000_000)).unwrap_or(1));
            }
            "jobs" => flags.jobs = usize::try_from(number()?.clamp(1, 64)).unwrap_or(1),
            "shrink-minutes" => flags.shrink = Duration::from_mins(number()?.min(10_000)),
            "quiet-seconds" => flags.quiet = Duration::from_secs(number()?.clamp(1, 100_000)),
            _ => return Err(format!("{word} is not known")),
        }
    }
    if !flags.suite && flags.seeds == 0 {
        flags.seeds = 100;
    }
    Ok(flags)
}
