//! Columns as they are asked for, compared and kept.

use contract::Value;

use super::*;
use crate::session::Parameter;

fn declared<'a>(type_name: &'a str, base: Option<&'a str>, max_length: i64) -> Declared<'a> {
    Declared {
        type_name,
        base,
        max_length,
        precision: 19,
        scale: 5,
        collation: Some("SQL_Latin1_General_CP1_CI_AS"),
    }
}

#[test]
fn columns_are_asked_for_and_compared_as_what_they_are() {
    for (type_name, base, length, shown, asked, compared) in [
        ("bit", "bit", 1, "bit", "t.[c]", Some("CAST(@P3 AS bit)")),
        ("int", "int", 4, "int", "t.[c]", Some("CAST(@P3 AS int)")),
        ("bigint", "bigint", 8, "bigint", "t.[c]", Some("@P3")),
        (
            "numeric",
            "numeric",
            9,
            "decimal(19,5)",
            "t.[c]",
            Some("CAST(@P3 AS decimal(19,5))"),
        ),
        (
            "money",
            "money",
            8,
            "money",
            "CAST(t.[c] AS decimal(19,4)) AS [c]",
            Some("CAST(@P3 AS money)"),
        ),
        (
            "smallmoney",
            "smallmoney",
            4,
            "smallmoney",
            "CAST(t.[c] AS decimal(10,4)) AS [c]",
            Some("CAST(@P3 AS smallmoney)"),
        ),
        (
            "datetime",
            "datetime",
            8,
            "datetime",
            "t.[c]",
            Some("CAST(@P3 AS datetime)"),
        ),
        (
            "datetime2",
            "datetime2",
            8,
            "datetime2(5)",
            "t.[c]",
            Some("CAST(@P3 AS datetime2(5))"),
        ),
        (
            "char",
            "char",
            31,
            "char(31)",
            "CAST(t.[c] AS nvarchar(31)) AS [c]",
            Some("CAST(@P3 COLLATE SQL_Latin1_General_CP1_CI_AS AS char(31))"),
        ),
        (
            "varchar",
            "varchar",
            8000,
            "varchar(8000)",
            "CAST(t.[c] AS nvarchar(max)) AS [c]",
            Some("CAST(@P3 COLLATE SQL_Latin1_General_CP1_CI_AS AS varchar(8000))"),
        ),
        (
            "nvarchar",
            "nvarchar",
            40,
            "nvarchar(20)",
            "t.[c]",
            Some("@P3"),
        ),
        ("nvarchar", "nvarchar", -1, "nvarchar(max)", "t.[c]", None),
        ("ntext", "ntext", 16, "nvarchar(max)", "t.[c]", None),
        (
            "xml",
            "xml",
            -1,
            "xml",
            "CAST(t.[c] AS nvarchar(max)) AS [c]",
            None,
        ),
        (
            "binary",
            "binary",
            10,
            "binary(10)",
            "t.[c]",
            Some("CAST(@P3 AS binary(10))"),
        ),
        (
            "timestamp",
            "timestamp",
            8,
            "rowversion",
            "CAST(t.[c] AS binary(8)) AS [c]",
            Some("CAST(@P3 AS binary(8))"),
        ),
        (
            "uniqueidentifier",
            "uniqueidentifier",
            16,
            "uniqueidentifier",
            "t.[c]",
            Some("@P3"),
        ),
        // A type that somebody made of another.
        (
            "ItemNumber",
            "char",
            31,
            "char(31)",
            "CAST(t.[c] AS nvarchar(31)) AS [c]",
            Some("CAST(@P3 COLLATE SQL_Latin1_General_CP1_CI_AS AS char(31))"),
        ),
    ] {
        let kind = declared(type_name, Some(base), length).kind();
        let column = Column {
            name: "c".to_owned(),
            id: 1,
            kind: kind.clone(),
            nullable: false,
            computed: false,
            alias: None,
        };
        assert_eq!(kind.declared(), shown, "{type_name}");
        assert_eq!(column.select("t").as_deref(), Some(asked), "{type_name}");
        assert_eq!(kind.mark(3).as_deref(), compared, "{type_name}");
    }
    let hierarchy = declared("hierarchyid", None, 892).kind();
    assert_eq!(
        hierarchy.select("t.[c]").as_deref(),
        Some("CAST(t.[c] AS varbinary(max))")
    );
    for foreign in ["sql_variant", "MyType"] {
        let kind = declared(foreign, None, -1).kind();
        assert_eq!(kind, Kind::Foreign(foreign.to_owned()));
        assert_eq!((kind.select("t.[c]"), kind.mark(1)), (None, None));
    }
}

/// A name of a collation is not quoted: what is none is not written.
#[test]
fn a_collation_is_a_plain_name_or_none() {
    let kind = Kind::Char {
        fixed: false,
        bytes: Some(5),
        collation: "x AS int); DROP TABLE t --".to_owned(),
    };
    assert_eq!(kind.mark(1), None);
}

#[test]
fn a_value_comes_out_of_a_cursor_as_itself() {
    let nvarchar = Kind::NChar {
        fixed: false,
        units: Some(9),
        collation: String::new(),
    };
    let decimal = Kind::Decimal {
        precision: 19,
        scale: 5,
    };
    let bytes = Kind::Binary {
        fixed: true,
        bytes: Some(2),
    };
    let text = |text: &str| Parameter::Text(text.to_owned());
    let moment = "2026-01-31T01:02:03.997";
    for (kind, value, expected) in [
        (Kind::Bit, Value::Bool(true), Parameter::Int(1)),
        (Kind::Int("int"), Value::Int(-7), Parameter::Int(-7)),
        (
            decimal,
            Value::Decimal("-1.50".parse().unwrap()),
            text("-1.5"),
        ),
        (Kind::Float, Value::Float(0.1), Parameter::Float(0.1)),
        (
            Kind::Date,
            Value::Date("2026-01-31".parse().unwrap()),
            text("2026-01-31"),
        ),
        (
            Kind::DateTime,
            Value::DateTime(moment.parse().unwrap()),
            text(moment),
        ),
        (
            Kind::DateTimeOffset(7),
            Value::Timestamp("2026-01-31T01:02:03Z".parse().unwrap()),
            text("2026-01-31T01:02:03Z"),
        ),
        (nvarchar, Value::Text("a|'b ".to_owned()), text("a|'b ")),
        (
            bytes,
            Value::Bytes(vec![0, 255]),
            Parameter::Bytes(vec![0, 255]),
        ),
        (Kind::Uuid, Value::Uuid([7; 16]), Parameter::Uuid([7; 16])),
    ] {
        let again = packed(&value).and_then(|text| kind.unpacked(&text));
        assert_eq!(again, Some(expected), "{kind:?}");
    }
    assert_eq!(packed(&Value::Null), None);
    for (kind, text) in [
        (Kind::Int("int"), "x"),
        (Kind::Uuid, "x"),
        (Kind::Rowversion, "0"),
        (Kind::Xml, "<a/>"),
    ] {
        assert_eq!(kind.unpacked(text), None, "{kind:?}");
    }
}
