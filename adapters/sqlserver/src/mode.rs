//! How the changes of each table are learned: chosen by what the database has for it, or by a person.

use contract::TableName;

use crate::errors::PREPARE;
use crate::has::{Has, Key, There};
use crate::settings::Mode;
use crate::sql::{self, name};

/// Why a table's changes cannot be learned, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) what: String,
    pub(crate) hint: String,
}

fn unfit(what: impl Into<String>, hint: impl Into<String>) -> Unfit {
    Unfit {
        what: what.into(),
        hint: hint.into(),
    }
}

/// Chooses. Where something better is there and may not be read, a person must act: a weaker mode is never
/// taken in silence. What is said of a table goes without its name.
pub(crate) fn choose(table: &TableName, wanted: Option<Mode>, has: &Has) -> Result<Mode, Unfit> {
    match wanted {
        Some(mode @ (Mode::Cdc | Mode::CdcFunction)) => match has.cdc {
            There::Yes if mode == Mode::CdcFunction => Ok(mode),
            There::Yes if !has.cdc_tables => Err(unfit(
                "our user may not read the tables of change data capture",
                format!(
                    "{}; or choose cdc-function for it: modes in the settings",
                    grant("SELECT", "SCHEMA::cdc", has)
                ),
            )),
            There::Yes if !has.cdc_order => Err(unfit(
                "its change table has no column __$command_id, which tells the order of commands: the server is \
                 older than the update that brought it, or was updated without it",
                "update the server (KB 3030352; in an availability group EXEC sys.sp_vupgrade_replication on the \
                 primary), or choose cdc-function for it: modes in the settings",
            )),
            There::Yes => Ok(mode),
            There::Unreadable => Err(captured(table, has)),
            There::No => Err(not_captured(has)),
        },
        Some(Mode::Tracking) => tracking(table, has),
        Some(Mode::Rowversion) if has.rowversion => Ok(Mode::Rowversion),
        Some(Mode::Rowversion) => Err(unfit(
            "has no column of type rowversion",
            format!(
                "ALTER TABLE {0} ADD [rv] rowversion; undo: ALTER TABLE {0} DROP COLUMN [rv]; or choose another \
                 mode for it: modes in the settings",
                sql::table(table)
            ),
        )),
        Some(Mode::Compare) => Ok(Mode::Compare),
        None => match (has.cdc, has.tracking) {
            (There::Unreadable, _) => Err(captured(table, has)),
            (There::Yes, _) => Ok(of_capture(has)),
            (There::No, There::Unreadable | There::Yes) => tracking(table, has),
            (There::No, There::No) if has.rowversion => Ok(Mode::Rowversion),
            (There::No, There::No) => Ok(Mode::Compare),
        },
    }
}

/// The way that what is captured is read: from tables, which tell the order of commands, where they may be
/// read and tell it.
fn of_capture(has: &Has) -> Mode {
    if has.cdc_tables && has.cdc_order {
        Mode::Cdc
    } else {
        Mode::CdcFunction
    }
}

/// What is there already, readable or not: it is made readable, and nothing else turned on.
pub(crate) fn there_already(has: &Has) -> Option<Mode> {
    match (has.cdc, has.tracking) {
        (There::Yes, _) => Some(of_capture(has)),
        (There::Unreadable, _) => Some(Mode::Cdc),
        (There::No, There::Yes | There::Unreadable) => Some(Mode::Tracking),
        (There::No, There::No) => None,
    }
}

fn tracking(table: &TableName, has: &Has) -> Result<Mode, Unfit> {
    if !has.whole.writable {
        return Err(of_replica());
    }
    match (&has.key, has.tracking) {
        (Key::None, _) => Err(unfit(
            "has no primary key, without which changes cannot be tracked",
            "give it one, or choose another mode for it: modes in the settings",
        )),
        (Key::Incomparable(column), _) => Err(unfit(
            format!("its primary key has column {column}, which cannot be compared"),
            format!("modes = {{ \"{table}\" = \"compare\" }} in the settings"),
        )),
        (Key::Usable, There::Yes) => Ok(Mode::Tracking),
        (Key::Usable, There::Unreadable) => Err(unfit(
            "our user may not read its tracked changes",
            grant("VIEW CHANGE TRACKING", &sql::table(table), has),
        )),
        (Key::Usable, There::No) if has.whole.tracking => {
            Err(unfit("its changes are not tracked", or_not(PREPARE)))
        }
        (Key::Usable, There::No) => Err(unfit(
            "change tracking is off for the database",
            or_not(PREPARE),
        )),
    }
}

