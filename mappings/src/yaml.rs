//! YAML 1.2 core to a tree with places; what readers disagree about is refused.

use std::collections::HashSet;

use crate::yaml_advice::advice;
use contract::{Finding, Key, Node, NodeKind, Problems};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Longest mapping file, in bytes.
const BYTES_MAX: usize = 1 << 20;
/// Deepest nesting.
const DEPTH_MAX: usize = 32;
/// Findings reported about one file at most: more than a person reads at once.
pub(crate) const FINDINGS_MAX: usize = 100;

/// Reads one YAML document. Anchors, aliases, tags, duplicate keys and further documents are
/// refused, because readers and people disagree about what they mean.
///
/// # Errors
/// Findings with file, line and column.
pub fn parse_yaml(file: &str, text: &str) -> Result<Node, Vec<Finding>> {
    let problems = Problems::new(file);
    let root = if text.len() > BYTES_MAX {
        problems.add(
            1,
            1,
            "file",
            format!("is larger than {BYTES_MAX} bytes"),
            Some("name a file that a person wrote".to_owned()),
        );
        None
    } else {
        Reader {
            text,
            parser: Parser::new_from_str(text),
            problems: &problems,
        }
        .document()
    };
    let mut findings = problems.take();
    findings.truncate(FINDINGS_MAX);
    match root {
        Some(root) if findings.is_empty() => Ok(root),
        _ => Err(findings),
    }
}

struct Reader<'a, 'b> {
    text: &'a str,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    problems: &'b Problems,
}

fn place(span: &Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        match self.parser.next_event()? {
            Ok(event) => Some(event),
            Err(error) => {
                let mark = error.marker();
                let (line, column) = (mark.line(), mark.col() + 1);
                let whole = self.text.lines().nth(line.saturating_sub(1));
                let (found, fix) = advice(error.info(), whole.unwrap_or_default());
                self.problems.add(line, column, "yaml", found, fix);
                None
            }
        }
    }

    fn refuse(&self, span: &Span, found: &str, fix: &str) {
        let (line, column) = place(span);
        let (found, fix) = (found.to_owned(), Some(fix.to_owned()));
        self.problems.add(line, column, "yaml", found, fix);
    }

    fn document(&mut self) -> Option<Node> {
        let mut root = None;
        while let Some((event, span)) = self.next() {
            match event {
                Event::StreamEnd => {
                    if root.is_none() {
                        let found = "is empty, expected keys and values".to_owned();
                        let fix =
                            Some("lighterman map new writes a mapping to begin with".to_owned());
                        self.problems.add(1, 1, "file", found, fix);
                    }
                    return root;
                }
                Event::DocumentStart(_) if root.is_some() => {
                    self.refuse(
                        &span,
                        "a second document is not allowed",
                        "take the line `---` out, or make two files",
                    );
                    return None;
                }
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                event => root = Some(self.node(event, &span, 0)?),
            }
        }
        None
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Option<Node> {
        let (line, column) = place(span);
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            Event::Alias(_) => (1, false),
            _ => (0, false),
        };
        if anchor != 0 {
            self.refuse(
                span,
                "anchors and aliases are not allowed; write the value out",
                "the value itself, in each place",
            );
        }
        if tag {
            self.refuse(
                span,
                "tags are not allowed",
                "a text that begins with `!` needs quotes",
            );
        }
        if depth > DEPTH_MAX {
            self.refuse(
                span,
                "is nested too deeply",
                "nothing here is nested so deeply: look for brackets that are too many",
            );
            return None;
        }
        let kind = match event {
            Event::Scalar(text, style, _, _) => scalar(&text, style),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break NodeKind::List(items),
                        (event, span) => items.push(self.node(event, &span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries: Vec<(Key, Node)> = Vec::new();
                let mut names: HashSet<String> = HashSet::new();
                loop {
                    let (event, span) = match self.next()? {
                        (Event::MappingEnd, _) => break NodeKind::Map(entries),
                        next => next,
                    };
                    // Only `true` and `false` themselves are the codes of a truth value; other
                    // spellings might be meant as text.
                    let odd_bool = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..)
                        if text.to_ascii_lowercase() != **text);
                    let key = self.node(event, &span, depth + 1)?;
                    let name = match key.kind {
                        NodeKind::Text(name) | NodeKind::Number(name) => name,
                        NodeKind::Bool(_) if odd_bool => {
                            self.refuse(
                                &span,
                                "a key that looks like a truth value needs quotes",
                                "\"TRUE\": ..",
                            );
                            return None;
                        }
                        NodeKind::Bool(value) => value.to_string(),
                        NodeKind::Null => {
                            self.refuse(
                                &span,
                                "a key must be text; in quotes if it is meant so",
                                "\"null\": ..",
                            );
                            return None;
                        }
                        NodeKind::List(_) | NodeKind::Map(_) => {
                            self.refuse(
                                &span,
                                "a key must be text",
                                "braces that are a part of a text need quotes around them",
                            );
                            return None;
                        }
                    };
                    if !names.insert(name.clone()) {
                        let found = format!("key `{name}` stands here twice");
                        self.refuse(&span, &found, "keep one of them");
                    }
                    let (event, span) = self.next()?;
                    let value = self.node(event, &span, depth + 1)?;
                    entries.push((
                        Key {
                            name,
                            line: key.line,
                            column: key.column,
                        },
                        value,
                    ));
                }
            }
            // An alias was refused above; the rest cannot start a value.
            _ => NodeKind::Null,
        };
        Some(Node { line, column, kind })
    }
}

