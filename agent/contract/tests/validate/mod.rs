//! As much of JSON Schema as our schemas use. A keyword it does not know is an error, so nothing
//! is skipped in silence.

use jiff::{Timestamp, civil};
use regex_automata::meta::Regex;
use serde_json::{Map, Value};

/// Keywords that say nothing about whether a value fits.
const NOTES: &[&str] = &["$schema", "$id", "$defs", "title", "description"];

/// What is wrong with a value, each with its place. A property the schema does not name is wrong
/// too if `closed`, which schemas do not say themselves: they stay open for later fields.
pub fn problems(schema: &Value, value: &Value, closed: bool) -> Vec<String> {
    let mut check = Check {
        root: schema,
        closed,
        problems: Vec::new(),
    };
    check.value(schema, value, "");
    check.problems
}

struct Check<'a> {
    root: &'a Value,
    closed: bool,
    problems: Vec<String>,
}

impl Check<'_> {
    fn wrong(&mut self, at: &str, problem: impl Into<String>) {
        self.problems.push(format!("{at}: {}", problem.into()));
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        problems_under(self.root, schema, value).is_empty()
    }

    fn value(&mut self, schema: &Value, value: &Value, at: &str) {
        let schema = match schema {
            Value::Bool(true) => return,
            Value::Bool(false) => return self.wrong(at, "must not be there"),
            Value::Object(schema) => schema,
            _ => panic!("{schema} is no schema"),
        };
        for (keyword, rule) in schema {
            match keyword.as_str() {
                "type" => self.of_type(rule.as_str().unwrap(), value, at),
                "$ref" => {
                    let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                    let target = self.root.pointer(pointer).unwrap();
                    self.value(target, value, at);
                }
                "enum" => {
                    if !rule.as_array().unwrap().contains(value) {
                        self.wrong(at, format!("{value} is none of {rule}"));
                    }
                }
                "const" => {
                    if rule != value {
                        self.wrong(at, format!("{value} is not {rule}"));
                    }
                }
                "pattern" => self.matches(rule.as_str().unwrap(), value, at),
                "format" => self.formatted(rule.as_str().unwrap(), value, at),
                "minimum" | "maximum" => {
                    let (bound, number) = (rule.as_i64().unwrap(), value.as_i64());
                    let beyond = |n| {
                        if keyword == "minimum" {
                            n < bound
                        } else {
                            n > bound
                        }
                    };
                    if number.is_some_and(beyond) {
                        self.wrong(at, format!("{value} is beyond {keyword} {rule}"));
                    }
                }
                "properties" => self.properties(schema, rule, value, at),
                "additionalProperties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        self.value(rule, value, &format!("{at}/{name}"));
                    }
                }
                "required" => {
                    for name in rule.as_array().unwrap() {
                        if value.get(name.as_str().unwrap()).is_none() {
                            self.wrong(at, format!("{name} is missing"));
                        }
                    }
                }
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(rule, item, &format!("{at}/{n}"));
                    }
                }
                "if" => {
                    let branch = if self.fits(rule, value) {
                        "then"
                    } else {
                        "else"
                    };
                    let closed = std::mem::replace(&mut self.closed, false);
                    self.value(&schema[branch], value, at);
                    self.closed = closed;
                }
                "then" | "else" => assert!(schema.contains_key("if")),
                note => assert!(NOTES.contains(&note), "{at}: unknown keyword {note}"),
            }
        }
    }

    fn properties(&mut self, schema: &Map<String, Value>, rule: &Value, value: &Value, at: &str) {
        assert!(!schema.contains_key("additionalProperties"), "{at}");
        for (name, value) in value.as_object().into_iter().flatten() {
            match rule.get(name) {
                Some(rule) => self.value(rule, value, &format!("{at}/{name}")),
                None if self.closed => self.wrong(at, format!("{name} is not in the schema")),
                None => {}
            }
        }
    }

    fn of_type(&mut self, wanted: &str, value: &Value, at: &str) {
        let fits = match wanted {
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{at}: unknown type {other}"),
        };
        if !fits {
            self.wrong(at, format!("{value} is not of type {wanted}"));
        }
    }

    fn matches(&mut self, pattern: &str, value: &Value, at: &str) {
        let regex = Regex::new(pattern).unwrap();
        if value.as_str().is_some_and(|text| !regex.is_match(text)) {
            self.wrong(at, format!("{value} does not match {pattern}"));
        }
    }

    fn formatted(&mut self, format: &str, value: &Value, at: &str) {
        let Some(text) = value.as_str() else { return };
        // Read and written again alike: the one form in which we send them.
        let fits = match format {
            "date" => text
                .parse::<civil::Date>()
                .is_ok_and(|date| date.to_string() == text),
            "date-time" => text
                .parse::<Timestamp>()
                .is_ok_and(|time| time.to_string() == text),
            other => panic!("{at}: unknown format {other}"),
        };
        if !fits {
            self.wrong(at, format!("{value} is no {format}"));
        }
    }
}

fn problems_under(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut check = Check {
        root,
        closed: false,
        problems: Vec::new(),
    };
    check.value(schema, value, "");
    check.problems
}
