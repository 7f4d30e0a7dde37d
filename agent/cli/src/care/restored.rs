//! What is said of a restored state: what is older now than what happened, and what to run next.

use state::{Restored, RestoredDestination, RestoredSource};

use super::Told;
use crate::Exit;

pub(super) fn say(done: &Restored) -> Told {
    let of = done.of.map_or_else(String::new, |of| {
        format!("; the newest work that it knows of is of {of}")
    });
    let mut lines = vec![format!("Restored {}{of}.", done.backup.display())];
    if let Some(replaced) = &done.replaced {
        lines.push(format!(
            "What was there before lies in {}; nothing needs it any more, and it is yours to remove.",
            replaced.display()
        ));
    }
    let (from, to) = done.formats;
    if from != to {
        lines.push(format!(
            "It was of format {from} and is of format {to} now."
        ));
    }
    lines.push("What an older state means:".to_owned());
    lines.extend(done.sources.iter().map(source));
    lines.extend(done.destinations.iter().map(destination));
    if !done.destinations.is_empty() {
        lines.push(
            "  Whatever was delivered since the backup may be sent again, with the same ids and \
             idempotency keys; a destination that does not know them can take a fact twice."
                .to_owned(),
        );
    }
    if done.requests_given_up > 0 {
        lines.push(format!(
            "  {} that persons had asked for, and which were not done yet then, are given up: ask again \
             what is still wanted.",
            crate::operate::counted(done.requests_given_up, "thing")
        ));
    }
    if done.noted_since > 0 {
        lines.push(format!(
            "  {} of the audit record that were noted since the backup stay on record.",
            match done.noted_since {
                1 => "1 entry".to_owned(),
                more => format!("{more} entries"),
            }
        ));
    }
    lines.push("Next: lighterman check, then lighterman run, then lighterman status.".to_owned());
    if done.destinations.iter().any(|one| one.paused) {
        lines.push(
            "Destinations are paused: lighterman destination resume <name> when you have looked."
                .to_owned(),
        );
    }
    (lines, Exit::Ok)
}

fn source(source: &RestoredSource) -> String {
    let name = &source.name;
    if let Some(epoch) = source.begins_epoch {
        return format!(
            "  Source {name} was read anew since that backup: it begins epoch {epoch}, and all its tables \
             are read again and compared."
        );
    }
    let Some(at) = source.at.filter(|_| source.checkpoint.is_some()) else {
        return format!(
            "  Source {name} had no position yet: its tables are read from the beginning."
        );
    };
    format!(
        "  Source {name} goes on from where it stood at {at}. If its log no longer reaches back that \
         far, the agent says so and stops that source: lighterman source resync {name}"
    )
}

fn destination(destination: &RestoredDestination) -> String {
    let (name, out) = (&destination.name, destination.out);
    let out = if out > 0 {
        format!(
            "; {out} were out, and what became of them is unknown: they are settled as after a crash"
        )
    } else {
        String::new()
    };
    format!(
        "  {name}: {} wait, {} are held{out}.",
        destination.waiting, destination.held
    )
}
