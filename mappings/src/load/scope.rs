//! What the expressions of one event may refer to, and what they did refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::section::{FILE_LINES, Problems};
use contract::{
    BodySchema, CapturedTable, ColumnKind, FieldType, Finding, Node, NodeKind, TableName, Value,
};

use super::blocks::{Clean, Company, Dictionary, Word};
use super::settings::Settings;
use super::words::did_you_mean;
use crate::catalogue::{Catalogue, seen};
use crate::rule::{Added, Formula, List, Origin, Role, Slot};
use crate::sql::{self, Codes, Expr, Formed, LineCall, Names, Setting, Type, Wrong, folded};
use crate::units::Units;
use crate::yaml::place_within;

/// What all events of a file share.
pub(crate) struct Shared<'l> {
    pub(crate) problems: &'l Problems,
    pub(crate) clean: &'l Clean,
    pub(crate) settings: &'l Settings,
    pub(crate) dictionaries: &'l BTreeMap<String, Dictionary>,
    pub(crate) units: Option<Arc<Units>>,
    pub(crate) tables: &'l BTreeMap<String, CapturedTable>,
    pub(crate) company: Option<&'l Company>,
    pub(crate) catalogue: &'l Catalogue,
    /// The texts of the file and of those it extends.
    pub(crate) texts: &'l [&'l str],
}

/// Names of fields that expressions may read.
#[derive(Clone, Default)]
pub(crate) struct FieldNames {
    /// The body's schema.
    pub(crate) schema: Option<&'static BodySchema>,
    /// Fields that are mapped.
    pub(crate) mapped: Vec<String>,
    /// Fields that follow from others, readable once the body is complete.
    pub(crate) derived: bool,
    /// The field being read: it does not mean itself.
    pub(crate) current: Option<&'static str>,
    /// Whether key fields may be read.
    pub(crate) keys: bool,
    /// Whether `archived` of the document may be read, where it is not a column's name.
    pub(crate) archived: Option<bool>,
}

/// The scope of one event's expressions.
pub(crate) struct Scope<'l> {
    pub(crate) shared: &'l Shared<'l>,
    /// The event's own table is known; without it every alias is taken, so that one mistake is
    /// said once.
    pub(crate) known: bool,
    pub(crate) slots: Vec<Slot>,
    pub(crate) lists: Vec<List>,
    pub(crate) columns: Vec<Origin>,
    /// The slots that names may mean now; the last home's own slot first.
    pub(crate) visible: Vec<usize>,
    pub(crate) fields: FieldNames,
    /// Whether `archived` follows from where the document was found.
    pub(crate) archives: bool,
    /// The list that `lines` fills, and the fields it maps.
    pub(crate) lines: Option<(usize, Vec<String>)>,
    /// Set while an expression over lines is read.
    outer: Option<(Vec<usize>, FieldNames)>,
    /// Dictionaries and table aliases used so far.
    pub(crate) used_dictionaries: Vec<String>,
    pub(crate) used_tables: Vec<String>,
    /// The columns of the answer that the event's rows come from, where they do.
    pub(super) answer: Option<Vec<String>>,
    /// A company's column is being read: it cannot mean itself.
    in_company: bool,
    /// What is being read, for warnings: its place and path.
    place: (usize, usize),
    path: String,
    /// Signs before what is wrong in the expression that was read last.
    wrong: Option<usize>,
    /// Aliases that are joined after the one being read.
    pub(crate) later: Vec<String>,
}

impl<'l> Scope<'l> {
    pub(crate) fn new(shared: &'l Shared<'l>) -> Self {
        Self {
            shared,
            known: true,
            slots: Vec::new(),
            lists: Vec::new(),
            columns: Vec::new(),
            visible: Vec::new(),
            fields: FieldNames::default(),
            archives: false,
            lines: None,
            outer: None,
            used_dictionaries: Vec::new(),
            used_tables: Vec::new(),
            answer: None,
            in_company: false,
            place: (1, 1),
            path: String::new(),
            wrong: None,
            later: Vec::new(),
        }
    }

