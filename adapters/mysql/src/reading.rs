//! How a table is read: its columns as the log has them, and the order of its rows.

use std::sync::Arc;

use contract::{CapturedTable, Op, Position, Row, RowChange, SourceError, TableName, TableShape};
use mysql_async::Value as Sent;

use crate::catalogue::Table;
use crate::charset::{Charsets, charset_of};
use crate::column::{Column, Kind};
use crate::connect::{self, Connection, name};
use crate::errors::classify;
use crate::order::{Order, Place, bounds};
use crate::values::Cell;

/// How a table is read.
pub(crate) struct Reading {
    pub(crate) table: TableName,
    columns: Vec<Column>,
    pub(crate) order: Order,
    shape: Arc<TableShape>,
    /// Its engine keeps to the snapshot.
    pub(crate) keeps_to_snapshot: bool,
    pub(crate) is_transactional: bool,
}

/// Why a chunk was not read.
pub(crate) enum Failed {
    /// The table has changed since we asked for its columns.
    Changed(SourceError),
    Other(SourceError),
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Self::Other(error)
    }
}

/// What a statement's error means for a chunk whose columns were asked for a moment ago.
pub(crate) fn failed(doing: &str, error: &mysql_async::Error) -> Failed {
    let found = classify(doing, error);
    match error {
        // No such column, table or index, another definition than the snapshot's, to be prepared
        // again, and a key that is no text of its character set.
        mysql_async::Error::Server(server) => match server.code {
            1054 | 1146 | 1176 | 1412 | 1615 => Failed::Changed(found),
            1300 => Failed::Other(SourceError::SchemaChanged {
                what: format!("{doing}: a key holds bytes that are no text of its character set"),
                hint: "correct that row's key; CONVERT(.. USING ..) shows which one it is"
                    .to_owned(),
            }),
            // Ended by our own limit, at MariaDB and MySQL: another try at once takes as long.
            1969 | 3024 => Failed::Other(SourceError::Denied {
                what: format!(
                    "{doing}: the server did not give a chunk within a minute, and ended it (error {})",
                    server.code
                ),
                hint: "give the table a primary key, or a smaller unique index, whose first column is \
                       no enum and no set: by those the server reads along the index from its \
                       beginning; where the server is only busy, nothing: it is tried again"
                    .to_owned(),
            }),
            _ => Failed::Other(found),
        },
        _ => Failed::Other(found),
    }
}

fn no_key(table: &Table, captured: &CapturedTable) -> SourceError {
    let of = connect::table(&table.name);
    let hint = if captured.key.is_empty() {
        format!("ALTER TABLE {of} ADD PRIMARY KEY (..)")
    } else {
        let columns: Vec<String> = captured.key.iter().map(|column| name(column)).collect();
        format!(
            "ALTER TABLE {of} ADD UNIQUE INDEX ({}); none of its columns may be NULL",
            columns.join(", ")
        )
    };
    SourceError::SchemaChanged {
        what: format!(
            "read table {}: it has no primary key and no unique index over whole columns without \
             NULL to read it in order by",
            table.name
        ),
        hint,
    }
}

fn shape(table: &Table, key: &[String]) -> Result<Arc<TableShape>, SourceError> {
    let columns: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    let place = |name: &String| {
        let place = columns.iter().position(|column| column == name);
        place.ok_or_else(|| SourceError::SchemaChanged {
            what: format!(
                "read table {}: its key column `{name}` is not among its columns",
                table.name
            ),
            hint: "name other key columns in the mapping".to_owned(),
        })
    };
    Ok(Arc::new(TableShape {
        table: table.name.clone(),
        key: key.iter().map(place).collect::<Result<_, _>>()?,
        columns,
    }))
}

impl Reading {
    /// How to read a table, and the shape of its rows: the same as the log's.
    pub(crate) async fn of(
        connection: &mut Connection,
        tables: &[CapturedTable],
        table: &TableName,
    ) -> Result<Self, SourceError> {
        let captured = tables.iter().find(|captured| captured.table == *table);
        let found = match captured {
            Some(captured) => Table::read(connection, table)
                .await?
                .map(|now| (now, captured)),
            None => None,
        };
        let Some((now, captured)) = found else {
            return Err(SourceError::SchemaChanged {
                what: format!("read table {table}: it does not exist or is not captured"),
                hint: "correct the table's name in the mapping".to_owned(),
            });
        };
        let order = Order::read(connection, &now).await?;
        let order = order.ok_or_else(|| no_key(&now, captured))?;
        let shape = shape(&now, &now.key(captured))?;
        Ok(Self {
            table: table.clone(),
            order,
            shape,
            keeps_to_snapshot: now.engine.eq_ignore_ascii_case("innodb"),
            is_transactional: now.is_transactional(),
            columns: now.columns,
        })
    }

