//! `/api/v1/openapi.json`: what may be asked, and what is answered, as OpenAPI 3.1.
#![expect(
    clippy::needless_pass_by_value,
    reason = "pieces of a document are given away as it is put together"
)]

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use contract::EventType;
use serde_json::{Map, Value, json};

use super::super::answer;
use super::ask::MINUTES_MAX;
use super::held::IDS_MAX;
use super::published::{COLLECTIONS, SHOWN, SHOWN_MAX};
use super::shapes::{self, reference, text};
use super::token::Scope;
use crate::operate::CAUSES;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));

/// `GET /api/v1/openapi.json`: for whoever may ask, as nothing of the agent's own stands in it.
pub(super) async fn serve() -> Response {
    answer(StatusCode::OK, "application/json", DOCUMENT.clone())
}

/// The description.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    paths.insert(
        "/api/v1/openapi.json".to_owned(),
        json!({ "get": {
            "operationId": "openapi",
            "summary": "this description",
            "security": [],
            "responses": { "200": ok(json!({ "type": "object" })) },
        }}),
    );
    operated(&mut paths);
    for (path, event_type) in COLLECTIONS {
        paths.insert(
            path.to_owned(),
            json!({ "get": collection(path, event_type) }),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lighterman's local API",
            "version": "1",
            "summary": "How the agent stands, what it holds, and what it told last, key by key.",
        },
        "paths": paths,
        "components": {
            "schemas": shapes::components(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a token of [[local.token]] in the settings, with its scopes",
                },
            },
        },
    })
}

/// All but published state.
fn operated(paths: &mut Map<String, Value>) {
    let mut put = |path: &str, method: &str, operation: Value| {
        let path = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(method.to_owned(), operation);
        }
    };
    let status = Operation::of("status", "whether changes flow, and how everything stands");
    let status = status.scopes(&[Scope::StatusRead]);
    put("/api/v1/status", "get", status.ok(shapes::status()).done());
    let list = Operation::of("destinations", "how each destination stands");
    let list = list.scopes(&[Scope::StatusRead]);
    put(
        "/api/v1/destinations",
        "get",
        list.ok(shapes::destinations()).done(),
    );
    let pause = Operation::of(
        "pause",
        "nothing leaves for it until it is resumed, or the time is over",
    );
    let minutes = json!({ "type": "integer", "minimum": 1, "maximum": MINUTES_MAX,
        "description": "it goes on by itself then; without it, when it is resumed" });
    let pause = pause
        .scopes(&[Scope::DestinationWrite])
        .with(path("name", text()))
        .body(false, object(json!({ "minutes": minutes })))
        .accepted(shapes::accepted());
    put("/api/v1/destinations/{name}/pause", "post", pause.done());
    let resume = Operation::of("resume", "it goes on");
    let resume = resume
        .scopes(&[Scope::DestinationWrite])
        .with(path("name", text()))
        .accepted(shapes::accepted());
    put("/api/v1/destinations/{name}/resume", "post", resume.done());
    held(&mut put);
    let trace = Operation::of(
        "trace",
        "what became of the keys that hold a text: the newest events",
    );
    let trace = trace
        .scopes(&[Scope::TraceRead])
        .with(required(query(
            "key",
            json!({ "type": "string", "minLength": 1 }),
        )))
        .with(query("limit", number(100, 20)))
        .ok(shapes::trace());
    put("/api/v1/trace", "get", trace.done());
    let replay = Operation::of(
        "replay",
        "what was told is told again; counts only, unless dry_run is false",
    );
    let moment = json!({ "type": "string", "format": "date-time" });
    let types = json!({ "type": "array", "minItems": 1, "items": { "enum": types() } });
    let replay = replay
        .scopes(&[Scope::ReplayWrite])
        .body(
            false,
            object(json!({
                "key": text(), "from": moment, "to": moment, "types": types, "destination": text(),
                "dry_run": { "type": "boolean", "default": true },
            })),
        )
        .ok(shapes::counted())
        .accepted(shapes::accepted_each());
    put("/api/v1/replay", "post", replay.done());
    let requested = Operation::of("requested", "what became of something that was asked");
    let requested = requested
        .scopes(&[
            Scope::HeldWrite,
            Scope::ReplayWrite,
            Scope::DestinationWrite,
        ])
        .with(path("number", json!({ "type": "integer", "minimum": 1 })))
        .ok(shapes::requested());
    put("/api/v1/requests/{number}", "get", requested.done());
}