    /// Reports what is wrong with the expression that was read last: at its node, and in a text of
    /// several lines at the word itself.
    pub(crate) fn misread(&mut self, node: &Node, path: &str, (found, fix): Wrong) {
        let text = self.shared.texts.get(node.line / FILE_LINES);
        let first = node.line / FILE_LINES * FILE_LINES;
        let start = (node.line % FILE_LINES, node.column);
        let place = text.zip(self.wrong.take());
        let place = place.and_then(|(text, signs)| place_within(text, start, signs));
        let (line, column) = place.unwrap_or(start);
        let problems = self.shared.problems;
        problems.add(first + line, column, path, found, fix);
    }

    /// From here on, warnings are about a node.
    pub(crate) fn reading(&mut self, node: &Node, path: &str) {
        self.place = (node.line, node.column);
        path.clone_into(&mut self.path);
    }

    /// What an expression calls a rule's column.
    pub(crate) fn shown_column(&self, at: usize) -> String {
        let alias = |slot: usize| self.slots.get(slot).map_or("", |slot| &slot.alias);
        match self.columns.get(at) {
            Some(Origin::Cell { slot, column, .. }) => format!("`{}.{column}`", alias(*slot)),
            Some(Origin::Added { slot, .. }) => format!("`{}`", alias(*slot)),
            _ => "what it reads".to_owned(),
        }
    }

    /// What values a rule's column holds, as far as it is known.
    pub(crate) fn column_kind(&self, at: usize) -> ColumnKind {
        match self.columns.get(at) {
            Some(Origin::Cell { slot, column, .. }) => {
                let table = self.slots.get(*slot).map(|slot| &slot.table.table);
                let columns = table.and_then(|table| self.shared.catalogue.columns(table));
                let mut columns = columns.into_iter().flatten();
                let known = columns.find(|known| known.name == *column);
                known.map_or(ColumnKind::Other, |known| known.kind)
            }
            Some(Origin::Added {
                what: Added::Sum | Added::Count,
                ..
            }) => ColumnKind::Decimal,
            _ => ColumnKind::Other,
        }
    }

    /// The index of an origin, added where it is new.
    pub(crate) fn origin(&mut self, wanted: Origin) -> usize {
        if let Origin::Cell {
            slot,
            column,
            optional,
        } = &wanted
        {
            let same = self.columns.iter_mut().position(|known| match known {
                Origin::Cell {
                    slot: s,
                    column: c,
                    optional: o,
                } if s == slot && c == column => {
                    // Needed without a stand-in somewhere, it is needed.
                    *o = *o && *optional;
                    true
                }
                _ => false,
            });
            if let Some(at) = same {
                return at;
            }
        } else if let Some(at) = self.columns.iter().position(|known| *known == wanted) {
            return at;
        }
        self.columns.push(wanted);
        self.columns.len() - 1
    }

    /// The slot an alias means here.
    fn slot(&self, alias: Option<&str>) -> Result<usize, Wrong> {
        let Some(alias) = alias else {
            return self
                .visible
                .first()
                .copied()
                .ok_or_else(|| ("names no column: there is no row here".to_owned(), None));
        };
        let slots = self.visible.iter().copied();
        let found = slots
            .clone()
            .find(|n| self.slots.get(*n).is_some_and(|slot| slot.alias == alias));
        if let Some(found) = found {
            return Ok(found);
        }
        if !self.known {
            return Ok(0);
        }
        let visible = slots
            .filter_map(|n| self.slots.get(n))
            .map(|slot| &*slot.alias);
        let visible: Vec<&str> = visible.collect();
        if self.later.iter().any(|later| later == alias) {
            let found = format!("`{alias}` is joined only after this");
            let fix = format!("put `{alias}` first: each join finds its row by those before it");
            return Err((found, Some(fix)));
        }
        if self.shared.tables.contains_key(alias) {
            let found = format!("`{alias}` is one of tables, but this event does not join it here");
            let fix =
                format!("join: {{{alias}: {{match: \"{alias}.column = ..\", missing: hold}}}}");
            return Err((found, Some(fix)));
        }
        let tables = self.shared.tables.keys().map(String::as_str);
        let fix = did_you_mean(alias, visible.iter().copied())
            .or_else(|| did_you_mean(alias, tables))
            .unwrap_or_else(|| format!("one of {}", visible.join(", ")));
        Err((format!("`{alias}` is not one of tables"), Some(fix)))
    }

