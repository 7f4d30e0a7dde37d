//! Tables, columns and indexes in the catalogue, for those who may see them.

use super::super::rights::User;
use super::super::state::State;
use super::super::table::Table;
use super::{Relation, big, bit, datetime, local, number, small, sysname, text, tiny};
use crate::statements::Kind;
use crate::statements::{digits_of, length_of, system_type};
use crate::wire::{Length, ServerError, Type, Value};

/// Every system type: its number, its number as a user type, its name.
pub(crate) const TYPES: [(u8, i32, &str); 36] = [
    (34, 34, "image"),
    (35, 35, "text"),
    (36, 36, "uniqueidentifier"),
    (40, 40, "date"),
    (41, 41, "time"),
    (42, 42, "datetime2"),
    (43, 43, "datetimeoffset"),
    (48, 48, "tinyint"),
    (52, 52, "smallint"),
    (56, 56, "int"),
    (58, 58, "smalldatetime"),
    (59, 59, "real"),
    (60, 60, "money"),
    (61, 61, "datetime"),
    (62, 62, "float"),
    (98, 98, "sql_variant"),
    (99, 99, "ntext"),
    (104, 104, "bit"),
    (106, 106, "decimal"),
    (108, 108, "numeric"),
    (122, 122, "smallmoney"),
    (127, 127, "bigint"),
    (240, 128, "hierarchyid"),
    (240, 129, "geometry"),
    (240, 130, "geography"),
    (165, 165, "varbinary"),
    (167, 167, "varchar"),
    (173, 173, "binary"),
    (175, 175, "char"),
    (189, 189, "timestamp"),
    (231, 231, "nvarchar"),
    (231, 256, "sysname"),
    (239, 239, "nchar"),
    (241, 241, "xml"),
    (244, 244, "json"),
    (255, 255, "vector"),
];

pub(super) fn view(
    state: &State,
    user: &User,
    name: &str,
) -> Option<Result<Relation, ServerError>> {
    let seen = || state.tables.values().filter(|table| user.sees(table));
    Some(Ok(match name {
        "schemas" => {
            let mut found = Relation::new(&[
                ("name", sysname().not_null()),
                ("schema_id", Kind::int().not_null()),
                ("principal_id", Kind::int()),
            ]);
            let mut schemas = state.schemas.clone();
            if state.capture.is_some() {
                schemas.push((100, "cdc".to_owned()));
            }
            found.rows = schemas
                .iter()
                .map(|(id, name)| vec![text(name), Value::Int(*id), Value::Int(1)])
                .collect();
            found
        }
        "tables" | "objects" => tables(state, user, name == "objects"),
        "columns" => columns(state, seen()),
        "types" => types(state),
        "indexes" => indexes(seen()),
        "index_columns" => index_columns(seen()),
        "database_principals" => super::principals::principals(state),
        "database_permissions" => super::principals::permissions(state),
        "partitions" | "dm_db_partition_stats" => partitions(state, seen(), name),
        "computed_columns" => {
            let mut found = columns(state, seen());
            let at = found
                .columns
                .iter()
                .position(|(name, _)| name == "is_computed")
                .unwrap_or(0);
            found
                .rows
                .retain(|row| row.get(at) == Some(&Value::Bit(true)));
            found
        }
        "internal_tables" => {
            let mut found = Relation::new(&[
                ("object_id", Kind::int().not_null()),
                ("internal_type", tiny()),
                ("internal_type_desc", Kind::nvarchar(60)),
                ("parent_id", Kind::int().not_null()),
            ]);
            // Seen by who may see the table [from memory, as below].
            for table in seen() {
                if let Some(tracking) = &table.tracking {
                    found.rows.push(vec![
                        Value::Int(tracking.kept_in),
                        Value::TinyInt(209),
                        text("CHANGE_TRACKING"),
                        Value::Int(table.id),
                    ]);
                }
            }
            found
        }
        "change_tracking_tables" => {
            let mut found = Relation::new(&[
                ("object_id", Kind::int().not_null()),
                ("is_track_columns_updated_on", bit()),
                ("min_valid_version", big()),
                ("begin_version", big()),
                ("cleanup_version", big()),
            ]);
            // Seen by who may see the table [from memory: which permission it needs is not said].
            for table in seen() {
                if let Some(tracking) = &table.tracking {
                    found.rows.push(vec![
                        Value::Int(table.id),
                        Value::Bit(tracking.columns),
                        Value::BigInt(tracking.min_valid(state.view(None))),
                        Value::BigInt(tracking.begin),
                        Value::BigInt(tracking.cleanup),
                    ]);
                }
            }
            found
        }
        _ => return None,
    }))
}

pub(super) fn schema_id(state: &State, name: &str) -> Value {
    let found = state
        .schemas
        .iter()
        .find(|(_, other)| super::super::same_name(other, name));
    found.map_or(Value::Null, |(id, _)| Value::Int(*id))
}