/// The YAML 1.2 core schema for plain scalars; quoted ones are text.
fn scalar(text: &str, style: ScalarStyle) -> NodeKind {
    if style != ScalarStyle::Plain {
        return NodeKind::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeKind::Null,
        "true" | "True" | "TRUE" => NodeKind::Bool(true),
        "false" | "False" | "FALSE" => NodeKind::Bool(false),
        _ if is_number(text) => NodeKind::Number(text.to_owned()),
        _ => NodeKind::Text(text.to_owned()),
    }
}

/// Plain decimal numbers only: `0x1f`, `0o17`, `.inf` and leading zeros (`012`, an article number
/// more often than a number) stay text.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    all_digits(whole) && all_digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}

/// Where a sign of a text stands in its file: `start` is the text's own place, `signs` stand before
/// it, blanks not counted. Nothing where the text's own place says enough: on its first line, unless
/// it is a block, whose lines are its own.
pub(crate) fn place_within(
    file: &str,
    start: (usize, usize),
    signs: usize,
) -> Option<(usize, usize)> {
    let lines: Vec<&str> = file.lines().collect();
    let above = lines.get(..start.0.checked_sub(1)?)?;
    let above = above.iter().rev().find(|line| !line.trim().is_empty());
    // `key: >-` and nothing behind it; the block's own text may begin with any sign.
    let header = above.and_then(|line| line.split_whitespace().last());
    let block = header.is_some_and(|word| {
        word.starts_with(['|', '>'])
            && word.len() <= 3
            && word.ends_with(|c| "|>+-123456789".contains(c))
    });
    let first = lines
        .get(start.0 - 1)?
        .chars()
        .nth(start.1.checked_sub(1)?)?;
    let quote = (!block && matches!(first, '"' | '\'')).then_some(first);
    let mut left = signs;
    let mut escaped = 0;
    for (n, line) in lines.iter().enumerate().skip(start.0 - 1) {
        let from = if n + 1 == start.0 {
            start.1 - 1 + usize::from(quote.is_some())
        } else {
            0
        };
        let mut chars = line.chars().enumerate().skip(from).peekable();
        while let Some((column, c)) = chars.next() {
            if c.is_whitespace() {
                continue;
            }
            if escaped > 0 {
                escaped -= 1;
                continue;
            }
            if left == 0 {
                let place = (n + 1, column + 1);
                return (block || place.0 != start.0).then_some(place);
            }
            match (quote, c, chars.peek().map(|(_, c)| *c)) {
                // At the end of a line it joins the lines; elsewhere it makes one sign of several.
                (Some('"'), '\\', None) => continue,
                (Some('"'), '\\', Some('n' | 't' | ' ')) => {
                    escaped = 1;
                    continue;
                }
                (Some('"'), '\\', Some('x')) => escaped = 3,
                (Some('"'), '\\', Some('u')) => escaped = 5,
                (Some('"'), '\\', Some('U')) => escaped = 9,
                (Some('"'), '\\', _) | (Some('\''), '\'', _) => escaped = 1,
                _ => {}
            }
            left -= 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn findings(text: &str) -> String {
        let all = parse_yaml("f.yaml", text).unwrap_err();
        all.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        let cases = [
            ("a: &x 1", "f.yaml:1:"),
            ("a: !!str 1", "tags are not allowed"),
            ("a: 1\na: 2", "f.yaml:2:1: yaml: key `a` stands here twice"),
            ("a: 1\n---\nb: 2", "a second document is not allowed"),
            ("", "is empty"),
            ("a: [1", "f.yaml:"),
        ];
        for (text, expected) in cases {
            assert!(
                findings(text).contains(expected),
                "{text:?} gives {}",
                findings(text)
            );
        }
    }

    #[test]
    fn yes_no_dates_and_leading_zeros_stay_text() {
        let node = parse_yaml("f", "[yes, no, on, 1900-01-01, 012, 1.50, true, -3]").unwrap();
        let NodeKind::List(items) = node.kind else {
            unreachable!()
        };
        let types: Vec<_> = items.iter().map(Node::type_name).collect();
        let text = "text";
        let number = "a number";
        assert_eq!(
            types,
            [
                text,
                text,
                text,
                text,
                text,
                number,
                "true or false",
                number
            ]
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ -~\n]{0,200}") {
            let _ = parse_yaml("f", &text);
        }
    }
}
