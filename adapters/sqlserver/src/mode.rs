//! How the changes of each table are learned: chosen by what the database has for it, or by a person.

use contract::TableName;

use crate::errors::PREPARE;
use crate::settings::Mode;
use crate::sql;

/// Whether something is there for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    No,
    Yes,
    /// It is, and our user may not read it; or it cannot be known whether it is. The server answers both
    /// with a zero or a NULL, which never means that all is valid.
    Unreadable,
}

/// What the database has for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Has {
    pub(crate) cdc: There,
    /// `SELECT` on the tables of change data capture: without it, its functions are read.
    pub(crate) cdc_tables: bool,
    pub(crate) tracking: There,
    /// Without one, changes are not tracked.
    pub(crate) primary_key: bool,
    pub(crate) rowversion: bool,
}

/// Why a table's changes cannot be learned, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) what: String,
    pub(crate) hint: String,
}

fn unfit(what: String, hint: String) -> Unfit {
    Unfit { what, hint }
}

/// Chooses. Where something better is there and may not be read, a person must act: a weaker mode is never
/// taken in silence.
pub(crate) fn choose(table: &TableName, wanted: Option<Mode>, has: Has) -> Result<Mode, Unfit> {
    let change_tracking = || {
        unfit(
            format!(
                "our user may not read the tracked changes of table {table}, or there are none"
            ),
            format!(
                "GRANT VIEW CHANGE TRACKING ON {} TO <user>, or {PREPARE}",
                sql::table(table)
            ),
        )
    };
    let capture = || {
        unfit(
            format!(
                "our user may not read the capture instance of table {table}, or there is none"
            ),
            format!(
                "add our user to the instance's gating role, and GRANT SELECT ON {} and on the schema cdc, \
                 or {PREPARE}",
                sql::table(table)
            ),
        )
    };
    let missing = |what: &str| {
        unfit(
            format!("table {table} has no {what}, and modes in the settings names it"),
            format!("{PREPARE}, or take the table out of modes"),
        )
    };
    match wanted {
        Some(mode @ (Mode::Cdc | Mode::CdcFunction)) => match has.cdc {
            There::Yes => Ok(mode),
            There::Unreadable => Err(capture()),
            There::No => Err(missing("capture instance")),
        },
        Some(Mode::Tracking) => match has.tracking {
            There::Yes if has.primary_key => Ok(Mode::Tracking),
            There::Yes | There::Unreadable => Err(change_tracking()),
            There::No => Err(missing("change tracking")),
        },
        Some(Mode::Rowversion) if has.rowversion => Ok(Mode::Rowversion),
        Some(Mode::Rowversion) => Err(missing("column of type rowversion")),
        Some(Mode::Compare) => Ok(Mode::Compare),
        None => match (has.cdc, has.tracking) {
            (There::Unreadable, _) => Err(capture()),
            (There::Yes, _) if has.cdc_tables => Ok(Mode::Cdc),
            (There::Yes, _) => Ok(Mode::CdcFunction),
            (There::No, There::Unreadable) => Err(change_tracking()),
            (There::No, There::Yes) if has.primary_key => Ok(Mode::Tracking),
            (There::No, _) if has.rowversion => Ok(Mode::Rowversion),
            (There::No, _) => Ok(Mode::Compare),
        },
    }
}

/// What a mode cannot do, in one sentence; `None` = nothing is missing.
pub(crate) fn limits(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Cdc => None,
        Mode::CdcFunction => Some(
            "the functions of change data capture do not tell the order of the commands within a transaction; \
             with SELECT on the schema cdc its tables are read, which do",
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

    const NOTHING: Has = Has {
        cdc: There::No,
        cdc_tables: true,
        tracking: There::No,
        primary_key: true,
        rowversion: false,
    };

    fn chosen(wanted: Option<Mode>, has: Has) -> Result<Mode, Unfit> {
        choose(&TableName::new("dbo", "orders"), wanted, has)
    }

    #[test]
    fn the_best_that_is_there_is_chosen() {
        let tracked = Has {
            tracking: There::Yes,
            rowversion: true,
            ..NOTHING
        };
        let captured = Has {
            cdc: There::Yes,
            ..tracked
        };
        assert_eq!(chosen(None, captured), Ok(Mode::Cdc));
        assert_eq!(
            chosen(
                None,
                Has {
                    cdc_tables: false,
                    ..captured
                }
            ),
            Ok(Mode::CdcFunction)
        );
        assert_eq!(chosen(None, tracked), Ok(Mode::Tracking));
        assert_eq!(
            chosen(
                None,
                Has {
                    rowversion: true,
                    ..NOTHING
                }
            ),
            Ok(Mode::Rowversion)
        );
        assert_eq!(chosen(None, NOTHING), Ok(Mode::Compare));
        for mode in Mode::ALL {
            assert_eq!(chosen(Some(mode), captured), Ok(mode));
        }
    }

    /// Scenario 12: a zero LSN and a NULL version say nothing good.
    #[test]
    fn what_may_not_be_read_is_said_with_the_statement_that_mends_it() {
        let hidden = Has {
            cdc: There::Unreadable,
            tracking: There::Yes,
            ..NOTHING
        };
        assert!(
            chosen(None, hidden)
                .unwrap_err()
                .hint
                .contains("gating role")
        );
        let hidden = Has {
            tracking: There::Unreadable,
            rowversion: true,
            ..NOTHING
        };
        let found = chosen(None, hidden).unwrap_err();
        assert!(
            found
                .hint
                .contains("GRANT VIEW CHANGE TRACKING ON [dbo].[orders]"),
            "{found:?}"
        );
        assert!(
            chosen(Some(Mode::Rowversion), hidden).is_ok(),
            "a person chose it"
        );
        for mode in [Mode::Cdc, Mode::Tracking, Mode::Rowversion] {
            assert!(chosen(Some(mode), NOTHING).is_err(), "{mode:?}");
        }
    }

    /// Scenario 31.
    #[test]
    fn what_a_mode_cannot_do_is_said() {
        assert!(limits(Mode::Rowversion).unwrap().contains("deleted rows"));
        assert!(is_compared(Mode::Rowversion) && is_compared(Mode::Compare));
        assert_eq!(limits(Mode::Cdc), None);
    }
}