    /// `absent` is what follows where the table has no such column; without it there must be one.
    fn cell(&mut self, slot: usize, column: &str, absent: Option<&str>) -> Result<Formed, Wrong> {
        if let Some(columns) = self.answer.as_ref().filter(|_| slot == 0)
            && !columns.iter().any(|known| known == column)
        {
            let fix = did_you_mean(column, columns.iter().map(String::as_str));
            return Err((format!("`read.columns` has no `{column}`"), fix));
        }
        let table = self.slots.get(slot).map(|slot| &slot.table.table);
        let known = table.and_then(|table| self.shared.catalogue.columns(table));
        let mut kind = Type::Any;
        if let Some(columns) = known {
            if let Some(found) = columns.iter().find(|known| known.name == column) {
                kind = seen(found.kind);
            } else {
                let table = table.map(TableName::to_string).unwrap_or_default();
                let names = columns.iter().map(|known| known.name.as_str());
                let near = did_you_mean(column, names);
                let found = format!("table {table} has no column \"{column}\"");
                let Some(effect) = absent else {
                    let fix = near.or_else(|| {
                        Some(format!(
                            "optional({column}, ..) if only some versions have it"
                        ))
                    });
                    return Err((found, fix));
                };
                // Versions differ: right, or mistyped.
                let found = format!("{found}: {effect}");
                let mut warning = Finding::warn(&self.path, found);
                warning.fix = near;
                self.shared
                    .problems
                    .push(warning, self.place.0, self.place.1);
            }
        }
        let column = column.to_owned();
        let at = self.origin(Origin::Cell {
            slot,
            column,
            optional: absent.is_some(),
        });
        Ok((Expr::Column(at), kind))
    }

    fn added(&mut self, alias: &str, name: &str) -> Option<Result<Formed, Wrong>> {
        // Sums are of the event's own row.
        if self.visible.first() != Some(&0) {
            return None;
        }
        let slot = self
            .slots
            .iter()
            .position(|slot| matches!(slot.role, Role::Add(_)) && slot.alias == alias)?;
        // While it is read itself, its alias means its own row.
        if self.visible.contains(&slot) {
            return None;
        }
        let Some(Role::Add(sums)) = self.slots.get(slot).map(|slot| &slot.role) else {
            return None;
        };
        let has = |what: Added| match what {
            Added::Count => true,
            Added::Sum => sums.sum.is_some(),
            Added::Earliest => sums.earliest.is_some(),
            Added::Latest => sums.latest.is_some(),
        };
        let names = Added::ALL.iter().filter(|(_, what)| has(*what));
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        let Some((_, what)) = Added::ALL.iter().find(|(known, _)| *known == name) else {
            let fix = Some(format!("one of {}", names.join(", ")));
            return Some(Err((format!("add.{alias} gives no `{name}`"), fix)));
        };
        if !has(*what) {
            let fix = Some(format!("add.{alias}: {{{name}: \"..\"}}"));
            return Some(Err((format!("add.{alias} has no `{name}`"), fix)));
        }
        let at = self.origin(Origin::Added { slot, what: *what });
        let kind = match what {
            Added::Sum | Added::Count => Type::Number,
            Added::Earliest | Added::Latest => Type::Any,
        };
        Some(Ok((Expr::Column(at), kind)))
    }

    fn company(&mut self, name: &str) -> Result<Formed, Wrong> {
        let Some(company) = self.shared.company else {
            let fix = Some("`company: MY-COMPANY` or a `companies` block".to_owned());
            return Err(("the file names no company".to_owned(), fix));
        };
        match name {
            "code" => match &company.column {
                Some(_) if self.in_company => {
                    Err(("companies.column cannot mean itself".to_owned(), None))
                }
                Some(column) => {
                    self.in_company = true;
                    let made = sql::compile(column, self);
                    self.in_company = false;
                    made.map_err(|(found, fix)| (format!("companies.column: {found}"), fix))
                }
                None => Ok((
                    Expr::Constant(Value::Text(company.code.clone())),
                    Type::Text,
                )),
            },
            "currency" => match &company.currency {
                Some(code) => Ok((Expr::Constant(Value::Text(code.clone())), Type::Text)),
                None => Err((
                    format!("company {} has no currency", company.code),
                    Some("companies: {list: [{code: .., currency: USD}]}".to_owned()),
                )),
            },
            other => Err((
                format!("`company.{other}` is nothing"),
                Some("company.code or company.currency".to_owned()),
            )),
        }
    }

