//! Who did what: the newest entries of the audit record.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::html;
use state::{AuditFilter, AuditRecord, StateReader, StoreError};

use super::Page;
use super::session::Visitor;
use super::view::{self, time, wide};

const PLACE: &str = "/page/audit";

/// Entries shown, the newest first.
const SHOWN: u32 = 100;

/// The newest entries, the newest first.
fn newest(reader: &StateReader, most: u32) -> Result<Vec<AuditRecord>, StoreError> {
    let which = AuditFilter {
        limit: most,
        ..AuditFilter::default()
    };
    let mut found = reader.audit(&which)?;
    found.reverse();
    Ok(found)
}

pub(super) async fn show(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let entries = match page.read(|reader| newest(reader, SHOWN)).await {
        Ok(entries) => entries,
        Err(sentence) => return view::broken(&page, &visitor, PLACE, &sentence),
    };
    let caption = "What people did, newest first";
    let table = html! {
        table {
            caption { (caption) }
            thead {
                tr {
                    th scope="col" { "When" }
                    th scope="col" { "Who" }
                    th scope="col" { "What" }
                    th scope="col" { "To what" }
                    th scope="col" { "More" }
                }
            }
            tbody {
                @for entry in &entries {
                    tr {
                        td { (time(entry.at)) }
                        td { (entry.who) }
                        td { (entry.what) }
                        td { (entry.subject) }
                        td .text { @if entry.details != "null" { (entry.details) } }
                    }
                }
            }
        }
    };
    let content = html! {
        h1 { "Audit" }
        p { "Who logged in here, and who changed what. Nothing can be taken out of it." }
        @if entries.is_empty() {
            p { "Nothing has been noted yet." }
        } @else {
            (wide(caption, &table))
        }
    };
    view::whole(&page, &visitor, PLACE, "Audit", &content)
}
