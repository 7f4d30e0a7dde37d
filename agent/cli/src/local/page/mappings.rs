//! The mapping versions in force.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use maud::html;

use super::Page;
use super::session::Visitor;
use super::view::{self, wide};

const PLACE: &str = "/page/mappings";

/// A digest's beginning tells two apart.
const DIGEST_SHOWN: usize = 12;

pub(super) async fn show(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let rules = page.seen.rules();
    let caption = "Rules by source, as the running agent applies them";
    let table = html! {
        table {
            caption { (caption) }
            thead {
                tr {
                    th scope="col" { "Source" }
                    th scope="col" { "Rule" }
                    th scope="col" { "Tells" }
                    th scope="col" { "Table" }
                    th scope="col" { "Pack and version" }
                    th scope="col" { "File's digest" }
                    th scope="col" { "Rule's digest" }
                }
            }
            tbody {
                @for (source, rule) in &rules {
                    tr {
                        td { (source) }
                        th scope="row" { (rule.id) }
                        td { (rule.event_type.name()) }
                        td { (rule.table.to_string()) }
                        td { (rule.mapping.pack) " " (rule.mapping.version) }
                        td { code { (short(&rule.mapping.digest)) } }
                        td { code { (short(&rule.digest)) } }
                    }
                }
            }
        }
    };
    let content = html! {
        h1 { "Mappings in force" }
        @if rules.is_empty() {
            p { "None yet: the agent is starting, and waits for its sources." }
        } @else {
            p {
                "A rule with another digest makes other events, so its table is read again and what differs is \
                 told. " code { "lighterman map diff" } " shows what another version would change."
            }
            (wide(caption, &table))
        }
    };
    view::whole(&page, &visitor, PLACE, "Mappings", &content)
}

fn short(digest: &str) -> &str {
    digest.get(..DIGEST_SHOWN).unwrap_or(digest)
}