fn tables(state: &State, user: &User, objects: bool) -> Relation {
    let mut columns = vec![
        ("name", sysname().not_null()),
        ("object_id", Kind::int().not_null()),
        ("schema_id", Kind::int().not_null()),
        ("parent_object_id", Kind::int().not_null()),
        ("type", Kind::new(Type::Char(2)).not_null()),
        ("type_desc", Kind::nvarchar(60)),
        ("create_date", datetime().not_null()),
        ("modify_date", datetime().not_null()),
        ("is_ms_shipped", bit().not_null()),
    ];
    if !objects {
        columns.extend([
            ("is_tracked_by_cdc", bit()),
            ("is_memory_optimized", bit()),
            ("temporal_type", tiny()),
            ("is_external", bit().not_null()),
            ("is_replicated", bit()),
        ]);
    }
    let mut found = Relation::new(&columns);
    // A table that was altered says when: a hundredth of a second for each commit.
    let modified = |created: i64, altered: u64| {
        let ticks = i64::try_from(altered.saturating_mul(100_000)).unwrap_or(0);
        local(state, created.saturating_add(ticks))
    };
    let mut push =
        |name: &str, id: i32, schema: Value, at: (i64, u64), shipped: bool, cdc: bool| {
            let (created, modified) = (local(state, at.0), modified(at.0, at.1));
            let mut row = vec![
                text(name),
                Value::Int(id),
                schema,
                Value::Int(0),
                text("U "),
                text("USER_TABLE"),
                created,
                modified,
                Value::Bit(shipped),
            ];
            if !objects {
                row.extend([
                    Value::Bit(cdc),
                    Value::Bit(false),
                    Value::TinyInt(0),
                    Value::Bit(false),
                    Value::Bit(cdc),
                ]);
            }
            found.rows.push(row);
        };
    let instances = state.capture.iter().flat_map(|capture| &capture.instances);
    for table in state.tables.values().filter(|table| user.sees(table)) {
        let cdc = instances
            .clone()
            .any(|instance| instance.source == table.id);
        push(
            &table.name,
            table.id,
            schema_id(state, &table.schema),
            (table.created, table.shaped),
            false,
            cdc,
        );
    }
    if user.selects_cdc() {
        for instance in instances {
            let name = format!("{}_CT", instance.name);
            push(
                &name,
                instance.id,
                Value::Int(100),
                (instance.created, 0),
                true,
                false,
            );
        }
    }
    found
}

fn columns<'a>(state: &State, tables: impl Iterator<Item = &'a Table>) -> Relation {
    let mut found = Relation::new(&[
        ("object_id", Kind::int().not_null()),
        ("name", sysname()),
        ("column_id", Kind::int().not_null()),
        ("system_type_id", tiny().not_null()),
        ("user_type_id", Kind::int().not_null()),
        ("max_length", small().not_null()),
        ("precision", tiny().not_null()),
        ("scale", tiny().not_null()),
        ("collation_name", sysname()),
        ("is_nullable", bit()),
        ("is_identity", bit().not_null()),
        ("is_computed", bit()),
        ("is_column_set", bit()),
        ("is_sparse", bit()),
        ("is_filestream", bit().not_null()),
        ("is_rowguidcol", bit().not_null()),
        ("is_hidden", bit()),
        ("is_masked", bit().not_null()),
        ("generated_always_type", tiny()),
        ("encryption_type", Kind::int()),
        ("default_object_id", Kind::int().not_null()),
    ]);
    for table in tables {
        for (at, column) in table
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| !column.dropped)
        {
            let (system, user) = if column.rowversion {
                (189, 189)
            } else {
                system_type(&column.kind)
            };
            let (precision, scale) = digits_of(&column.kind);
            let text_type = matches!(
                column.kind,
                Type::Char(_)
                    | Type::VarChar(_)
                    | Type::NChar(_)
                    | Type::NVarChar(_)
                    | Type::Text
                    | Type::NText
            );
            let own = column
                .collation
                .as_ref()
                .map_or(state.collation.0.as_str(), |(name, _)| name);
            let no = || Value::Bit(false);
            found.rows.push(vec![
                Value::Int(table.id),
                text(&column.name),
                number(at + 1),
                Value::TinyInt(system),
                Value::Int(user),
                Value::SmallInt(length_of(&column.kind)),
                Value::TinyInt(precision),
                Value::TinyInt(scale),
                if text_type { text(own) } else { Value::Null },
                Value::Bit(column.nullable),
                Value::Bit(column.identity),
                Value::Bit(column.computed.is_some()),
                no(),
                no(),
                no(),
                no(),
                no(),
                no(),
                Value::TinyInt(0),
                Value::Null,
                Value::Int(0),
            ]);
        }
    }
    found
}