    /// The statement that reads on from a place.
    pub(crate) fn sql(&self, place: &Place, rows_max: usize) -> Option<String> {
        let columns = self.columns.iter().map(|column| {
            let zerofill = column.declared.contains("zerofill");
            let named = name(&column.name);
            // Filled up with zeros, the server rounds it to the digits it shows.
            match column.kind {
                Kind::Float | Kind::Double if zerofill => format!("{named} + 0e0"),
                _ => named,
            }
        });
        let columns: Vec<String> = columns.chain(self.order.extra()).collect();
        let rest = self.order.rest(place)?;
        let only = if rest.is_empty() { "" } else { " WHERE " };
        Some(format!(
            "SELECT {} FROM {} FORCE INDEX ({}){only}{rest} ORDER BY {} LIMIT {rows_max}",
            columns.join(", "),
            connect::table(&self.table),
            name(&self.order.index),
            self.order.by()
        ))
    }

    /// How the columns are read that a statement gives.
    pub(crate) fn cells(
        &self,
        sent: &[mysql_async::Column],
        charsets: &Charsets,
        doing: &str,
    ) -> Result<Vec<Cell>, Failed> {
        let pairs = self.columns.iter().zip(sent);
        pairs
            .map(|(column, sent)| {
                // By their sets: what MariaDB has more collations for than older clients know, it
                // sends under the number of an older one.
                if let Kind::Text { collation } = column.kind
                    && charset_of(collation) != charset_of(sent.character_set())
                {
                    let what = format!(
                        "{doing}: column {} has another character set than a moment ago",
                        column.name
                    );
                    return Err(Failed::Changed(SourceError::Disconnected(what)));
                }
                Ok(Cell::of(&column.kind, sent, charsets, doing)?)
            })
            .collect()
    }

    /// The cells of a row, and its key.
    pub(crate) fn row(
        &self,
        row: mysql_async::Row,
        cells: &[Cell],
        doing: &str,
    ) -> Result<(Row, Vec<String>), SourceError> {
        let mut sent: Vec<Sent> = row
            .unwrap_raw()
            .into_iter()
            .map(|cell| cell.unwrap_or(Sent::NULL))
            .collect();
        let extra = sent.split_off(self.columns.len().min(sent.len()));
        let key = self.order.key(
            |column| {
                let at = self.shape.column(column)?;
                sent.get(at)
            },
            &extra,
        );
        let key = key.ok_or_else(|| {
            SourceError::Malformed(format!(
                "{doing}: a row's key is of another type than its column"
            ))
        })?;
        let values = sent.into_iter().zip(cells).zip(&self.columns);
        let values = values.map(|((sent, cell), column)| {
            cell.value(sent).ok_or_else(|| {
                SourceError::Malformed(format!(
                    "{doing}: column {} is {}, and comes as something else",
                    column.name, column.declared
                ))
            })
        });
        Ok((values.collect::<Result<_, _>>()?, key))
    }

    /// Where about `parts` ranges of the table begin: by the least and the greatest number in its
    /// index, which the server finds without reading along it.
    pub(crate) async fn ranges(
        &self,
        connection: &mut Connection,
        parts: usize,
        doing: &str,
    ) -> Result<Vec<String>, SourceError> {
        let Some(column) = self.order.numbers() else {
            return Ok(Vec::new());
        };
        let column = name(column);
        let sql = format!(
            "SELECT CAST(MIN({column}) AS CHAR), CAST(MAX({column}) AS CHAR) FROM {} FORCE INDEX ({})",
            connect::table(&self.table),
            name(&self.order.index)
        );
        let (least, most): (Option<String>, Option<String>) = connection.one(doing, &sql).await?;
        let number = |text: Option<String>| text?.parse::<i128>().ok();
        let Some((least, most)) = number(least).zip(number(most)) else {
            return Ok(Vec::new());
        };
        let bounds = bounds(least, most, parts);
        if bounds.is_empty() {
            return Ok(Vec::new());
        }
        let ranges = self.order.ranges(&bounds);
        ranges.map_err(|error| SourceError::Malformed(format!("{doing}: {error}")))
    }

    pub(crate) fn change(&self, row: Row) -> RowChange {
        RowChange {
            shape: Arc::clone(&self.shape),
            op: Op::Read,
            before: None,
            after: Some(row),
            // The mark is known when all is read.
            position: Position::border(0, contract::LogPos::from_number(0)),
            committed_at: None,
            transaction: 0,
        }
    }
}

