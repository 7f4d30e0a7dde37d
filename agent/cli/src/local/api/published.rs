//! Published state, by key: what was told last, for programs that would else read the ERP's tables.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::EventType;
use contract::event::digest;
use serde_json::{Map, Value, json};
use state::{PageLimits, PublishedPlace, PublishedState};

use super::super::answer;
use super::Api;
use super::allowed::Allowed;
use super::problem::Problem;
use super::query::Query;
use super::token::Token;

/// Where the states of each type are read.
pub(super) const COLLECTIONS: [(&str, EventType); 8] = [
    ("/api/v1/inventory", EventType::InventoryAvailability),
    ("/api/v1/products", EventType::Product),
    ("/api/v1/prices", EventType::Price),
    ("/api/v1/customers", EventType::Customer),
    ("/api/v1/orders", EventType::Order),
    ("/api/v1/shipments", EventType::Shipment),
    ("/api/v1/returns", EventType::Return),
    ("/api/v1/purchase-orders", EventType::PurchaseOrder),
];

/// States of a page, unless less or more is asked for.
pub(super) const SHOWN: usize = 100;
pub(super) const SHOWN_MAX: usize = 500;
/// And what it may cost.
const BYTES_MAX: usize = 2 << 20;
const ROWS_MAX: usize = 5_000;

/// Between the source and the key in a cursor.
const SEPARATOR: char = '\u{1f}';

type Answered = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

/// What answers at a collection's path.
pub(super) fn of(
    path: &'static str,
    event_type: EventType,
) -> impl Fn(State<Arc<Api>>, Extension<Arc<Token>>, RawQuery, HeaderMap) -> Answered
+ Clone
+ Send
+ Sync
+ 'static {
    move |State(api), Extension(token), RawQuery(query), headers| {
        Box::pin(async move {
            let asked = Asked::read(path, event_type, query.as_deref())?;
            page(&api, &token, asked, &headers).await
        })
    }
}

/// What is asked.
struct Asked {
    path: &'static str,
    event_type: EventType,
    /// The parts of the key, where they are said.
    parts: Vec<Option<String>>,
    limit: usize,
    limit_said: bool,
    after: Option<PublishedPlace>,
}

impl Asked {
    fn read(
        path: &'static str,
        event_type: EventType,
        query: Option<&str>,
    ) -> Result<Self, Problem> {
        let key = event_type.schema().key;
        let known: Vec<&str> = key.iter().copied().chain(["limit", "cursor"]).collect();
        let query = Query::read(query, &known)?;
        let part = |name: &&str| query.text(name).map(str::to_owned);
        // Any text is a place, for sources and keys come and go.
        let after = query.text("cursor").map(|text| {
            let (source, key) = text.split_once(SEPARATOR).unwrap_or((text, ""));
            PublishedPlace {
                source: source.to_owned(),
                key: key.to_owned(),
            }
        });
        Ok(Self {
            path,
            event_type,
            parts: key.iter().map(part).collect(),
            limit: query.number("limit", SHOWN_MAX, SHOWN)?,
            limit_said: query.text("limit").is_some(),
            after,
        })
    }

    /// The address of the page that begins at a place.
    fn at(&self, place: &PublishedPlace) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, part) in self.event_type.schema().key.iter().zip(&self.parts) {
            if let Some(part) = part {
                query.append_pair(name, part);
            }
        }
        if self.limit_said {
            query.append_pair("limit", &self.limit.to_string());
        }
        let cursor = format!("{}{SEPARATOR}{}", place.source, place.key);
        query.append_pair("cursor", &cursor);
        format!("{}?{}", self.path, query.finish())
    }
}

async fn page(
    api: &Api,
    token: &Token,
    asked: Asked,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let event_type = asked.event_type;
    let types = token.types.as_deref().unwrap_or_default();
    if !types.contains(&event_type) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "type",
            format!("the token {} may not read {event_type}", token.name),
            format!("add \"{event_type}\" to types of the token, if it is meant to"),
        ));
    }
    let limits = PageLimits {
        states: asked.limit,
        bytes: BYTES_MAX,
        rows: ROWS_MAX,
    };
    let allowed = token.allowed(event_type);
    let text = api
        .readers
        .look(move |reader, _| {
            let page =
                reader.published_page(event_type, &asked.parts, asked.after.as_ref(), limits)?;
            let items: Result<Vec<Value>, Problem> =
                page.states.iter().map(|one| item(one, &allowed)).collect();
            let form = json!({
                "type": event_type.name(),
                "items": items?,
                "next": page.next.as_ref().map(|place| asked.at(place)),
            });
            Ok(format!("{form}\n"))
        })
        .await?;
    // Of what is shown, and of nothing else: it tells nothing of the fields that are not.
    let tag = format!("\"{}\"", digest(&[text.as_str()]));
    let mut response = if is_known(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer(StatusCode::OK, "application/json", text)
    };
    let found = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        found.insert(header::ETAG, tag);
    }
    // Kept by whoever asked, and asked for again each time.
    let caching = HeaderValue::from_static("private, no-cache");
    found.insert(header::CACHE_CONTROL, caching);
    found.insert(header::VARY, HeaderValue::from_static("authorization"));
    Ok(response)
}

fn item(one: &PublishedState, allowed: &Allowed) -> Result<Value, Problem> {
    let body: Value = serde_json::from_str(&one.body).map_err(|_| {
        Problem::unavailable(
            "a published body cannot be read",
            "lighterman state verify says more",
        )
    })?;
    let fields = one.key.fields().iter();
    let key: Map<String, Value> = fields
        .map(|(name, part)| ((*name).to_owned(), part.as_str().into()))
        .collect();
    Ok(json!({
        "key": key,
        "source": one.source,
        "version": {
            "epoch": one.version.epoch,
            "pos": one.version.pos.as_str(),
            "seq": one.version.seq,
        },
        "updated_at": one.occurred_at,
        "body": allowed.of(body),
    }))
}

/// Whether the caller says that it has this already.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
