//! What of that which is held a form or an address is about.

use maud::{Markup, html};
use state::{HeldCount, HeldFilter, StateReader};

use super::Page;
use super::gate::Fields;
use crate::operate::{counted, meaning};

/// Who holds changes that are not clear to a mapping.
const MAPPING: &str = "mapping";

/// What a form or an address is about.
#[derive(Debug, Clone)]
pub(super) struct Which {
    /// A destination, or `mapping`.
    pub(super) by: String,
    pub(super) filter: HeldFilter,
    pub(super) count: u64,
}

impl Which {
    pub(super) fn is_of_mapping(&self) -> bool {
        self.by == MAPPING
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let of = if self.is_of_mapping() {
            "the mapping".to_owned()
        } else {
            self.by.clone()
        };
        match (self.filter.ids.first(), &self.filter.cause) {
            (Some(id), _) => format!("{id}, held by {of}"),
            (None, Some(cause)) => {
                let (means, _) = meaning(cause);
                format!("{} of {of}: {means}", counted(self.count, "item"))
            }
            (None, None) => counted(self.count, "item"),
        }
    }

    /// The fields by which the next form is about the same.
    pub(super) fn hidden(&self) -> Markup {
        html! {
            @if let Some(id) = self.filter.ids.first() {
                input type="hidden" name="id" value=(id);
            } @else {
                input type="hidden" name="by" value=(self.by);
                @if let Some(cause) = &self.filter.cause {
                    input type="hidden" name="cause" value=(cause);
                }
                input type="hidden" name="count" value=(self.count);
            }
        }
    }
}

/// What is meant: one item by its id, or all that somebody holds for a cause.
pub(super) async fn which(page: &Page, fields: &Fields) -> Result<Which, String> {
    let gone = || "Nothing of it is held any more; nothing was done.".to_owned();
    if let Some(id) = fields.get("id") {
        let wanted = id.to_owned();
        let found = page.read(move |reader| reader.held_show(&wanted)).await?;
        let entry = found.ok_or_else(gone)?.entry;
        return Ok(Which {
            by: entry.by,
            filter: HeldFilter {
                ids: vec![entry.id],
                ..HeldFilter::default()
            },
            count: 1,
        });
    }
    let (Some(by), Some(cause)) = (fields.get("by"), fields.get("cause")) else {
        return Err("Which items? Nothing was done.".to_owned());
    };
    let counts = page.read(StateReader::held_counts).await?;
    let mut counts = counts.into_iter();
    let found = counts.find(|count| count.by == by && count.cause == cause);
    let HeldCount { by, cause, count } = found.ok_or_else(gone)?;
    Ok(Which {
        filter: HeldFilter {
            by: Some(by.clone()),
            cause: Some(cause),
            ..HeldFilter::default()
        },
        by,
        count,
    })
}
