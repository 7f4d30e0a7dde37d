//! The shape of a request: YAML's own, with expressions for leaves.

use contract::Value;
use serde_json::{Map, Value as Json};

use super::formula::{Formula, Scope, json_of, loose};
use super::path::Path;

/// Elements that one list may give.
const ELEMENTS_MAX: usize = 10_000;

/// A shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Template {
    Constant(Json),
    /// An expression. Null is left out.
    Leaf(Formula),
    /// An expression whose null is said.
    Keep(Formula),
    Object(Vec<(String, Template)>),
    List(Vec<Template>),
    /// One for each event of the request.
    Items(Box<Template>),
    /// What is looked for, as a list or joined to one text.
    Keys {
        each: Option<Formula>,
        join: Option<String>,
    },
    /// One for each element of a list.
    Each {
        from: Formula,
        filter: Option<Formula>,
        body: Box<Template>,
    },
    /// Lists one after another.
    Join(Vec<Template>),
    /// A member whose name is worked out.
    Member {
        name: Formula,
        value: Box<Template>,
    },
    When {
        test: Formula,
        then: Box<Template>,
        otherwise: Option<Box<Template>>,
    },
    /// A value of the element of a found list that belongs to what is at hand.
    Pick {
        from: Formula,
        key: Path,
        is: Formula,
        take: Path,
        otherwise: Option<Box<Template>>,
    },
}

/// What a request is made for.
#[derive(Clone, Copy, Default)]
pub(super) struct Render<'s> {
    /// The event, where it is for one; else its first.
    pub(super) scope: Scope<'s>,
    /// All events of the request.
    pub(super) members: &'s [Scope<'s>],
    /// What is looked for.
    pub(super) keys: &'s [String],
}

impl Template {
    /// Whether it holds one part for each event.
    pub(super) fn has_items(&self) -> bool {
        self.any(&|one| matches!(one, Self::Items(_)))
    }

    /// Whether it holds what is looked for.
    pub(super) fn has_keys(&self) -> bool {
        self.any(&|one| matches!(one, Self::Keys { .. }))
    }

    fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self)
            || match self {
                Self::Object(members) => members.iter().any(|(_, one)| one.any(test)),
                Self::List(items) | Self::Join(items) => items.iter().any(|one| one.any(test)),
                Self::Items(body) | Self::Each { body, .. } | Self::Member { value: body, .. } => {
                    body.any(test)
                }
                Self::When {
                    then, otherwise, ..
                } => then.any(test) || otherwise.as_ref().is_some_and(|one| one.any(test)),
                _ => false,
            }
    }

    /// The JSON; nothing where a leaf is null.
    ///
    /// # Errors
    /// Where and why there is none, without any value.
    pub(super) fn render(&self, given: &Render<'_>) -> Result<Option<Json>, String> {
        Ok(match self {
            Self::Constant(json) => Some(json.clone()),
            Self::Leaf(formula) => Some(formula.json(&given.scope)?).filter(|json| !json.is_null()),
            Self::Keep(formula) => Some(formula.json(&given.scope)?),
            Self::Object(members) => {
                let mut object = Map::with_capacity(members.len());
                for (name, member) in members {
                    let made = member
                        .render(given)
                        .map_err(|reason| within(name, &reason))?;
                    if let Some(json) = made {
                        object.insert(name.clone(), json);
                    }
                }
                Some(Json::Object(object))
            }
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.extend(item.render(given)?);
                }
                Some(Json::Array(list))
            }
            Self::Join(parts) => {
                let mut list = Vec::new();
                for part in parts {
                    match part.render(given)? {
                        None => {}
                        Some(Json::Array(items)) => list.extend(items),
                        Some(_) => return Err("$join has a part that is no list".to_owned()),
                    }
                }
                Some(Json::Array(list))
            }
            Self::Items(body) => {
                let mut list = Vec::with_capacity(given.members.len());
                for scope in given.members {
                    list.extend(body.render(&Render {
                        scope: *scope,
                        ..*given
                    })?);
                }
                Some(Json::Array(list))
            }
            Self::Keys { each, join } => {
                let mut texts = Vec::with_capacity(given.keys.len());
                for key in given.keys {
                    let one = [("key", key.as_str())];
                    let scope = Scope {
                        given: &one,
                        ..Scope::default()
                    };
                    texts.push(match each {
                        Some(each) => each.text(&scope)?.unwrap_or_default(),
                        None => key.clone(),
                    });
                }
                Some(match join {
                    Some(join) => Json::String(texts.join(join)),
                    None => Json::Array(texts.into_iter().map(Json::String).collect()),
                })
            }
            Self::Each { from, filter, body } => {
                let mut list = Vec::new();
                for item in elements(from, &given.scope)? {
                    let scope = Scope {
                        item: Some(&item),
                        ..given.scope
                    };
                    if filter
                        .as_ref()
                        .map_or(Ok(true), |filter| filter.truth(&scope))?
                    {
                        list.extend(body.render(&Render { scope, ..*given })?);
                    }
                }
                Some(Json::Array(list))
            }
            Self::Member { name, value } => {
                let name = name.text(&given.scope)?.ok_or("a member's name is null")?;
                let value = value.render(given)?;
                let members = value.map(|value| (name, value)).into_iter();
                Some(Json::Object(members.collect()))
            }
            Self::When {
                test,
                then,
                otherwise,
            } => {
                if test.truth(&given.scope)? {
                    then.render(given)?
                } else {
                    match otherwise {
                        Some(otherwise) => otherwise.render(given)?,
                        None => None,
                    }
                }
            }
            Self::Pick {
                from,
                key,
                is,
                take,
                otherwise,
            } => {
                let wanted = is.json(&given.scope)?;
                let all = elements(from, &given.scope)?;
                let mut fitting = all
                    .iter()
                    .filter(|one| key.within(one).is_some_and(|found| same(found, &wanted)));
                match (fitting.next(), fitting.next()) {
                    (Some(one), None) => take.within(one).cloned(),
                    (None, _) if otherwise.is_some() => match otherwise {
                        Some(otherwise) => otherwise.render(given)?,
                        None => None,
                    },
                    (None, _) => {
                        return Err(format!(
                            "what was found has no element whose `{}` fits",
                            key.text()
                        ));
                    }
                    (Some(_), Some(_)) => {
                        return Err(format!(
                            "what was found has several elements whose `{}` fits",
                            key.text()
                        ));
                    }
                }
            }
        })
    }
}

/// Whether two values are the same to an API: numbers by value, and a text may stand for a number.
pub(super) fn same(left: &Json, right: &Json) -> bool {
    if left == right {
        return true;
    }
    let number = |json: &Json| match loose(json) {
        Value::Decimal(number) => Some(number),
        Value::Text(text) => text.trim().parse::<contract::Decimal>().ok(),
        _ => None,
    };
    matches!((number(left), number(right)), (Some(left), Some(right)) if left == right)
}

fn within(name: &str, reason: &str) -> String {
    match reason.split_once(": ") {
        Some((path, _))
            if path
                .split('.')
                .all(|part| !part.is_empty() && !part.contains(' ')) =>
        {
            format!("{name}.{reason}")
        }
        _ => format!("{name}: {reason}"),
    }
}

fn elements(from: &Formula, scope: &Scope<'_>) -> Result<Vec<Json>, String> {
    match json_of(&from.value(scope)?)? {
        Json::Null => Ok(Vec::new()),
        Json::Array(items) if items.len() <= ELEMENTS_MAX => Ok(items),
        Json::Array(_) => Err(format!("a list has more than {ELEMENTS_MAX} elements")),
        _ => Err("what should be a list is none".to_owned()),
    }
}
