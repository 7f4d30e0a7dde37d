//! Templates in a channel's file.

use contract::{EventType, FieldType, Node, NodeKind, Problems, Section, Value};
use serde_json::Value as Json;

use super::formula::{Allowed, Formula, ItemKind};
use super::path::Path;
use super::settings::{Given, SettingKind};
use super::template::Template;
use crate::load::did_you_mean;

/// Reads templates, with what their expressions may say.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    pub(super) problems: &'a Problems,
    pub(super) allowed: Allowed<'a>,
    /// Several events may go into one request.
    pub(super) items: bool,
    /// Keys are looked for.
    pub(super) keys: bool,
}

impl Reader<'_> {
    pub(super) fn add(
        &self,
        node: &Node,
        path: &str,
        found: impl Into<String>,
        fix: Option<String>,
    ) {
        self.problems
            .add(node.line, node.column, path, found.into(), fix);
    }

    /// An expression, or a constant.
    pub(super) fn formula(&self, node: &Node, path: &str) -> Option<Formula> {
        let text = match &node.kind {
            NodeKind::Text(text) => text,
            NodeKind::Number(text) => {
                let number = text.replace('_', "").parse().ok();
                if number.is_none() {
                    self.add(node, path, "is no number of at most 38 digits", None);
                }
                return number.map(|number| Formula::constant(Value::Decimal(number)));
            }
            NodeKind::Bool(value) => return Some(Formula::constant(Value::Bool(*value))),
            NodeKind::Null => return Some(Formula::constant(Value::Null)),
            _ => {
                self.add(
                    node,
                    path,
                    format!("expected an expression, found {}", node.type_name()),
                    None,
                );
                return None;
            }
        };
        match Formula::read(text, &self.allowed) {
            Ok(formula) => Some(formula),
            Err((found, fix)) => {
                self.add(node, path, found, fix);
                None
            }
        }
    }

    /// An expression that is true or false.
    pub(super) fn test(&self, node: &Node, path: &str) -> Option<Formula> {
        let formula = self.formula(node, path)?;
        if matches!(
            formula.kind,
            crate::sql::Type::Bool | crate::sql::Type::Any | crate::sql::Type::Null
        ) {
            return Some(formula);
        }
        self.add(
            node,
            path,
            format!("is {}, where true or false is needed", formula.kind.name()),
            None,
        );
        None
    }

    pub(super) fn template(&self, node: &Node, path: &str) -> Option<Template> {
        match &node.kind {
            NodeKind::Null => Some(Template::Constant(Json::Null)),
            NodeKind::Bool(value) => Some(Template::Constant(Json::Bool(*value))),
            NodeKind::Text(_) | NodeKind::Number(_) => self.formula(node, path).map(Template::Leaf),
            NodeKind::List(items) => {
                let all = items
                    .iter()
                    .enumerate()
                    .map(|(n, item)| self.template(item, &format!("{path}[{}]", n + 1)));
                // Every element is looked at, so that every problem is told.
                let all: Vec<_> = all.collect();
                all.into_iter().collect::<Option<_>>().map(Template::List)
            }
            NodeKind::Map(entries) => {
                if entries
                    .iter()
                    .any(|(key, _)| key.name.starts_with('$') && !key.name.starts_with("$$"))
                {
                    return self.special(node, path);
                }
                let mut members = Vec::with_capacity(entries.len());
                let mut whole = true;
                for (key, value) in entries {
                    let name = key.name.strip_prefix('$').unwrap_or(&key.name).to_owned();
                    match self.template(value, &format!("{path}.{}", key.name)) {
                        Some(made) => members.push((name, made)),
                        None => whole = false,
                    }
                }
                whole.then_some(Template::Object(members))
            }
        }
    }

    fn special(&self, node: &Node, path: &str) -> Option<Template> {
        const FORMS: &[&str] = &[
            "$each", "$items", "$join", "$keys", "$keep", "$member", "$pick", "$text", "$values",
            "$when",
        ];
        let NodeKind::Map(entries) = &node.kind else {
            return None;
        };
        let form = entries.iter().find(|(key, _)| key.name.starts_with('$'));
        let form = form.map(|(key, _)| key.name.clone()).unwrap_or_default();
        // Its keys are a part of a request's shape, not of the file's: nobody needs to be told that they were asked for.
        let quiet = self.problems.clone();
        let mut section = Section::new(node, path, &quiet);
        let made = match form.as_str() {
            "$text" => section
                .text("$text")
                .map(|text| Template::Constant(Json::String(text.to_owned()))),
            "$keep" => section
                .get("$keep")
                .and_then(|node| self.formula(node, path))
                .map(Template::Keep),
            "$items" => {
                let body = section
                    .get("$items")
                    .and_then(|node| self.template(node, path));
                if !self.items {
                    self.add(
                        node,
                        path,
                        "there are no events to go through here",
                        Some("$items stands in the body of a `send`".to_owned()),
                    );
                }
                body.filter(|_| self.items)
                    .map(|body| Template::Items(Box::new(body)))
            }
            "$join" => self.join(&mut section, path),
            "$keys" => self.keys(node, &mut section, path),
            "$each" => self.each(&mut section, path),
            "$when" => {
                let test = section.get("$when").and_then(|node| self.test(node, path));
                let then = section.get("then");
                if then.is_none() {
                    section.missing("then", "`then: ..`");
                }
                let then = then.and_then(|node| self.template(node, path));
                let otherwise = section.get("else");
                let made = otherwise.map(|node| self.template(node, path));
                match (test, then, made) {
                    (Some(test), Some(then), None) => Some(Template::When {
                        test,
                        then: Box::new(then),
                        otherwise: None,
                    }),
                    (Some(test), Some(then), Some(Some(other))) => Some(Template::When {
                        test,
                        then: Box::new(then),
                        otherwise: Some(Box::new(other)),
                    }),
                    _ => None,
                }
            }
            "$member" => {
                let name = section
                    .get("$member")
                    .and_then(|node| self.formula(node, path));
                let value = section.get("is");
                if value.is_none() {
                    section.missing("is", "`is: ..`");
                }
                let value = value.and_then(|node| self.template(node, path));
                name.zip(value).map(|(name, value)| Template::Member {
                    name,
                    value: Box::new(value),
                })
            }
            "$pick" => self.pick(&mut section, path),
            "$values" => self.values(&mut section, path),
            other => {
                let fix = contract::finding::nearest(other, FORMS.iter().copied());
                let fix = fix.map_or_else(
                    || {
                        format!(
                            "a member whose name begins with $ is written $${}",
                            other.trim_start_matches('$')
                        )
                    },
                    |name| format!("did you mean `{name}`?"),
                );
                self.add(node, path, format!("there is no form `{other}`"), Some(fix));
                return None;
            }
        };
        section.finish();
        made
    }

    fn keys(&self, node: &Node, section: &mut Section<'_>, path: &str) -> Option<Template> {
        section.get("join");
        if section.get("$keys").is_some() && !self.keys {
            self.add(
                node,
                path,
                "nothing is looked for here",
                Some("$keys stands in the request of a `find`".to_owned()),
            );
            return None;
        }
        let asked = section.get("$keys")?;
        let each = if matches!(asked.kind, NodeKind::Bool(true)) {
            None
        } else {
            let mut inner = self.clone();
            inner.allowed = Allowed {
                event: None,
                item: None,
                given: &["key"],
                ..self.allowed.clone()
            };
            Some(inner.formula(asked, path)?)
        };
        Some(Template::Keys {
            each,
            join: section.text("join").map(str::to_owned),
        })
    }

    fn join(&self, section: &mut Section<'_>, path: &str) -> Option<Template> {
        let node = section.get("$join")?;
        if !matches!(node.kind, NodeKind::List(_)) {
            self.add(node, path, "$join needs a list of lists", None);
            return None;
        }
        match self.template(node, path)? {
            Template::List(parts) => Some(Template::Join(parts)),
            _ => None,
        }
    }

    fn each(&self, section: &mut Section<'_>, path: &str) -> Option<Template> {
        let node = section.get("$each")?;
        let from = self.formula(node, path);
        let item = match &node.kind {
            NodeKind::Text(text) => self.element(text.trim()),
            _ => None,
        };
        if from.is_some() && item.is_none() {
            let fix = "a list of the event, of the element at hand, or something found".to_owned();
            self.add(node, path, "$each needs the name of a list", Some(fix));
        }
        let mut inner = self.clone();
        inner.allowed.item = item.or(Some(ItemKind::Any));
        let filter = section.get("where").map(|node| inner.test(node, path));
        let body = section.get("as");
        if body.is_none() {
            section.missing("as", "`as: ..`");
        }
        let body = body.and_then(|node| inner.template(node, path));
        item?;
        let filter = match filter {
            None => None,
            Some(filter) => Some(filter?),
        };
        Some(Template::Each {
            from: from?,
            filter,
            body: Box::new(body?),
        })
    }

    /// What the codes of a setting lead to.
    fn values(&self, section: &mut Section<'_>, path: &str) -> Option<Template> {
        let node = section.get("$values")?;
        let name = section.text("$values")?;
        let answers = self.allowed.answers;
        if answers.kind(name) != Some(SettingKind::Map) {
            let fix = did_you_mean(name, answers.maps());
            self.add(
                node,
                path,
                format!("there is no setting `{name}` of type map"),
                fix,
            );
        }
        let values = match answers.given(name) {
            Some(Given::Map(map)) => map.into_values().collect(),
            _ => Vec::new(),
        };
        let list = Json::Array(values.into_iter().map(Json::String).collect());
        let mut inner = self.clone();
        inner.allowed.item = Some(ItemKind::Text);
        let body = section.get("as");
        if body.is_none() {
            section.missing("as", "`as: item`");
        }
        let body = body.and_then(|node| inner.template(node, path));
        Some(Template::Each {
            from: Formula::constant(Value::Json(list.to_string())),
            filter: None,
            body: Box::new(body?),
        })
    }

    fn element(&self, name: &str) -> Option<ItemKind> {
        let of = |kind: FieldType| match kind {
            FieldType::List(schema) => Some(ItemKind::Object(schema)),
            FieldType::Texts => Some(ItemKind::Text),
            _ => None,
        };
        if name.starts_with("found.") {
            return Some(ItemKind::Any);
        }
        let (outer, inner) = name.split_once('.').unwrap_or((name, ""));
        if outer == "item" {
            return match self.allowed.item? {
                ItemKind::Object(schema) => of(schema.field(inner)?.field_type),
                ItemKind::Any => Some(ItemKind::Any),
                ItemKind::Text => None,
            };
        }
        let field = self.allowed.event.map(EventType::schema)?.field(outer)?;
        match field.field_type {
            FieldType::Object(schema) if !inner.is_empty() => of(schema.field(inner)?.field_type),
            kind if inner.is_empty() => of(kind),
            _ => None,
        }
    }

    fn pick(&self, section: &mut Section<'_>, path: &str) -> Option<Template> {
        let from = section
            .get("$pick")
            .and_then(|node| self.formula(node, path));
        let key = self.path(section, "key", "`key: sku`");
        let is = section.get("is");
        if is.is_none() {
            section.missing("is", "`is: item.sku`");
        }
        let is = is.and_then(|node| self.formula(node, path));
        let take = self.path(section, "take", "`take: id`");
        let otherwise = section.get("else").map(|node| self.template(node, path));
        let otherwise = match otherwise {
            None => None,
            Some(otherwise) => Some(Box::new(otherwise?)),
        };
        Some(Template::Pick {
            from: from?,
            key: key?,
            is: is?,
            take: take?,
            otherwise,
        })
    }

    /// A path that must be there.
    pub(super) fn path(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        example: &str,
    ) -> Option<Path> {
        section.required_text(key, example)?;
        self.may_path(section, key)
    }

    /// A path.
    pub(super) fn may_path(&self, section: &mut Section<'_>, key: &'static str) -> Option<Path> {
        let node = section.get(key)?;
        self.path_of(node, &format!("{}.{key}", section.path()))
    }

    /// A path in a node.
    pub(super) fn path_of(&self, node: &Node, path: &str) -> Option<Path> {
        let NodeKind::Text(text) = &node.kind else {
            self.add(
                node,
                path,
                format!("expected a place in the answer, found {}", node.type_name()),
                Some("such as data.items".to_owned()),
            );
            return None;
        };
        match Path::parse(text) {
            Ok(found) => Some(found),
            Err(found) => {
                self.add(node, path, format!("`{text}` {found}"), None);
                None
            }
        }
    }
}
