//! `/api/v1`: the agent's data and commands for other programs, each with a token of its own.
//!
//! What is read comes from the state file through connections of this room's own, a page at a time. What is
//! asked is left there as a request, as the commands leave it beside a running agent, and the destination's
//! loop does it: this room never opens the store.

mod allowed;
mod ask;
mod door;
mod held;
mod kept;
mod openapi;
mod problem;
mod published;
mod query;
mod rate;
mod readers;
mod replay;
mod shapes;
mod status;
mod token;
mod trace;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};

use self::door::Door;
use self::problem::Problem;
use self::readers::Readers;
use self::token::Scope;
use super::{LocalSettings, Seen};

pub(super) use token::{Token, read};

/// What the handlers share.
struct Api {
    seen: Arc<Seen>,
    door: Door,
    readers: Readers,
}

/// Something that may be asked.
struct Endpoint {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the description is compared with it")
    )]
    method: &'static str,
    path: &'static str,
    /// Who may ask has one of these; none = anybody.
    scopes: &'static [Scope],
    handler: MethodRouter<Arc<Api>>,
}

/// All of them.
fn endpoints() -> Vec<Endpoint> {
    use Scope::{
        DestinationWrite, HeldRead, HeldWrite, PublishedRead, ReplayWrite, StatusRead, TraceRead,
    };
    let get_from = |path, scopes, handler| Endpoint {
        method: "get",
        path,
        scopes,
        handler,
    };
    let post_to = |path, scopes, handler| Endpoint {
        method: "post",
        path,
        scopes,
        handler,
    };
    let mut all = vec![
        get_from("/api/v1/openapi.json", &[], get(openapi::serve)),
        get_from("/api/v1/status", &[StatusRead], get(status::status)),
        get_from(
            "/api/v1/destinations",
            &[StatusRead],
            get(status::destinations),
        ),
        post_to(
            "/api/v1/destinations/{name}/pause",
            &[DestinationWrite],
            post(ask::pause),
        ),
        post_to(
            "/api/v1/destinations/{name}/resume",
            &[DestinationWrite],
            post(ask::resume),
        ),
        get_from("/api/v1/held", &[HeldRead], get(held::list)),
        get_from("/api/v1/held/{id}", &[HeldRead], get(held::show)),
        post_to("/api/v1/held/retry", &[HeldWrite], post(held::retry)),
        post_to("/api/v1/held/drop", &[HeldWrite], post(held::give_up)),
        get_from("/api/v1/trace", &[TraceRead], get(trace::trace)),
        post_to("/api/v1/replay", &[ReplayWrite], post(replay::replay)),
        get_from(
            "/api/v1/requests/{number}",
            &[HeldWrite, ReplayWrite, DestinationWrite],
            get(ask::requested),
        ),
    ];
    let collections = published::COLLECTIONS.into_iter();
    all.extend(collections.map(|(path, event_type)| {
        get_from(path, &[PublishedRead], get(published::of(path, event_type)))
    }));
    all
}

/// The paths of this room.
pub(super) fn routes(seen: &Arc<Seen>, settings: &LocalSettings) -> Router<Arc<Seen>> {
    let api = Arc::new(Api {
        seen: Arc::clone(seen),
        door: Door::new(settings.tokens.clone(), settings.unknown_tokens),
        readers: Readers::new(&seen.watched.folder),
    });
    let mut routes = Router::new();
    for endpoint in endpoints() {
        let gate = Gate {
            api: Arc::clone(&api),
            scopes: endpoint.scopes,
        };
        let handler = endpoint
            .handler
            .route_layer(middleware::from_fn_with_state(gate, enter));
        routes = routes.route(endpoint.path, handler);
    }
    routes = routes.method_not_allowed_fallback(other_method);
    for path in ["/api/v1", "/api/v1/", "/api/v1/{*rest}"] {
        routes = routes.route(path, any(nothing));
    }
    routes.with_state(api)
}

/// Who may come in to one of the endpoints.
#[derive(Clone)]
struct Gate {
    api: Arc<Api>,
    scopes: &'static [Scope],
}

async fn enter(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !gate.scopes.is_empty() {
        let token = gate.api.door.enter(request.headers(), gate.scopes)?;
        request.extensions_mut().insert(token);
    }
    Ok(next.run(request).await)
}

const WHERE: &str = "/api/v1/openapi.json says what there is";

async fn nothing() -> Problem {
    Problem::missing("there is nothing at this address", WHERE)
}

async fn other_method() -> Problem {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Problem::new(
        status,
        "method",
        "this address is not asked in this way",
        format!("{} names the ways; {WHERE}", header::ALLOW),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Whoever reads the description can ask for all that there is, and for nothing else.
    #[test]
    fn the_description_has_each_endpoint_with_its_scopes_and_no_other() {
        let described = openapi::document();
        let mut found = BTreeSet::new();
        for (path, ways) in described["paths"].as_object().unwrap() {
            for (method, way) in ways.as_object().unwrap() {
                let needed = way["security"].as_array().unwrap();
                let scopes: Vec<String> = needed
                    .iter()
                    .map(|one| one["token"][0].as_str().unwrap().to_owned())
                    .collect();
                found.insert((method.clone(), path.clone(), scopes));
            }
        }
        let there: BTreeSet<_> = endpoints()
            .into_iter()
            .map(|one| {
                let scopes = one.scopes.iter().map(|scope| scope.name().to_owned());
                (one.method.to_owned(), one.path.to_owned(), scopes.collect())
            })
            .collect();
        assert_eq!(found, there);
    }
}
