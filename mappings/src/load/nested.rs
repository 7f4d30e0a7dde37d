//! Fields that hold more than one value: objects, lists of texts, maps, amounts of money.

use contract::{BodySchema, FieldSchema, FieldType, Node, NodeKind};

use super::field_names;
use super::scope::Scope;
use crate::rule::{Currency, Field, Formula, Term};
use crate::sql::{self, Expr, Type};

impl Scope<'_> {
    /// `unavailable: {damaged: "..", ..}`
    pub(crate) fn object(
        &mut self,
        schema: &FieldSchema,
        inner: &'static BodySchema,
        index: usize,
        node: &Node,
        path: &str,
    ) -> Option<Field> {
        let NodeKind::Map(entries) = &node.kind else {
            self.expected(node, path, &format!("{{{}: ..}}", first(inner)));
            return None;
        };
        let names: Vec<&str> = inner.fields.iter().map(|field| field.name).collect();
        field_names(self.shared.problems, entries, &names, path);
        let mut fields = Vec::new();
        for (n, field) in inner.fields.iter().enumerate() {
            match entries.iter().find(|(key, _)| key.name == field.name) {
                Some((_, node)) => fields.extend(self.field(field, n, node, path)),
                None if field.required => {
                    let found = format!("required field `{}` is not mapped", field.name);
                    let fix = Some(format!("add `{}: ..`: {}", field.name, field.meaning));
                    self.shared
                        .problems
                        .add(node.line, node.column, path, found, fix);
                }
                None => {}
            }
        }
        Some(self.plain(schema, index, Term::Object(inner, fields)))
    }

    /// `reasons: ["..", ".."]`
    pub(crate) fn texts(
        &mut self,
        schema: &FieldSchema,
        index: usize,
        node: &Node,
        path: &str,
    ) -> Option<Field> {
        let items = match &node.kind {
            NodeKind::List(items) => items.as_slice(),
            NodeKind::Text(_) => std::slice::from_ref(node),
            _ => {
                self.expected(node, path, "[\"column\", ..]");
                return None;
            }
        };
        let mut texts = Vec::new();
        for item in items {
            texts.extend(self.one_text(schema, item, path));
        }
        Some(self.plain(schema, index, Term::Texts(texts)))
    }

    /// `names: {en: "..", de: ".."}`
    pub(crate) fn map(
        &mut self,
        schema: &FieldSchema,
        index: usize,
        node: &Node,
        path: &str,
    ) -> Option<Field> {
        let NodeKind::Map(entries) = &node.kind else {
            self.expected(node, path, "{name: \"column\", ..}");
            return None;
        };
        let mut map = Vec::new();
        for (key, node) in entries {
            let path = format!("{path}.{}", key.name);
            map.extend(
                self.one_text(schema, node, &path)
                    .map(|f| (key.name.clone(), f)),
            );
        }
        Some(self.plain(schema, index, Term::Map(map)))
    }

    fn one_text(&mut self, schema: &FieldSchema, node: &Node, path: &str) -> Option<Field> {
        let text = FieldSchema {
            field_type: FieldType::Text,
            required: false,
            ..*schema
        };
        // The list's own name says where, once.
        let outer = path
            .strip_suffix(&format!(".{}", schema.name))
            .unwrap_or(path);
        self.field(&text, 0, node, outer)
    }

    fn expected(&self, node: &Node, path: &str, example: &str) {
        let found = format!("expected {example}, found {}", node.type_name());
        self.shared
            .problems
            .add(node.line, node.column, path, found, None);
    }

    /// `total: "money(amount, currency)"`; otherwise the field is written in another form.
    pub(crate) fn money(
        &mut self,
        schema: &FieldSchema,
        index: usize,
        node: &Node,
        path: &str,
    ) -> Money {
        let NodeKind::Text(text) = &node.kind else {
            return Money::Other;
        };
        let ((amount, kind), (currency, currency_kind)) = match sql::compile_money(text, self) {
            Ok(Some(found)) => found,
            // Another expression: whoever reads it says what is wrong with it.
            Ok(None) => return Money::Other,
            Err(wrong) => {
                self.misread(node, path, wrong);
                return Money::Wrong;
            }
        };
        let problem = |found: String| {
            self.shared
                .problems
                .add(node.line, node.column, path, found, None);
            Money::Wrong
        };
        if !kind.fits(Type::Number) {
            return problem(format!("money needs a number first, found {}", kind.name()));
        }
        if !currency_kind.fits(Type::Text) {
            return problem(format!(
                "money needs a currency's code second, found {}",
                currency_kind.name()
            ));
        }
        let term = match amount {
            Expr::Column(column) => Term::Column(column),
            expr => Term::Expression(Formula {
                text: text.clone(),
                expr,
            }),
        };
        let mut field = self.plain(schema, index, term);
        field.currency = Some(Currency::Of(Formula {
            text: text.clone(),
            expr: currency,
        }));
        Money::Field(Box::new(field))
    }
}

/// How an amount of money is written.
pub(crate) enum Money {
    Field(Box<Field>),
    /// As `money(..)`, but wrong.
    Wrong,
    /// In another form.
    Other,
}

fn first(schema: &BodySchema) -> &'static str {
    schema.fields.first().map_or("name", |field| field.name)
}
