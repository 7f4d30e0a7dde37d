//! The one local store: outbox, checkpoints, published state, snapshot progress, held changes.
//!
//! One SQLite file in WAL mode with `synchronous=FULL`, one writer thread, group commit. The
//! capture loop writes events and checkpoint in one transaction
//! ([`Store::commit_capture`]; with what relations remember, [`Store::commit_related`]); the deliver loop records outcomes and picks what may leave in
//! another ([`Store::turn`]). No SQL stands outside this crate. It knows no source, mapping or
//! API.

mod alert;
mod answers;
mod attempt;
mod audit;
mod backup;
mod backups;
mod belongs;
mod canary;
mod capture;
mod checked;
mod command;
mod compact;
mod copy;
mod counter;
mod delivery;
mod enqueue;
mod error;
mod fact;
mod flow;
mod folder;
mod guards;
mod held;
mod held_alike;
mod held_pages;
mod held_steps;
mod kept;
mod keys;
mod kind;
mod location;
mod look;
mod marked;
mod migrate;
mod older;
mod partial;
mod pause;
mod prune;
mod publish;
mod published;
mod published_page;
mod queue;
mod reconcile;
mod relations;
mod replay;
mod replay_steps;
mod requested;
mod restore;
mod resync;
mod rollback;
mod room;
mod rules;
mod sample;
mod shadow;
mod shape;
mod sizes;
mod snapshot;
mod standing;
mod status;
mod status_destination;
mod steps;
mod trace;
mod verify;
mod writer;

use std::path::Path;

use jiff::Timestamp;

pub use alert::{AlertStatus, ChannelStatus};
pub use attempt::Attempt;
pub use audit::{
    AuditChain, AuditChange, AuditEntry, AuditFilter, AuditHead, AuditRecord, AuditVerdict,
    note as note_audit, note_changes as note_audit_changes,
};
pub use backup::{BACKUPS, BackedUp, backup};
pub use backups::{FoundBackup, backups, before_upgrade, prune_backups};
pub use canary::CanaryStatus;
pub use capture::{
    CaptureCommit, CaptureReport, ChunkDone, GuardEntry, Held, Item, Published, Route, Truncated,
};
pub use checked::Checked;
pub use command::{Command, Done, ask};
pub use compact::{Compacted, compact};
pub use delivery::{
    Ask, DeliveredNow, Happened, HeldNow, PickLimits, Rules, Said, Turn, Turned, is_suspect,
};
pub use error::StoreError;
pub use flow::{DeliveredFlow, Flow, TypeFlow, WaitingFlow};
pub use folder::{FILE_NAME, file_path, owner};
pub use guards::{Guards, MassDrop};
pub use held::{HeldChange, HeldCount, HeldDetail, HeldEntry, HeldFilter};
pub use held_alike::HeldAlike;
pub use location::{LocationStop, Stop};
pub use look::LookStatus;
pub use migrate::{Migrated, Migration, migrate, newest_format};
pub use partial::Part;
pub use pause::{Notes, Paused};
pub use prune::Retention;
pub use published::PublishedBody;
pub use published_page::{PageLimits, PublishedPage, PublishedPlace, PublishedState};
pub use reconcile::{
    Names, ReconcileAnswer, ReconcileAsked, ReconcileClass, ReconcileCount, ReconcileDifference,
    ReconcileOrder, ReconcileRun, ReconcileStatus, ReconcileSum, ReconcileWith, ReplicaTable,
    ToldBody, ToldByRule, ToldKey, ask_reconcile, withdraw_reconcile,
};
pub use relations::{GroupPart, Place, RelationStore, ToldRow};
pub use replay::{ReplayCount, ReplayFilter, is_replayed};
pub use requested::Requested;
pub use restore::{Restored, RestoredDestination, RestoredSource, restore};
pub use resync::{Resync, ask_resync};
pub use rollback::{RolledBack, RolledBackDestination, RolledBackSource, look_back, roll_back};
pub use room::{Room, room};
pub use rules::{KnownRule, RuleInForce, RuleProgress, Stage, Untold};
pub use sample::{Sample, Samples};
pub use shadow::{ShadowCounts, ShadowDifference, ShadowRun};
pub use shape::{Shape, Shapes, keep_shapes};
pub use sizes::TableSize;
pub use snapshot::{SnapshotProgress, SourceState};
pub use standing::{DestinationStanding, StateSize};
pub use status::{HeldItem, SnapshotStatus, SourceStatus, StateReader};
pub use status_destination::{DestinationStatus, ShadowStatus};
pub use steps::{StepFault, Steps};
pub use trace::{Rests, Trace, TraceDelivery, TraceEvent};
pub use verify::{Verdict, verify};

/// An open state folder; the only writer of its file. Dropping it finishes the last commit and
/// gives the folder up.
#[derive(Debug)]
pub struct Store {
    writer: writer::Writer,
}

impl Store {
    /// Takes exclusive ownership of `folder`, checks the file's integrity and brings its schema up
    /// to date. Blocks for as long as the check takes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            writer: writer::Writer::start(folder)?,
        })
    }

    /// As [`Store::open`], but nothing is committed by itself: whoever holds the [`Steps`] does it,
    /// when and as it sees fit. For simulations; the agent has a thread for it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open_in_steps(folder: &Path) -> Result<(Self, Steps), StoreError> {
        let (writer, steps) = writer::Writer::in_steps(folder)?;
        Ok((Self { writer }, steps))
    }
}

/// Milliseconds since 1970 UTC, as stored.
fn millis(moment: Timestamp) -> i64 {
    moment.as_millisecond()
}

fn from_millis(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}
