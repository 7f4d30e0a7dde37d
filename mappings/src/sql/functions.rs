//! The fixed list of functions.

use super::Type;

/// One function, as `FUNCTIONS` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Its name.
    pub name: &'static str,
    /// Its arguments' types; the last repeats where `variadic`.
    pub arguments: &'static [Type],
    /// How many of them may be left out, from the end.
    pub optional: usize,
    /// Takes any number of further arguments of the last type.
    pub variadic: bool,
    /// What it gives.
    pub result: Type,
    /// What it does.
    pub meaning: &'static str,
    /// An expression, and what it gives.
    pub example: (&'static str, &'static str),
    pub(crate) call: Call,
}

/// What a function does; worked out in `eval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Abs,
    Ceil,
    Coalesce,
    ConcatAll,
    DateCyyddd,
    DateYmd,
    DateTime,
    Floor,
    Greatest,
    JsonText,
    Least,
    Left,
    Length,
    Lower,
    LocalDateTime,
    Ltrim,
    Nullif,
    Replace,
    Right,
    Round,
    Rtrim,
    Substr,
    TimeHhmm,
    Trim,
    Truthy,
    Upper,
}

const fn function(
    name: &'static str,
    call: Call,
    arguments: &'static [Type],
    result: Type,
    meaning: &'static str,
    example: (&'static str, &'static str),
) -> FunctionInfo {
    FunctionInfo {
        name,
        arguments,
        optional: 0,
        variadic: false,
        result,
        meaning,
        example,
        call,
    }
}

const fn variadic(info: FunctionInfo) -> FunctionInfo {
    FunctionInfo {
        variadic: true,
        ..info
    }
}

const fn optional(info: FunctionInfo, count: usize) -> FunctionInfo {
    FunctionInfo {
        optional: count,
        ..info
    }
}

use Type::{Any, Bool, Date, DateTime, Number, Text, Time, Timestamp};

/// Every function, in the order of their names.
pub const FUNCTIONS: &[FunctionInfo] = &[
    function(
        "abs",
        Call::Abs,
        &[Number],
        Number,
        "the number without its sign",
        ("abs(-2.5)", "2.5"),
    ),
    function(
        "ceil",
        Call::Ceil,
        &[Number],
        Number,
        "the smallest whole number not below; of a quotient too, ceil(a / b)",
        ("ceil(7 / 2)", "4"),
    ),
    variadic(function(
        "coalesce",
        Call::Coalesce,
        &[Any],
        Any,
        "the first argument that is not null",
        ("coalesce(null, 'x')", "x"),
    )),
    variadic(function(
        "concat",
        Call::ConcatAll,
        &[Any],
        Text,
        "the arguments one after another; nulls are left out (with || one null makes all null)",
        ("concat('A', null, 7)", "A7"),
    )),
    function(
        "date_cyyddd",
        Call::DateCyyddd,
        &[Any],
        Date,
        "a date written as years since 1900 and day of the year; 0 is null",
        ("date_cyyddd(126324)", "2026-11-20"),
    ),
    function(
        "date_ymd",
        Call::DateYmd,
        &[Any],
        Date,
        "a date written as eight digits, text or number; 0 is null",
        ("date_ymd(20261120)", "2026-11-20"),
    ),
    function(
        "datetime",
        Call::DateTime,
        &[Date, Time],
        DateTime,
        "a date and a time put together",
        (
            "datetime(date_ymd(20261120), time_hhmm(805))",
            "2026-11-20T08:05:00",
        ),
    ),
    function(
        "floor",
        Call::Floor,
        &[Number],
        Number,
        "the largest whole number not above; of a quotient too, floor(a / b)",
        ("floor(7 / 2)", "3"),
    ),
    variadic(function(
        "greatest",
        Call::Greatest,
        &[Any],
        Any,
        "the greatest of the arguments that are not null",
        ("greatest(1, null, 3)", "3"),
    )),
    function(
        "json_text",
        Call::JsonText,
        &[Any, Text],
        Text,
        "the text or number under a key of a JSON object; what is no JSON object is taken whole",
        ("json_text('{\"en_US\": \"Bolt\"}', 'en_US')", "Bolt"),
    ),
    variadic(function(
        "least",
        Call::Least,
        &[Any],
        Any,
        "the least of the arguments that are not null",
        ("least(2, null, 3)", "2"),
    )),
    function(
        "left",
        Call::Left,
        &[Text, Number],
        Text,
        "the first n characters",
        ("left('ABCDE', 2)", "AB"),
    ),
    function(
        "length",
        Call::Length,
        &[Text],
        Number,
        "the number of characters",
        ("length('größe')", "5"),
    ),
    optional(
        function(
            "local_datetime",
            Call::LocalDateTime,
            &[Any, Time],
            Timestamp,
            "the moment of a local date and time, by clean.dates.zone",
            (
                "local_datetime(date_ymd(20261120), time_hhmm(805))",
                "2026-11-20T07:05:00Z",
            ),
        ),
        1,
    ),
    function(
        "lower",
        Call::Lower,
        &[Text],
        Text,
        "in small letters",
        ("lower('Each')", "each"),
    ),
    function(
        "ltrim",
        Call::Ltrim,
        &[Text],
        Text,
        "without blanks at the start",
        ("ltrim('  A ')", "A "),
    ),
    function(
        "nullif",
        Call::Nullif,
        &[Any, Any],
        Any,
        "null if both are equal, else the first",
        ("nullif('----', '----')", "null"),
    ),
    function(
        "replace",
        Call::Replace,
        &[Text, Text, Text],
        Text,
        "every occurrence of the second in the first becomes the third",
        ("replace('1.234,5', '.', '')", "1234,5"),
    ),
    function(
        "right",
        Call::Right,
        &[Text, Number],
        Text,
        "the last n characters",
        ("right('ABCDE', 2)", "DE"),
    ),
    optional(
        function(
            "round",
            Call::Round,
            &[Number, Number],
            Number,
            "rounded to n places (0), half away from zero; of a quotient too, round(a / b, n)",
            ("round(2.675, 2)", "2.68"),
        ),
        1,
    ),
    function(
        "rtrim",
        Call::Rtrim,
        &[Text],
        Text,
        "without blanks at the end",
        ("rtrim(' A  ')", " A"),
    ),
    optional(
        function(
            "substr",
            Call::Substr,
            &[Text, Number, Number],
            Text,
            "from the character at a place, counted from 1; at most so many",
            ("substr('ABCDE', 2, 3)", "BCD"),
        ),
        1,
    ),
    function(
        "time_hhmm",
        Call::TimeHhmm,
        &[Any],
        Time,
        "a time written as HHMM, text or number",
        ("time_hhmm(805)", "08:05:00"),
    ),
    function(
        "trim",
        Call::Trim,
        &[Text],
        Text,
        "without blanks at both ends",
        ("trim('  A  ')", "A"),
    ),
    function(
        "truthy",
        Call::Truthy,
        &[Any],
        Bool,
        "true for true, 1, Y, Yes, T, True; false for false, 0, N, No, F, False and blank; else held",
        ("truthy('Yes')", "true"),
    ),
    function(
        "upper",
        Call::Upper,
        &[Text],
        Text,
        "in capital letters",
        ("upper('each')", "EACH"),
    ),
];