fn types(state: &State) -> Relation {
    let mut found = Relation::new(&[
        ("name", sysname().not_null()),
        ("system_type_id", tiny().not_null()),
        ("user_type_id", Kind::int().not_null()),
        ("schema_id", Kind::int().not_null()),
        ("max_length", small().not_null()),
        ("is_nullable", bit()),
        ("is_user_defined", bit().not_null()),
        ("is_assembly_type", bit().not_null()),
        ("collation_name", sysname()),
    ]);
    let known = TYPES
        .iter()
        .filter(|(_, user, _)| !matches!(user, 244 | 255));
    found.rows = known
        .map(|(system, user, name)| {
            let collated = matches!(system, 35 | 99 | 167 | 175 | 231 | 239);
            vec![
                text(name),
                Value::TinyInt(*system),
                Value::Int(*user),
                Value::Int(4),
                Value::SmallInt(8000),
                Value::Bit(true),
                Value::Bit(false),
                Value::Bit(*system == 240),
                if collated {
                    text(&state.collation.0)
                } else {
                    Value::Null
                },
            ]
        })
        .collect();
    found
}

fn indexes<'a>(tables: impl Iterator<Item = &'a Table>) -> Relation {
    let mut found = Relation::new(&[
        ("object_id", Kind::int().not_null()),
        ("name", sysname()),
        ("index_id", Kind::int().not_null()),
        ("type", tiny().not_null()),
        ("type_desc", Kind::nvarchar(60)),
        ("is_unique", bit()),
        ("is_primary_key", bit()),
        ("is_unique_constraint", bit()),
        ("is_disabled", bit()),
        ("is_hypothetical", bit()),
        ("has_filter", bit()),
        ("filter_definition", Kind::new(Type::NVarChar(Length::Max))),
    ]);
    for table in tables {
        if table.primary().is_none() {
            let mut row = vec![
                Value::Int(table.id),
                Value::Null,
                Value::Int(0),
                Value::TinyInt(0),
                text("HEAP"),
            ];
            row.extend(std::iter::repeat_n(Value::Bit(false), 6));
            row.push(Value::Null);
            found.rows.push(row);
        }
        for (at, index) in table.indexes.iter().enumerate() {
            let clustered = index.primary;
            found.rows.push(vec![
                Value::Int(table.id),
                text(&index.name),
                number(index_id(table, at)),
                Value::TinyInt(if clustered { 1 } else { 2 }),
                text(if clustered {
                    "CLUSTERED"
                } else {
                    "NONCLUSTERED"
                }),
                Value::Bit(index.unique),
                Value::Bit(index.primary),
                Value::Bit(false),
                Value::Bit(false),
                Value::Bit(false),
                Value::Bit(false),
                Value::Null,
            ]);
        }
    }
    found
}

/// 1 for the clustered index, the others from 2.
fn index_id(table: &Table, at: usize) -> usize {
    if table.indexes[at].primary {
        return 1;
    }
    2 + table.indexes[..at]
        .iter()
        .filter(|index| !index.primary)
        .count()
}

fn index_columns<'a>(tables: impl Iterator<Item = &'a Table>) -> Relation {
    let mut found = Relation::new(&[
        ("object_id", Kind::int().not_null()),
        ("index_id", Kind::int().not_null()),
        ("index_column_id", Kind::int().not_null()),
        ("column_id", Kind::int().not_null()),
        ("key_ordinal", tiny().not_null()),
        ("partition_ordinal", tiny().not_null()),
        ("is_descending_key", bit()),
        ("is_included_column", bit()),
    ]);
    for table in tables {
        for (at, index) in table.indexes.iter().enumerate() {
            for (ordinal, column) in (1_u8..).zip(&index.columns) {
                found.rows.push(vec![
                    Value::Int(table.id),
                    number(index_id(table, at)),
                    Value::Int(i32::from(ordinal)),
                    number(column + 1),
                    Value::TinyInt(ordinal),
                    Value::TinyInt(0),
                    Value::Bit(false),
                    Value::Bit(false),
                ]);
            }
        }
    }
    found
}

fn partitions<'a>(state: &State, tables: impl Iterator<Item = &'a Table>, name: &str) -> Relation {
    let count = if name == "partitions" {
        "rows"
    } else {
        "row_count"
    };
    let mut found = Relation::new(&[
        ("partition_id", big().not_null()),
        ("object_id", Kind::int().not_null()),
        ("index_id", Kind::int().not_null()),
        ("partition_number", Kind::int().not_null()),
        (count, big()),
    ]);
    for table in tables {
        let rows = i64::try_from(table.visible(state.view(None)).count()).unwrap_or(i64::MAX);
        found.rows.push(vec![
            Value::BigInt(i64::from(table.id)),
            Value::Int(table.id),
            Value::Int(i32::from(table.primary().is_some())),
            Value::Int(1),
            Value::BigInt(rows),
        ]);
    }
    found
}