#[cfg(test)]
#[path = "../tests/common/keys.rs"]
pub(crate) mod keys;

#[cfg(test)]
mod tests {
    use harness::mariadb::{MariadbOptions, MariadbServer};

    use super::*;
    use crate::connect::{Rights, connect};
    use crate::fetch;
    use crate::values::RAW;

    /// Whatever the key: the server goes to its place in the index and reads on from there. Without
    /// that, each chunk would read all rows before it again.
    #[tokio::test]
    async fn every_key_is_found_by_its_index() {
        let server = MariadbServer::start(MariadbOptions::default());
        let (tables, sql) = keys::tables();
        server
            .run(&format!("CREATE DATABASE erp; USE erp; {sql}"))
            .await;
        let settings = crate::settings::of_tests(server.port());
        let mut connection = connect(&settings, Rights::Read).await.unwrap();
        connection.run("set the session", RAW).await.unwrap();
        let mut wrong = Vec::new();
        for (name, column) in tables {
            let table = TableName::new("erp", name);
            let captured = [CapturedTable {
                table: table.clone(),
                key: Vec::new(),
                columns: Vec::new(),
            }];
            let reading = Reading::of(&mut connection, &captured, &table)
                .await
                .unwrap();
            // The key of the thirtieth row.
            let sql = reading.sql(&Place::default(), 30).unwrap();
            let statement = fetch::prepare(&mut connection, &sql).await.unwrap();
            let cells = reading.cells(&statement.columns(), &every_charset(), "read");
            let Ok(cells) = cells else { panic!("{column}") };
            let mut key = Vec::new();
            let rows = fetch::each(&mut connection, statement, Vec::new(), |row| {
                key = reading.row(row, &cells, "read")?.1;
                Ok(false)
            });
            assert_eq!(rows.await.unwrap().taken, 30);
            let mut place = Place::default();
            place.at = Some(key);
            let mut places = vec![place];
            // And the later half of it.
            let halves = reading.ranges(&mut connection, 2, "read").await.unwrap();
            let later = halves
                .last()
                .map(|half| reading.order.place(Some(half), &table));
            places.extend(later);
            for place in places {
                let sql = format!("EXPLAIN {}", reading.sql(&place, 5).unwrap());
                let plans: Vec<mysql_async::Row> = connection.rows("explain", &sql).await.unwrap();
                let get = |name: &str| {
                    let cell = plans[0].get::<Option<String>, _>(name);
                    cell.unwrap().unwrap_or_default()
                };
                let (kind, index, extra) = (get("type"), get("key"), get("Extra"));
                // By numbers of labels the server finds no place in an index: it reads along it.
                let labels = column.starts_with("enum") || column.starts_with("set");
                let wanted = if labels { "index" } else { "range" };
                if kind != wanted || index != "PRIMARY" || extra.contains("filesort") {
                    wrong.push(format!("{column}: {kind} {index} {extra}: {sql}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_chunk_that_takes_too_long_is_no_broken_connection() {
        for code in [1969, 3024] {
            let error = mysql_async::Error::Server(mysql_async::ServerError {
                code,
                message: "max_statement_time exceeded".to_owned(),
                state: "70100".to_owned(),
            });
            let found = match failed("read table s.t", &error) {
                Failed::Changed(error) | Failed::Other(error) => error,
            };
            assert!(matches!(found, SourceError::Denied { .. }), "{found:?}");
            assert!(found.hint().is_some_and(|hint| hint.contains("enum")));
        }
    }

    fn every_charset() -> Charsets {
        crate::charset::tables::tests::recorded()
    }

    #[test]
    fn a_table_without_an_order_says_what_to_add() {
        let table = Table {
            name: TableName::new("s", "t`x"),
            engine: "InnoDB".to_owned(),
            versioned: false,
            rows: None,
            columns: Vec::new(),
            key: Vec::new(),
            generated: Vec::new(),
        };
        let mut captured = CapturedTable {
            table: table.name.clone(),
            key: Vec::new(),
            columns: Vec::new(),
        };
        let error = no_key(&table, &captured);
        assert!(matches!(error, SourceError::SchemaChanged { .. }));
        assert_eq!(
            error.hint(),
            Some("ALTER TABLE `s`.`t``x` ADD PRIMARY KEY (..)")
        );
        captured.key = vec!["a".to_owned()];
        let error = no_key(&table, &captured);
        assert!(error.hint().is_some_and(|hint| hint.contains("(`a`)")));
        let lost = shape(&table, &captured.key).unwrap_err();
        assert!(lost.to_string().contains("`a`"), "{lost}");
    }
}
