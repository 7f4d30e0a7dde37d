//! What a chunk's rows say, beside what was told.

use state::{ReconcileClass, ReconcileDifference, StoreError, ToldBody};
use tokio::time::Instant;

use super::{Comparison, Mapped, Now, Place, Stopped, Suspect};
use crate::reconcile::compare::DIFFERENCES_MAX;
use crate::reconcile::words;

impl Comparison<'_> {
    /// The first look at the keys of a chunk.
    pub(super) async fn judge(
        &mut self,
        cursor: Option<String>,
        mapped: Mapped,
        deadline: Instant,
    ) -> Result<(), Stopped> {
        for (event_type, key, reason) in mapped.held {
            let place = (event_type, key.unwrap_or_default());
            let theirs = format!("the mapping holds the row: {reason}");
            self.count(&place, Some((ReconcileClass::Unknown, "", &theirs)));
        }
        let places: Vec<Place> = mapped.bodies.keys().cloned().collect();
        let told = self.told(&places).await?;
        let fits = |told: &Option<ToldBody>, now: &Now| agrees(told.as_ref(), now);
        let all = mapped.bodies.iter().zip(&told);
        let first: Vec<bool> = all.map(|((_, now), told)| fits(told, now)).collect();
        let told = if first.iter().all(|fits| *fits) {
            told
        } else {
            // What the rows reflect may not have been stored yet.
            self.ground.stored(&mapped.mark, deadline).await;
            self.told(&places).await?
        };
        for ((place, now), told) in mapped.bodies.into_iter().zip(told) {
            if agrees(told.as_ref(), &now) {
                self.count(&place, None);
            } else {
                let version = told.map(|told| told.version);
                self.suspects.push(Suspect {
                    place,
                    cursor: cursor.clone(),
                    seen: (now, version),
                });
            }
        }
        Ok(())
    }

    pub(super) async fn told(
        &mut self,
        places: &[Place],
    ) -> Result<Vec<Option<ToldBody>>, StoreError> {
        let (name, places) = (self.ground.name.to_owned(), places.to_vec());
        self.ground
            .state(move |reader| reader.told_bodies(&name, &places))
            .await
    }

    pub(super) fn differs(&mut self, place: &Place, now: Option<&str>, told: Option<&str>) {
        let (class, ours, theirs) = match (now, told) {
            (Some(now), Some(told)) => {
                let (ours, theirs) = words::fields(told, now);
                (ReconcileClass::Different, ours, theirs)
            }
            (Some(_), None) => {
                let theirs = "a row says it".to_owned();
                (ReconcileClass::Missing, "not told".to_owned(), theirs)
            }
            (None, _) => {
                let theirs = "no row says it".to_owned();
                (ReconcileClass::Extra, "told".to_owned(), theirs)
            }
        };
        self.count(place, Some((class, &ours, &theirs)));
    }

    pub(super) fn count(&mut self, place: &Place, found: Option<(ReconcileClass, &str, &str)>) {
        let (event_type, key) = place;
        let count = self.made.counts.entry(*event_type).or_default();
        count.add(found.map(|(class, _, _)| class));
        let Some((class, ours, theirs)) = found else {
            return;
        };
        if self.made.differences.len() < DIFFERENCES_MAX {
            // Nothing tells it again but a reading of its table.
            let lane = -1 - i64::try_from(self.made.differences.len()).unwrap_or(i64::MAX - 1);
            self.made.differences.push(ReconcileDifference {
                lane,
                event_type: event_type.name().to_owned(),
                key: key.clone(),
                class,
                ours: words::short(ours),
                theirs: words::short(theirs),
                since: None,
            });
        }
    }
}

/// Whether what was told is what a row makes.
pub(super) fn agrees(told: Option<&ToldBody>, now: &Now) -> bool {
    let told = told.and_then(|told| told.body.as_deref());
    match (told, now) {
        (None, None) => true,
        (Some(told), Some(now)) => {
            let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            told == now || json(told) == json(now)
        }
        _ => false,
    }
}