fn held(put: &mut impl FnMut(&str, &str, Value)) {
    let cause = json!({ "enum": CAUSES });
    let event_type = json!({ "enum": types() });
    let list = Operation::of("held", "what waits for a person, why, and what to do");
    let list = list
        .scopes(&[Scope::HeldRead])
        .with(query("destination", text()))
        .with(query("cause", cause.clone()))
        .with(query("key", text()))
        .with(query("type", event_type.clone()))
        .with(query("limit", number(500, 50)))
        .ok(shapes::held_list());
    put("/api/v1/held", "get", list.done());
    let show = Operation::of("heldItem", "one item: the event, and what was tried");
    let show = show
        .scopes(&[Scope::HeldRead])
        .with(path("id", text()))
        .ok(shapes::held_item());
    put("/api/v1/held/{id}", "get", show.done());
    let ids = json!({ "type": "array", "minItems": 1, "maxItems": IDS_MAX,
        "items": { "type": "string", "minLength": 1 } });
    let which = json!({
        "ids": ids, "destination": text(), "cause": cause, "key": text(), "type": event_type,
        "all": { "const": true },
    });
    let one_of_them = |mut which: Value, more: &[&str]| {
        let names = ["ids", "destination", "cause", "key", "type", "all"];
        let some = names.map(|name| json!({ "required": [name] }));
        which["anyOf"] = json!(some);
        which["required"] = json!(more);
        which
    };
    let retry = Operation::of("retry", "sends held items again, past our guards");
    let retry = retry
        .scopes(&[Scope::HeldWrite])
        .body(true, one_of_them(object(which.clone()), &[]))
        .accepted(shapes::settled());
    put("/api/v1/held/retry", "post", retry.done());
    let mut with_why = which;
    with_why["why"] = json!({ "type": "string", "minLength": 1 });
    let give_up = Operation::of(
        "drop",
        "gives held items up: they are not sent, and stay on record",
    );
    let give_up = give_up
        .scopes(&[Scope::HeldWrite])
        .body(true, one_of_them(object(with_why), &["why"]))
        .accepted(shapes::settled());
    put("/api/v1/held/drop", "post", give_up.done());
}

fn collection(path: &str, event_type: EventType) -> Value {
    let name = path.rsplit('/').next().unwrap_or_default();
    let what = format!("{event_type}: what was told last of each key, in the order of the keys");
    let mut operation = Operation::of(name, &what).scopes(&[Scope::PublishedRead]);
    for part in event_type.schema().key {
        operation = operation.with(query(part, text()));
    }
    let known = json!({ "name": "If-None-Match", "in": "header", "schema": text(),
        "description": "an ETag: 304 where nothing has changed since" });
    let number = json!({ "type": "integer", "minimum": 1, "maximum": SHOWN_MAX, "default": SHOWN });
    operation = operation
        .with(query("limit", number))
        .with(query("cursor", text()))
        .with(known)
        .ok(shapes::page(event_type));
    let mut done = operation.done();
    done["responses"]["200"]["headers"] = json!({ "ETag": { "schema": text() } });
    done["responses"]["304"] = json!({ "description": "nothing has changed since" });
    done
}

fn types() -> Vec<&'static str> {
    EventType::ALL.map(EventType::name).to_vec()
}

fn number(most: u32, or: u32) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "default": or })
}

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn query(name: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "schema": schema })
}

fn path(name: &str, schema: Value) -> Value {
    let mut schema = schema;
    if schema["type"] == "string" {
        schema["minLength"] = json!(1);
    }
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn required(mut parameter: Value) -> Value {
    parameter["required"] = json!(true);
    parameter
}

fn ok(schema: Value) -> Value {
    json!({ "description": "done", "content": { "application/json": { "schema": schema } } })
}

/// One operation, while it is put together.
struct Operation {
    id: String,
    summary: String,
    scopes: &'static [Scope],
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
}

impl Operation {
    fn of(id: &str, summary: &str) -> Self {
        Self {
            id: id.to_owned(),
            summary: summary.to_owned(),
            scopes: &[],
            parameters: Vec::new(),
            body: None,
            responses: Map::new(),
        }
    }

    fn scopes(self, scopes: &'static [Scope]) -> Self {
        Self { scopes, ..self }
    }

    fn with(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    fn body(self, required: bool, schema: Value) -> Self {
        let content = json!({ "application/json": { "schema": schema } });
        let body = Some(json!({ "required": required, "content": content }));
        Self { body, ..self }
    }

    fn ok(mut self, schema: Value) -> Self {
        self.responses.insert("200".to_owned(), ok(schema));
        self
    }

    fn accepted(mut self, schema: Value) -> Self {
        let mut response = ok(schema);
        response["description"] = json!("noted, and done within seconds; the requests say when");
        self.responses.insert("202".to_owned(), response);
        self
    }

    fn done(mut self) -> Value {
        let problems = [
            ("400", "the request does not fit"),
            ("401", "no token, or one that nobody knows"),
            ("403", "the token may not do this"),
            ("404", "there is no such thing"),
            ("409", "it does not go together with how things are"),
            ("413", "the body is too large"),
            ("415", "the body is not said to be JSON"),
            (
                "429",
                "too many requests; Retry-After says when to come again",
            ),
            ("503", "the state file is busy or cannot be read"),
        ];
        for (status, what) in problems {
            let mut problem = json!({
                "description": what,
                "content": { "application/problem+json": { "schema": reference("problem") } },
            });
            let header = match status {
                "401" => Some("WWW-Authenticate"),
                "429" => Some("Retry-After"),
                _ => None,
            };
            if let Some(header) = header {
                problem["headers"] = json!({ header: { "schema": text() } });
            }
            self.responses.insert(status.to_owned(), problem);
        }
        let security = self.scopes.iter();
        let security: Vec<Value> = security
            .map(|scope| json!({ "token": [scope.name()] }))
            .collect();
        let mut form = json!({
            "operationId": self.id,
            "summary": self.summary,
            "security": security,
            "parameters": self.parameters,
            "responses": self.responses,
        });
        if let Some(body) = self.body {
            form["requestBody"] = body;
        }
        form
    }
}