fn not_captured(has: &Has) -> Unfit {
    if let (false, Some(why)) = (has.whole.cdc, &has.whole.without_cdc) {
        return unfit(
            format!("this server has no change data capture: {why}"),
            "choose tracking for it (modes in the settings), or take it out of modes",
        );
    }
    if has.whole.cdc {
        unfit("is not captured by change data capture", or_not(PREPARE))
    } else {
        unfit(
            "change data capture is off for the database",
            or_not(PREPARE),
        )
    }
}

/// What is captured may not be read.
fn captured(table: &TableName, has: &Has) -> Unfit {
    let what = "our user may not read what is captured of it";
    let user = name(&has.whole.user);
    match &has.gate {
        Some(role) => {
            let role = name(role);
            unfit(
                format!("{what}: its capture instance is for members of role {role}"),
                format!(
                    "make our user a member of its gating role: ALTER ROLE {role} ADD MEMBER {user}; undo: ALTER ROLE {role} \
                     DROP MEMBER {user}"
                ),
            )
        }
        None => unfit(
            what,
            format!(
                "{}; where its instance has a gating role, our user must be a member of it: {PREPARE}",
                grant("SELECT", &sql::table(table), has)
            ),
        ),
    }
}

fn or_not(turn_on: &str) -> String {
    format!("{turn_on}, or take the table out of modes in the settings")
}

fn grant(right: &str, on: &str, has: &Has) -> String {
    let user = name(&has.whole.user);
    format!("GRANT {right} ON {on} TO {user}; undo: REVOKE {right} ON {on} FROM {user}")
}

/// Where changes are tracked and the database is a replica.
pub(crate) fn of_replica() -> Unfit {
    unfit(
        "changes are tracked at the primary only, and this is a replica, or a database that can only be read",
        "set host to the primary, without read_only_intent",
    )
}

/// What a mode cannot do, in one sentence; `None` = nothing is missing.
pub(crate) fn limits(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Cdc => None,
        Mode::CdcFunction => Some(
            "the functions of change data capture do not tell the order of the commands within a transaction: where one \
             makes a row and removes one with its key, the table is read again and compared; with SELECT on the schema cdc its tables are read, which do so on a server that is not too old",
        ),
        Mode::Tracking => Some(
            "change tracking tells the newest state of a row only: states between two looks are not told, nor \
             is what a row was before",
        ),
        Mode::Rowversion => Some(
            "a rowversion column does not tell deleted rows: they are found when the table is read again and \
             compared (compare_minutes), and states between two looks are not told",
        ),
        Mode::Compare => Some(
            "nothing tells this table's changes: it is read again and compared each compare_minutes, and what \
             happens in between is seen then, or never",
        ),
    }
}

