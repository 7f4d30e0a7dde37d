use contract::Value;
use jiff::civil;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::convert::Cleaning;

/// Columns are numbered as they are met; `codes` is the one dictionary.
#[derive(Default)]
struct Known(Vec<String>);

impl Names for Known {
    fn name(&mut self, _: Option<&str>, column: &str) -> Result<Formed, Wrong> {
        let known = self.0.iter().position(|name| name == column);
        let at = known.unwrap_or_else(|| {
            self.0.push(column.to_owned());
            self.0.len() - 1
        });
        Ok((Expr::Column(at), Type::Any))
    }

    fn optional(&mut self, alias: Option<&str>, column: &str, _: &str) -> Result<usize, Wrong> {
        match self.name(alias, column)?.0 {
            Expr::Column(at) => Ok(at),
            _ => Err((String::new(), None)),
        }
    }

    fn setting(&self, name: &str) -> Result<Setting, Wrong> {
        Ok(match name {
            "sites" => Setting::List(vec!["MAIN".to_owned(), "7.5".to_owned()]),
            "any" => Setting::List(vec!["*".to_owned()]),
            "field" => Setting::One(Value::Text("two".to_owned())),
            "zone" => Setting::One(Value::Text("America/New_York".to_owned())),
            "blank" => Setting::One(Value::Text(" ".to_owned())),
            _ => return Err((format!("there is no setting `{name}`"), None)),
        })
    }

    fn enter_lines(&mut self) -> Result<(), Wrong> {
        Err(("this event has no lines".to_owned(), None))
    }

    fn leave_lines(&mut self, _: LineCall, _: Option<Expr>) -> Formed {
        (Expr::Constant(Value::Null), Type::Null)
    }

    fn units(&mut self) -> Result<Arc<Units>, Wrong> {
        let dozen = ("12".to_owned(), "EA".to_owned());
        let dozen = (crate::units::Ratio::parse(&dozen.0).unwrap(), dozen.1);
        let entries = BTreeMap::from([("CS".to_owned(), dozen)]);
        Ok(Arc::new(Units::new(&entries).unwrap()))
    }

    fn dictionary(&mut self, name: &str) -> Result<Codes, Wrong> {
        let entry = |code: &str, meaning: &str| (code.to_owned(), meaning.to_owned());
        match name {
            "codes" => Ok(Codes {
                name: name.to_owned(),
                of: "",
                values: [entry("N/O", "open"), entry("1", "one")].into(),
                otherwise: None,
            }),
            _ => Err((format!("there is no dictionary `{name}`"), None)),
        }
    }

    fn has_zone(&self) -> bool {
        true
    }
}

/// The columns rows of these tests have.
fn column(name: &str) -> Value {
    match name {
        "n" => Value::Null,
        "u" => Value::Unchanged,
        "two" => Value::Int(2),
        "qty" => Value::Decimal("12.50".parse().unwrap()),
        "text" => Value::Text("Each ".to_owned()),
        "digits" => Value::Text("7.5".to_owned()),
        "yes" => Value::Bool(true),
        "float" => Value::Float(2.675),
        "day" => Value::Date(civil::date(2026, 11, 20)),
        "at" => Value::DateTime(civil::date(2026, 11, 20).at(8, 5, 0, 0)),
        "late" => Value::Timestamp("2026-03-29T23:30:00Z".parse().unwrap()),
        "skipping" => Value::Timestamp("2011-12-30T09:59:59Z".parse().unwrap()),
        "skipped" => Value::Timestamp("2011-12-30T10:00:00Z".parse().unwrap()),
        "gap" => Value::DateTime(civil::date(2026, 3, 29).at(2, 30, 0, 0)),
        "blob" => Value::Bytes(vec![1]),
        "dos" => Value::Bytes(b"Stra\xE1e".to_vec()),
        "absent" => Value::Null,
        other => panic!("no column {other}"),
    }
}

fn work_out(text: &str) -> String {
    let mut names = Known::default();
    let expr = match compile(text, &mut names) {
        Ok((expr, _)) => expr,
        Err((found, _)) => return format!("refused: {found}"),
    };
    let row: Vec<Value> = names.0.iter().map(|name| column(name)).collect();
    let at = names.0.iter().enumerate();
    let at: Vec<usize> = at
        .map(|(n, name)| if name == "absent" { ABSENT } else { n })
        .collect();
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let cells = Cells {
        row: &row,
        at: &at,
        fields: &[],
        names: &[],
        cleaning: &Cleaning::default(),
        zone: Some(&zone),
    };
    match expr.value(&cells) {
        Ok(value) => value.text().unwrap_or_else(|| "null".to_owned()),
        Err(Stop::Unchanged) => "unchanged".to_owned(),
        Err(Stop::Wrong(reason)) => format!("held: {reason}"),
    }
}

