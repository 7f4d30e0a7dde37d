//! Foreign keys by which the server changes rows without telling.

use contract::SourceError;

use super::Looking;
use crate::cascade;
use crate::catalogue::Table;
use crate::connect::{self, Connection};

impl Looking<'_> {
    pub(super) async fn silent(
        &mut self,
        connection: &mut Connection,
        table: &Table,
        part: &str,
    ) -> Result<(), SourceError> {
        let rules = cascade::rules(connection, std::slice::from_ref(&table.name)).await?;
        for rule in rules {
            let (name, parent) = (connect::table(&table.name), &rule.parent);
            let when = match (rule.on_delete, rule.on_update) {
                (true, false) => "is deleted",
                (false, _) => "gets another key",
                (true, true) => "is deleted or gets another key",
            };
            let constraint = connect::name(&rule.name);
            self.warn(
                part,
                format!(
                    "its rows are changed by the server itself when a row of {parent} {when} \
                     ({}), and that is not in the log: each time, all of this table is read again",
                    rule.words
                ),
                format!(
                    "have the application delete and change these rows itself: ALTER TABLE {name} \
                     DROP FOREIGN KEY {constraint}, and ADD it again without a rule; undo: with the \
                     rule"
                ),
            );
        }
        Ok(())
    }
}