    fn field_named(&self, name: &str) -> Option<Formed> {
        let fields = &self.fields;
        let schema = fields.schema?;
        if fields.current == Some(name) {
            return None;
        }
        if let Some(index) = schema.index(name) {
            let readable = fields.derived || fields.mapped.iter().any(|mapped| mapped == name);
            let kind = schema
                .fields
                .get(index)
                .map(|field| field_type(field.field_type));
            return readable.then_some((Expr::Field(index), kind.unwrap_or(Type::Any)));
        }
        let key = schema.key.iter().position(|key| *key == name)?;
        let at = schema.fields.len() + key;
        fields.keys.then_some((Expr::Field(at), Type::Text))
    }

    /// A condition or another expression at a node.
    pub(crate) fn formula(
        &mut self,
        node: &Node,
        path: &str,
        wanted: Type,
        example: &str,
    ) -> Option<Formula> {
        self.reading(node, path);
        let problem = |found: String, fix: Option<String>| {
            self.shared
                .problems
                .add(node.line, node.column, path, found, fix);
        };
        let what = if wanted == Type::Bool {
            "a condition"
        } else {
            wanted.name()
        };
        let NodeKind::Text(text) = &node.kind else {
            let found = format!("expected {what}, found {}", node.type_name());
            problem(found, Some(format!("such as \"{example}\"")));
            return None;
        };
        match sql::compile(text, self) {
            Ok((expr, kind)) if kind.fits(wanted) => Some(Formula {
                text: text.clone(),
                expr,
            }),
            Ok((_, kind)) => {
                let found = format!("expected {what}, found {}", kind.name());
                let fix = match (wanted, kind) {
                    (Type::Bool, _) => Some("compare it with something".to_owned()),
                    (Type::Number, Type::Float) => {
                        Some(format!("round({text}, 2), with the places it really has"))
                    }
                    _ => None,
                };
                self.shared
                    .problems
                    .add(node.line, node.column, path, found, fix);
                None
            }
            Err(wrong) => {
                self.misread(node, path, wrong);
                None
            }
        }
    }