fn all(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(work_out(text), *expected, "{text}");
    }
}

#[test]
fn texts_are_read_by_their_code_page() {
    all(&[
        ("decode('StraÃŸe', 'utf-8')", "Straße"),
        (
            "decode('Straße', 'utf-8')",
            "held: decode: its bytes are no text in that code page",
        ),
        ("decode(dos, 'cp850')", "Straße"),
        ("upper(decode(dos, 'windows-1252'))", "STRAÁE"),
        (
            "decode(dos, 'utf-8')",
            "held: decode: its bytes are no text in that code page",
        ),
        ("decode(n, 'cp850')", "null"),
        (
            "decode(qty, 'cp850')",
            "held: decode: a decimal has no code page",
        ),
        (
            "decode('a', 'cp9')",
            "refused: decode: `cp9` is no code page",
        ),
        (
            "decode('a', n)",
            "refused: decode takes a value and a code page's name",
        ),
        (
            "decode('a')",
            "refused: decode takes a value and a code page's name",
        ),
    ]);
}

#[test]
fn quantities_are_exact_in_every_unit() {
    all(&[
        ("in_unit(2, 'CS', 'EA')", "24"),
        ("in_unit(qty, 'EA', 'EA')", "12.5"),
        ("in_unit(30, 'EA', 'CS') * 2", "5"),
        ("in_unit(1, 'EA', 'CS', 3)", "0.083"),
        ("in_unit(n, 'EA', 'CS')", "null"),
        ("in_unit(1, n, 'CS')", "null"),
        (
            "in_unit(1, 'PAL', 'CS')",
            "held: in_unit: its unit is not one of `units`",
        ),
        (
            "in_unit(1, 'EA', 'CS')",
            "held: in_unit: the quantity has no end in that unit; a fourth value says to how many \
             places it is rounded",
        ),
        (
            "in_unit(1, 'EA', 'CS', qty)",
            "refused: `in_unit` needs its number of places as a constant",
        ),
        (
            "in_unit('x', 'EA', 'CS')",
            "refused: `in_unit` needs a number, but `'x'` is text",
        ),
    ]);
    assert!(work_out("in_unit(1, 'EA')").starts_with("refused: in_unit takes a quantity"));
}

#[test]
fn forms_read_names_when_the_file_is_loaded() {
    all(&[
        ("optional(absent, 5)", "5"),
        ("optional(qty, 5)", "12.5"),
        ("optional(n, 5)", "null"),
        ("optional(1, 5)", "refused: optional needs a column first"),
        ("site_allowed(digits, setting.sites)", "true"),
        ("site_allowed(text, setting.sites)", "false"),
        ("site_allowed(text, setting.any)", "true"),
        ("site_allowed(n, setting.any)", "null"),
        (
            "site_allowed(text, setting.other)",
            "refused: there is no setting `other`",
        ),
        ("column(head, setting.field)", "2"),
        ("column(head, setting.blank)", "null"),
        (
            "column(head, 'two')",
            "refused: column takes an alias and a setting",
        ),
        ("setting.field || '!'", "two!"),
        (
            "setting.sites = 'MAIN'",
            "refused: `setting.sites` is a list",
        ),
        ("count_lines()", "refused: this event has no lines"),
        (
            "money(1, 'USD') + 1",
            "refused: money stands alone: it is a whole field of type money",
        ),
    ]);
}

