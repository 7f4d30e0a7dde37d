//! What a YAML parser complains of, in words for whoever has never read YAML's description.

/// What was found and what to do. `said` is the parser's own sentence, `line` the line that it is about.
pub(crate) fn advice(said: &str, line: &str) -> (String, Option<String>) {
    let (found, fix) = plain(said, line);
    (found.to_owned(), Some(fix.to_owned()))
}

const INDENT: &str =
    "keys of one block stand under each other, and what is in a key two blanks further in";

fn plain<'a>(said: &'a str, line: &str) -> (&'a str, &'static str) {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if line.starts_with(char::is_whitespace)
        && line.trim_start_matches([' ', '\t']).starts_with('\u{a0}')
    {
        return (
            "expected plain blanks, found a no-break space",
            "write the line anew: such blanks come with copied text",
        );
    }
    if has(&["tab"]) {
        return (
            "expected blanks, found a tab",
            "YAML knows no tabs: replace each by blanks (most editors can do it for a whole file)",
        );
    }
    if has(&["invalid trailing content"]) {
        return (
            "something stands behind the closing quote",
            "one pair of quotes around all of it: \"'EA'\", and inside double quotes only single ones",
        );
    }
    if has(&["quoted scalar"]) && has(&["escape", "hexadecimal"]) {
        return (
            "a backslash in double quotes means another sign",
            "single quotes take it as it is: 'C:\\erp'; or write it twice",
        );
    }
    if has(&["quoted scalar"]) {
        return (
            "a quote is not closed",
            "end the text with the quote that it begins with; a quote within single quotes is written twice",
        );
    }
    if has(&["flow mapping"]) {
        return (
            "a `{` is not closed, or a comma is missing",
            "{a: 1, b: 2}: commas between the keys, and `}` at the end",
        );
    }
    if has(&["flow sequence"]) {
        return (
            "a `[` is not closed, or a comma is missing",
            "[a, b]: commas between the items, and `]` at the end",
        );
    }
    if has(&[
        "flow construct",
        "unexpected eof",
        "illegal placement of ':'",
    ]) {
        return (
            "a `{` or `[` is not closed",
            "look above this line for the one without its `}` or `]`",
        );
    }
    if has(&["simple key"]) {
        return (
            "the line above is no `key: value`",
            "a blank behind the colon: `company: ACME`",
        );
    }
    if has(&["mapping values are not allowed"]) {
        let dash = line.trim_start();
        let without_blank = dash.starts_with('-') && !dash.starts_with("- ") && dash.len() > 1;
        return if without_blank {
            ("a `-` has no blank behind it", "- id: product")
        } else if line.matches(": ").count() > 1 {
            (
                "a text has a colon in it, and no quotes",
                "quotes around the whole text: name: \"Bolt: long\"",
            )
        } else {
            (
                "the key stands where none can be: its indentation is not that of the lines above",
                INDENT,
            )
        };
    }
    if has(&[
        "block collection",
        "block mapping",
        "block sequence",
        "invalid indentation",
        "expected <document start>",
        "expected <document-start>",
    ]) {
        return ("the indentation is not that of the lines above", INDENT);
    }
    if has(&["anchor", "alias"]) {
        return (
            "`&` and `*` mean anchors and aliases in YAML, which are not allowed",
            "a text that begins so needs quotes; a value that is used twice is written twice",
        );
    }
    if has(&["unexpected character", "cannot start any token"]) {
        return (
            "a text must not begin with this sign",
            "quotes around it: name: \"@name\"",
        );
    }
    if has(&["unprintable", "byte order mark"]) {
        return (
            "there is a sign that is not seen, as no text has",
            "write the line anew",
        );
    }
    if has(&["directive", "version"]) {
        return (
            "lines that begin with % are not allowed",
            "take the line out",
        );
    }
    if has(&["tag"]) {
        return (
            "`!` means a tag in YAML, which is not allowed",
            "a text that begins so needs quotes",
        );
    }
    (
        said,
        "as in `key: value`; see whether a quote or bracket above is not closed",
    )
}