    /// The slots whose rows an expression reads.
    pub(crate) fn slots_of(&self, expr: &Expr) -> Vec<usize> {
        let mut slots: Vec<usize> = expr
            .columns()
            .into_iter()
            .filter_map(|column| match self.columns.get(column) {
                Some(Origin::Cell { slot, .. }) => Some(*slot),
                _ => None,
            })
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

/// How many signs stand before a place in a text; blanks do not count, for YAML folds them.
fn signs_before(text: &str, line: u64, column: u64) -> usize {
    let index = |place: u64| {
        usize::try_from(place)
            .unwrap_or(usize::MAX)
            .saturating_sub(1)
    };
    let solid = |c: &char| !c.is_whitespace();
    let mut lines = text.split('\n');
    let above = lines.by_ref().take(index(line));
    let above: usize = above.map(|line| line.chars().filter(solid).count()).sum();
    let within = lines.next().unwrap_or_default().chars().take(index(column));
    above + within.filter(solid).count()
}

/// What expressions see of a field.
fn field_type(kind: FieldType) -> Type {
    match kind {
        FieldType::Text | FieldType::Word(_) => Type::Text,
        FieldType::Decimal | FieldType::Money => Type::Number,
        FieldType::Bool => Type::Bool,
        FieldType::Date => Type::Date,
        FieldType::Timestamp => Type::Timestamp,
        FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map => Type::Any,
    }
}

impl Names for Scope<'_> {
    fn name(&mut self, alias: Option<&str>, name: &str) -> Result<Formed, Wrong> {
        match alias {
            None => {
                if let Some(found) = self.field_named(name) {
                    return Ok(found);
                }
                match self.fields.archived.filter(|_| name == "archived") {
                    Some(true) => {
                        let at = self.origin(Origin::Archived);
                        return Ok((Expr::Column(at), Type::Bool));
                    }
                    // Rows are found from either side, also where no document is known yet.
                    Some(false) => {
                        let fix = "`where` may; a column is written with its alias".to_owned();
                        return Err(("a match cannot read `archived`".to_owned(), Some(fix)));
                    }
                    None => {}
                }
            }
            Some("company") if !self.shared.tables.contains_key("company") => {
                return self.company(name);
            }
            Some(alias) => {
                if let Some(found) = self.added(alias, name) {
                    return found;
                }
            }
        }
        let slot = self.slot(alias)?;
        self.cell(slot, name, None)
    }

    fn optional(&mut self, alias: Option<&str>, name: &str, effect: &str) -> Result<usize, Wrong> {
        let slot = self.slot(alias)?;
        match self.cell(slot, name, Some(effect))?.0 {
            Expr::Column(at) => Ok(at),
            _ => Err(("optional needs a column first".to_owned(), None)),
        }
    }

    fn setting(&self, name: &str) -> Result<Setting, Wrong> {
        let settings = self.shared.settings;
        settings.values.get(name).cloned().ok_or_else(|| {
            let fix = did_you_mean(name, settings.values.keys().map(String::as_str))
                .unwrap_or_else(|| {
                    format!("settings: {{{name}: {{ask: \"..\", default: ..}}}} in this file")
                });
            (format!("there is no setting `{name}`"), Some(fix))
        })
    }

    fn units(&mut self) -> Result<Arc<Units>, Wrong> {
        self.shared.units.clone().ok_or_else(|| {
            let found = "the file has no `units`".to_owned();
            (
                found,
                Some("units: {CS: \"12 EA\", LB: \"0.45359237 KG\"}".to_owned()),
            )
        })
    }

    fn dictionary(&mut self, name: &str) -> Result<Codes, Wrong> {
        let dictionaries = self.shared.dictionaries;
        let Some(dictionary) = dictionaries.get(name) else {
            let fix = did_you_mean(name, dictionaries.keys().map(String::as_str));
            return Err((format!("there is no dictionary `{name}`"), fix));
        };
        self.used_dictionaries.push(name.to_owned());
        let fold = self.shared.clean.cleaning.fold;
        let code = |word: &Word| {
            if fold {
                folded(&word.code)
            } else {
                word.code.clone()
            }
        };
        let words = dictionary.words.iter();
        Ok(Codes {
            name: name.to_owned(),
            of: "",
            values: words
                .map(|word| (code(word), word.meaning.clone()))
                .collect(),
            otherwise: dictionary
                .otherwise
                .as_ref()
                .map(|word| word.meaning.clone()),
        })
    }

    fn wrong_at(&mut self, text: &str, at: Option<(u64, u64)>) {
        self.wrong = at.map(|(line, column)| signs_before(text, line, column));
    }

    fn has_zone(&self) -> bool {
        self.shared.clean.zone.is_some()
    }

    fn enter_lines(&mut self) -> Result<(), Wrong> {
        let Some((list, mapped)) = &self.lines else {
            let fix = Some("lines: {from: .., match: .., fields: {..}}".to_owned());
            return Err(("this event has no lines".to_owned(), fix));
        };
        if self.outer.is_some() {
            return Err(("a call over lines cannot stand in another".to_owned(), None));
        }
        let (slot, schema) = match self.lists.get(*list) {
            Some(list) => (list.slot, list.schema),
            None => return Err(("this event's lines are wrong".to_owned(), None)),
        };
        let inner = FieldNames {
            schema: Some(schema),
            mapped: mapped.clone(),
            archived: self.archives.then_some(true),
            ..FieldNames::default()
        };
        let visible = self.slots.iter().enumerate();
        let visible = visible.filter(|(n, known)| *n == slot || known.home == slot);
        let visible = visible.map(|(n, _)| n).collect();
        self.outer = Some((
            std::mem::replace(&mut self.visible, visible),
            std::mem::replace(&mut self.fields, inner),
        ));
        Ok(())
    }

    fn leave_lines(&mut self, call: LineCall, inner: Option<Expr>) -> Formed {
        if let Some((visible, fields)) = self.outer.take() {
            (self.visible, self.fields) = (visible, fields);
        }
        let list = self.lines.as_ref().map_or(0, |(list, _)| *list);
        let at = self.origin(Origin::Lines { list, call, inner });
        let kind = match call {
            LineCall::Sum | LineCall::Count => Type::Number,
            LineCall::All | LineCall::Any => Type::Bool,
        };
        (Expr::Column(at), kind)
    }
}

/// Shares a file's cleaning rules with a field that has its own.
pub(crate) fn own(cleaning: &mut Arc<crate::convert::Cleaning>) -> &mut crate::convert::Cleaning {
    Arc::make_mut(cleaning)
}