#[test]
fn every_functions_example_is_true() {
    for info in FUNCTIONS {
        let (text, expected) = info.example;
        assert_eq!(work_out(text), expected, "{text}");
    }
    let names: Vec<_> = FUNCTIONS.iter().map(|info| info.name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
}

#[test]
fn numbers_are_exact_and_never_rounded_unasked() {
    all(&[
        ("0.1 + 0.2", "0.3"),
        ("qty * two - 1", "24"),
        ("qty / two", "6.25"),
        ("-qty % 5", "-2.5"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        (
            "1 / 3",
            "held: `/`: the quotient has endless digits; round(a / b, places) says how many to keep",
        ),
        ("round(1 / 3, 4)", "0.3333"),
        ("round((two / 3), 2)", "0.67"),
        ("floor(-7 / 2)", "-4"),
        ("ceil(-7 / 2)", "-3"),
        ("qty / 0", "held: `/`: division by zero"),
        ("round(qty / 0, 2)", "held: `/`: division by zero"),
        (
            "99999999999999999999999999999999999999 + 1",
            "held: `+`: more than 38 digits",
        ),
        (
            "float + 1",
            "held: a binary float is no exact number; round(column, places) makes it one",
        ),
        ("round(float, 2)", "2.68"),
        (
            "text + 1",
            "held: a value of type text is no number; cast(.. as decimal) reads one from text",
        ),
        ("cast(digits as decimal) + 1", "8.5"),
        (
            "cast(digits as int)",
            "held: cast to int: the number has decimal places; floor or round it",
        ),
        (
            "cast(text as decimal)",
            "held: cast to a number: its text is not a decimal number",
        ),
        ("greatest(qty - 20, 0)", "0"),
    ]);
}

#[test]
fn null_has_three_values() {
    all(&[
        ("n + 1", "null"),
        ("n = n", "null"),
        ("n is null", "true"),
        ("qty is not null", "true"),
        ("n = 1 or true", "true"),
        ("n = 1 and false", "false"),
        ("n = 1 or false", "null"),
        ("not (n = 1)", "null"),
        ("(n = 1) is true", "false"),
        ("(n = 1) is not true", "true"),
        ("2 in (1, n)", "null"),
        ("2 in (2, n)", "true"),
        ("2 not in (1, 3)", "true"),
        ("two between 1 and n", "null"),
        ("two between 3 and n", "false"),
        ("two not between 3 and 4", "true"),
        ("n is distinct from 1", "true"),
        ("n is not distinct from null", "true"),
        ("coalesce(n, n, 5)", "5"),
        ("case when n = 1 then 'a' else 'b' end", "b"),
        ("case two when 1 then 'one' when 2 then 'two' end", "two"),
        ("case two when 5 then 'x' end", "null"),
        ("'a' || n", "null"),
        ("concat('a', n, qty)", "a12.5"),
        ("nullif(two, 2)", "null"),
        ("substr(text, n)", "null"),
    ]);
}

#[test]
fn unlike_things_are_not_compared() {
    all(&[
        ("text = 'Each '", "true"),
        ("text = 'Each'", "false"),
        ("trim(text) = 'Each'", "true"),
        ("text like 'E%h_'", "true"),
        ("text not like '%x%'", "true"),
        (
            "text = 1",
            "held: a value of type text cannot be compared with one of type decimal",
        ),
        ("day >= '2026-11-01'", "true"),
        (
            "day < '20261101'",
            "held: a value of type date cannot be compared with one of type text",
        ),
        ("at > day", "true"),
        ("at = '2026-11-20T08:05:00'", "true"),
        ("day = date '2026-11-20'", "true"),
        ("yes = 1", "true"),
        (
            "yes = two",
            "held: a value of type bool cannot be compared with one of type int",
        ),
        (
            "blob = blob",
            "held: a value of type bytes cannot be compared with one of type bytes",
        ),
        (
            "blob || 'x'",
            "held: a value of type bytes has no exact text",
        ),
        (
            "case when two then 'a' end",
            "held: a value of type int is no truth value; compare it, or truthy(..)",
        ),
    ]);
}

#[test]
fn codes_and_times_are_read_or_held() {
    all(&[
        ("dict(codes, N'N', 'O')", "open"),
        ("digits::decimal", "7.5"),
        ("substring(text from 2 for 2)", "ac"),
        ("dict(codes, 1)", "one"),
        ("dict(codes, n)", "null"),
        (
            "dict(codes, 'X')",
            "held: its code is not in dictionary `codes`",
        ),
        ("truthy('N')", "false"),
        (
            "truthy('maybe')",
            "held: truthy: its code is neither yes nor no",
        ),
        ("date_ymd(0)", "null"),
        ("date_ymd('20261301')", "held: its text is no date YYYYMMDD"),
        ("time_hhmm(1435)", "14:35:00"),
        ("time_hhmm(2460)", "held: its decimal is no time HHMM"),
        ("local_datetime(at)", "2026-11-20T07:05:00Z"),
        (
            "local_datetime(gap)",
            "held: the local time falls into a clock change of its zone; clean.dates.clock_change says which moment to take",
        ),
    ]);
}

#[test]
fn a_moment_has_its_day_in_a_zone() {
    all(&[
        // The day the clocks change: 23:30 in London too, half past one in Berlin.
        ("local_date(late, 'UTC')", "2026-03-29"),
        ("local_date(late, 'Europe/London')", "2026-03-30"),
        ("local_date(late, 'Europe/Berlin')", "2026-03-30"),
        ("local_date(late, setting.zone)", "2026-03-29"),
        (
            "LOCAL_DATE(local_datetime(at), 'Asia/Kolkata')",
            "2026-11-20",
        ),
        // Samoa had no 30 December 2011.
        ("local_date(skipping, 'Pacific/Apia')", "2011-12-29"),
        ("local_date(skipped, 'Pacific/Apia')", "2011-12-31"),
        // 08:05 in Berlin, the zone of datetimes without one here.
        ("local_date(at, 'Pacific/Honolulu')", "2026-11-19"),
        ("local_date(n, 'Europe/Berlin')", "null"),
        ("local_date(u, 'Europe/Berlin')", "unchanged"),
        (
            "local_date(gap, 'UTC')",
            "held: the local time falls into a clock change of its zone; clean.dates.clock_change says which moment to take",
        ),
        (
            "local_date(day, 'UTC')",
            "held: local_date needs a timestamp or a datetime, found date",
        ),
        (
            "local_date(text, 'UTC')",
            "held: local_date needs a timestamp or a datetime, found text",
        ),
        (
            "local_date(date_ymd(20261120), 'UTC')",
            "refused: `local_date` needs a timestamp or a datetime, but `date_ymd(20261120)` is a date",
        ),
        (
            "local_date(at)",
            "refused: local_date takes a moment and a time zone",
        ),
        (
            "local_date(at, text)",
            "refused: local_date needs its zone as a constant or a setting",
        ),
        (
            "local_date(at, 'Europe/Berln')",
            "refused: local_date: there is no time zone `Europe/Berln`",
        ),
    ]);
}

#[test]
fn what_the_log_left_out_is_not_null() {
    all(&[
        ("u", "unchanged"),
        ("u + 1", "unchanged"),
        ("u is null", "unchanged"),
        ("coalesce(u, 1)", "unchanged"),
        ("coalesce(1, u)", "1"),
        ("u = 1 and false", "false"),
        ("false and u = 1", "false"),
        ("u = 1 or true", "true"),
        ("u = 1 and true", "unchanged"),
        ("case when true then 1 else u end", "1"),
    ]);
}

#[test]
fn mistakes_are_found_before_any_row() {
    for (text, found) in [
        ("", "is empty"),
        ("a b", "`b` stands after a whole expression (character 3)"),
        (
            "a +",
            "is no expression: expected: an expression, found its end",
        ),
        ("'EA", "is no expression: unterminated string literal"),
        ("colaesce(a, b)", "there is no function `colaesce`"),
        ("upper(a, b)", "`upper` takes 1 values, found 2"),
        ("round()", "`round` takes 1 to 2 values, found 0"),
        ("upper(1)", "`upper` needs text, but `1` is a number"),
        ("'a' + 1", "`+` needs a number, but `'a'` is text"),
        ("not 'a'", "not needs a truth value, but `'a'` is text"),
        ("1 and true", "and needs a truth value, but `1` is a number"),
        ("1 = 'a'", "`=` compares `1`, a number, with `'a'`, text"),
        (
            "1 in (1, 'a')",
            "in compares `1`, a number, with `'a'`, text",
        ),
        ("date_ymd(a) > 'soon'", "`'soon'` is no date YYYY-MM-DD"),
        (
            "case when a = 1 then 'x' else 2 end",
            "the branches of case disagree: `2` is a number",
        ),
        (
            "coalesce('a', 1)",
            "`coalesce` mixes `'a'`, text, with `1`, a number",
        ),
        ("dict(stats, a)", "there is no dictionary `stats`"),
        ("dict('codes', a)", "dict needs a dictionary's name first"),
        (
            "cast(a as decimal(10, 2))",
            "cast to DECIMAL(10,2) would round unasked",
        ),
        (
            "cast(a as float)",
            "cast to FLOAT is no part of this language",
        ),
        ("a = (select 1)", "expressions have no queries"),
        ("exists (select 1)", "expressions have no queries"),
        (
            "sum(a) over ()",
            "`sum` adds rows up, and an expression sees one row",
        ),
        (
            "count(*)",
            "`count` adds rows up, and an expression sees one row",
        ),
        ("lower(*)", "`lower`: `*` is no value"),
        ("a like b", "the pattern of like must be a constant text"),
        ("a.b.c", "`a.b.c` names no column"),
        ("a -> 'x'", "`->` is no operator of this language"),
        ("1e99", "`1e99`: more than 38 digits"),
        ("now()", "`now`: a mapping has no clock"),
        ("current_date", "`current_date`: a mapping has no clock"),
        (
            "dateadd(day, 1, a)",
            "there is no function `dateadd`: dates are compared",
        ),
        ("a = 1 && b = 2", "`&&` is no operator of this language"),
        ("!a", "`!` is no operator of this language"),
        ("case when a = 1 then 2", "has a `case` without its `end`"),
        ("case when a = 1 2 end", "has a `case` that is not whole"),
        (
            "try_cast(a as int)",
            "`TRY_CAST(a AS INT)` is no part of this language",
        ),
        ("substr(a)", "`substr` takes 2 to 3 values, found 1"),
        (
            "first_value(a) ignore nulls",
            "`first_value` takes values and nothing else",
        ),
    ] {
        let got = compile(text, &mut Known::default());
        match got {
            Err((got, _)) => assert!(got.starts_with(found), "{text}\n  {got}\n  {found}"),
            Ok(made) => panic!("{text} gives {made:?}"),
        }
    }
    let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
    let (found, _) = compile(&deep, &mut Known::default()).unwrap_err();
    assert!(found.starts_with("has more than"), "{found}");
    // What is just allowed needs half of a thread's stack.
    let high = vec!["two"; 50].join(" + ");
    let nested = format!("{}two{}", "abs(".repeat(20), ")".repeat(20));
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let run = small.spawn(move || (work_out(&high), work_out(&nested)));
    assert_eq!(
        run.unwrap().join().unwrap(),
        ((2 * 50).to_string(), "2".to_owned())
    );
    let long = vec!["1"; 900].join(" + ");
    let (found, _) = compile(&long, &mut Known::default()).unwrap_err();
    assert!(found.starts_with("has more than"), "{found}");
}

#[test]
fn names_are_quoted_as_in_every_database() {
    for (text, expected) in [
        ("qty", "qty"),
        (" stock . qty ", "qty"),
        ("descrip##1", "descrip##1"),
        ("größe", "größe"),
        ("orders.order", "order"),
        ("\"Outstanding Qty_ (Base)\"", "Outstanding Qty_ (Base)"),
        ("l.[No_]", "No_"),
        ("`tab Item`", "tab Item"),
        ("\"a\"\"b\".\"c.d\"", "c.d"),
        ("s.date", "date"),
        ("s.\"left\"", "left"),
    ] {
        let mut names = Known::default();
        let made = compile(text, &mut names);
        assert_eq!(made.map(|(expr, _)| expr), Ok(Expr::Column(0)), "{text}");
        assert_eq!(names.0, [expected], "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String, sql in "[a-z0-9 .,'\"()+*/<=>%|-]{0,60}") {
        let _ = compile(&text, &mut Known::default());
        let _ = compile(&sql, &mut Known::default());
    }

    #[test]
    fn every_quoted_name_and_text_comes_back(text in "[^\\x00]{1,20}") {
        let mut names = Known::default();
        let name = format!("\"{}\"", text.replace('"', "\"\""));
        prop_assert_eq!(compile(&name, &mut names).unwrap().0, Expr::Column(0));
        prop_assert_eq!(&names.0[0], &text);
        let literal = format!("'{}'", text.replace('\'', "''"));
        let made = compile(&literal, &mut names).unwrap().0;
        prop_assert_eq!(made, Expr::Constant(Value::Text(text)));
    }

    #[test]
    fn like_is_what_its_pieces_say(text in "[ab]{0,6}", pattern in "[ab%_]{0,6}") {
        fn slow(text: &[char], pattern: &[char]) -> bool {
            match pattern {
                [] => text.is_empty(),
                ['%', rest @ ..] => (0..=text.len()).any(|n| slow(&text[n..], rest)),
                ['_', rest @ ..] => !text.is_empty() && slow(&text[1..], rest),
                [c, rest @ ..] => text.first() == Some(c) && slow(&text[1..], rest),
            }
        }
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = slow(&chars(&text), &chars(&pattern)).to_string();
        prop_assert_eq!(work_out(&format!("'{text}' like '{pattern}'")), expected);
    }
}