/// Whether the table is read again and compared from time to time: nothing tells all that happens to it.
pub(crate) fn is_compared(mode: Mode) -> bool {
    matches!(mode, Mode::Rowversion | Mode::Compare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::has::Whole;

    fn nothing() -> Has {
        Has {
            cdc: There::No,
            cdc_tables: true,
            cdc_order: true,
            gate: None,
            tracking: There::No,
            key: Key::Usable,
            rowversion: false,
            whole: Whole {
                cdc: false,
                without_cdc: None,
                tracking: false,
                writable: true,
                user: "agent".to_owned(),
            },
        }
    }

    /// Tracked, and with a rowversion.
    fn tracked() -> Has {
        Has {
            tracking: There::Yes,
            rowversion: true,
            ..nothing()
        }
    }

    fn captured() -> Has {
        Has {
            cdc: There::Yes,
            ..tracked()
        }
    }

    fn chosen(wanted: Option<Mode>, has: &Has) -> Result<Mode, Unfit> {
        choose(&TableName::new("dbo", "orders"), wanted, has)
    }

    #[track_caller]
    fn unfit(wanted: Option<Mode>, has: &Has, what: &str, hint: &str) {
        let found = chosen(wanted, has).unwrap_err();
        assert!(found.what.contains(what), "{found:?}");
        assert!(found.hint.contains(hint), "{found:?}");
    }

    #[test]
    fn the_best_that_is_there_is_chosen() {
        assert_eq!(chosen(None, &captured()), Ok(Mode::Cdc));
        assert_eq!(chosen(None, &tracked()), Ok(Mode::Tracking));
        let versioned = Has {
            rowversion: true,
            ..nothing()
        };
        assert_eq!(chosen(None, &versioned), Ok(Mode::Rowversion));
        assert_eq!(chosen(None, &nothing()), Ok(Mode::Compare));
        for mode in Mode::ALL {
            assert_eq!(chosen(Some(mode), &captured()), Ok(mode));
        }
    }

    /// Without the right to its tables, or where these are of an older build, the functions are read; whoever
    /// wants the tables is told what is missing.
    #[test]
    fn functions_are_read_where_tables_cannot_be() {
        let by_functions = Has {
            cdc_tables: false,
            ..captured()
        };
        assert_eq!(chosen(None, &by_functions), Ok(Mode::CdcFunction));
        let wanted = Some(Mode::CdcFunction);
        assert_eq!(chosen(wanted, &by_functions), Ok(Mode::CdcFunction));
        let cdc = Some(Mode::Cdc);
        unfit(cdc, &by_functions, "the tables", "SCHEMA::cdc TO [agent]");
        let old = Has {
            cdc_order: false,
            ..captured()
        };
        assert_eq!(chosen(None, &old), Ok(Mode::CdcFunction));
        unfit(cdc, &old, "__$command_id", "cdc-function");
    }

    /// Scenario 12: a zero LSN and a NULL version say nothing good.
    #[test]
    fn what_may_not_be_read_is_said_with_the_statement_that_mends_it() {
        let hidden = Has {
            cdc: There::Unreadable,
            ..tracked()
        };
        let grant = "GRANT SELECT ON [dbo].[orders] TO [agent]; undo: REVOKE";
        unfit(None, &hidden, "may not read", grant);
        let gated = Has {
            gate: Some("readers".to_owned()),
            ..hidden
        };
        let member =
            "ALTER ROLE [readers] ADD MEMBER [agent]; undo: ALTER ROLE [readers] DROP MEMBER";
        for wanted in [None, Some(Mode::Cdc), Some(Mode::CdcFunction)] {
            unfit(wanted, &gated, "members of role [readers]", member);
        }
        let hidden = Has {
            tracking: There::Unreadable,
            ..tracked()
        };
        let grant = "GRANT VIEW CHANGE TRACKING ON [dbo].[orders] TO [agent]";
        unfit(None, &hidden, "may not read", grant);
        let wanted = Some(Mode::Rowversion);
        assert!(chosen(wanted, &hidden).is_ok(), "a person chose it");
    }

    #[test]
    fn what_is_chosen_and_not_there_is_refused_with_what_is_missing() {
        let (cdc, tracking) = (Some(Mode::Cdc), Some(Mode::Tracking));
        let nothing = nothing();
        unfit(cdc, &nothing, "off for the database", PREPARE);
        unfit(tracking, &nothing, "off for the database", PREPARE);
        unfit(
            Some(Mode::Rowversion),
            &nothing,
            "no column of type",
            "ADD [rv]",
        );
        let mut on = nothing.clone();
        (on.whole.cdc, on.whole.tracking) = (true, true);
        unfit(cdc, &on, "is not captured", PREPARE);
        unfit(tracking, &on, "are not tracked", PREPARE);
        let mut express = nothing;
        express.whole.without_cdc = Some("it is not in Express".to_owned());
        unfit(cdc, &express, "it is not in Express", "choose tracking");
        let keyless = Has {
            key: Key::None,
            ..on.clone()
        };
        unfit(tracking, &keyless, "no primary key", "another mode");
        let mut replica = tracked();
        replica.whole.writable = false;
        assert_eq!(chosen(None, &replica), Err(of_replica()));
        let key = Key::Incomparable("place".to_owned());
        let incomparable = Has { key, ..tracked() };
        unfit(None, &incomparable, "column place", "\"compare\"");
    }

    #[test]
    fn what_is_there_already_is_known_readable_or_not() {
        assert_eq!(there_already(&nothing()), None);
        assert_eq!(there_already(&tracked()), Some(Mode::Tracking));
        assert_eq!(there_already(&captured()), Some(Mode::Cdc));
        let hidden = Has {
            cdc: There::Unreadable,
            ..tracked()
        };
        assert_eq!(there_already(&hidden), Some(Mode::Cdc));
    }

    /// Scenario 31.
    #[test]
    fn what_a_mode_cannot_do_is_said() {
        assert!(limits(Mode::Rowversion).unwrap().contains("deleted rows"));
        assert!(is_compared(Mode::Rowversion) && is_compared(Mode::Compare));
        assert_eq!(limits(Mode::Cdc), None);
    }
}