/// The function of a name, which may be written in any case.
pub(crate) fn find(name: &str) -> Option<&'static FunctionInfo> {
    FUNCTIONS
        .iter()
        .find(|info| info.name.eq_ignore_ascii_case(name))
}

/// A form that looks like a function and takes a name, or works on lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormInfo {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// How it is written.
    pub example: &'static str,
}

const fn form(name: &'static str, meaning: &'static str, example: &'static str) -> FormInfo {
    FormInfo {
        name,
        meaning,
        example,
    }
}

/// Every form, in the order of their names. They are read when the file is loaded: their first
/// argument is a name or a line's field, not a value.
pub const FORMS: &[FormInfo] = &[
    form(
        "all_lines",
        "true when the condition is true for every line; true without lines",
        "all_lines(qty_open = 0)",
    ),
    form(
        "any_lines",
        "true when the condition is true for some line",
        "any_lines(qty_open > 0)",
    ),
    form(
        "column",
        "the column whose name a setting holds; null if the setting is blank",
        "column(head, setting.web_order_field)",
    ),
    form("count_lines", "the number of lines", "count_lines()"),
    form(
        "decode",
        "the text that bytes are in a code page (`utf-8`, `windows-1252`, `iso-8859-2`, `cp850`, ..); a \
         text counts as bytes that were read as windows-1252 by mistake; bytes that are nothing in the \
         page hold the row",
        "decode(item.name, 'cp850')",
    ),
    form(
        "dict",
        "the word of a dictionary; several codes are joined by `/`; an unknown code holds the row, \
         a null one is null",
        "dict(lifecycle, head.CANCELED, head.DocStatus)",
    ),
    form(
        "in_unit",
        "a quantity in another of the file's `units`, exactly; a fourth value says to how many places \
         it is rounded; an unknown unit, or one it cannot be converted to, holds the row",
        "in_unit(line.qty, line.unit, 'EA')",
    ),
    form(
        "local_date",
        "the day of a moment in a time zone, a constant or a setting; a datetime without zone is read \
         by `clean.dates.zone` first",
        "local_date(sale.created_at, 'Europe/Berlin')",
    ),
    form(
        "money",
        "an amount and its currency; a whole field of type money",
        "money(line.price, line.currency)",
    ),
    form(
        "optional",
        "the column, or the value where the table has no such column",
        "optional(item.safety_stock, 0)",
    ),
    form(
        "site_allowed",
        "whether a code is in a setting's list; `*` in the list allows every code",
        "site_allowed(stock.site, setting.sellable_sites)",
    ),
    form(
        "sum_lines",
        "the sum over all lines; 0 without lines, null where it is null for some line",
        "sum_lines(qty_open)",
    ),
];
