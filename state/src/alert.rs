//! Alerts that fire, and which channel was told of them: a restart tells nothing twice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use crate::error::StoreError;
use crate::{StateReader, Store, from_millis, millis};

/// An alert that fires, or has ended and is still to be told of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlertStatus {
    /// The rule's name.
    pub alert: String,
    /// Which series of its metric, as labels in Prometheus' form; empty = it has no labels.
    pub series: String,
    /// `warn` or `page`.
    pub level: String,
    /// What is wrong, for people.
    pub sentence: String,
    /// How to look at it.
    pub look: String,
    /// The value, as it was when it was last told or began.
    pub value: f64,
    /// Since when.
    pub began_at: Timestamp,
    /// Since when it is over.
    pub ended_at: Option<Timestamp>,
    /// When each channel was last told that it fires.
    pub told: BTreeMap<String, Timestamp>,
    /// Channels that were told that it is over.
    pub ended_told: Vec<String>,
}

/// How telling a channel stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelStatus {
    /// Its name.
    pub channel: String,
    /// When it took the newest letters.
    pub sent: Vec<Timestamp>,
    /// Since when it takes none.
    pub failing_since: Option<Timestamp>,
    /// Why, in short.
    pub problem: Option<String>,
}

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Invariant(format!("an alert has no JSON: {error}")))
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|_| StoreError::Invariant("an alert does not parse".to_owned()))
}

impl Store {
    /// Remembers alerts, in place of what was known of them, and forgets others by rule and series.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_alerts(
        &self,
        alerts: Vec<AlertStatus>,
        gone: Vec<(String, String)>,
    ) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                for alert in &alerts {
                    db.prepare_cached(
                        "INSERT OR REPLACE INTO alert (alert, series, level, sentence, look, value, began_at,
                           ended_at, told, ended_told)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                    )?
                    .execute(params![
                        alert.alert,
                        alert.series,
                        alert.level,
                        alert.sentence,
                        alert.look,
                        alert.value,
                        millis(alert.began_at),
                        alert.ended_at.map(millis),
                        json(&alert.told)?,
                        json(&alert.ended_told)?,
                    ])?;
                }
                for (alert, series) in &gone {
                    db.prepare_cached("DELETE FROM alert WHERE alert = ?1 AND series = ?2")?
                        .execute([alert, series])?;
                }
                Ok(())
            })
            .await
    }

    /// Remembers how telling a channel stands.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_alert_channel(&self, channel: ChannelStatus) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached(
                    "INSERT OR REPLACE INTO alert_channel (channel, sent, failing_since, problem)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    channel.channel,
                    json(&channel.sent)?,
                    channel.failing_since.map(millis),
                    channel.problem,
                ])?;
                Ok(())
            })
            .await
    }
}

impl StateReader {
    /// Alerts that fire, or have ended and are still to be told of, by rule and series.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn alerts(&self) -> Result<Vec<AlertStatus>, StoreError> {
        let Some(db) = self.with_alerts()? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT alert, series, level, sentence, look, value, began_at, ended_at, told, ended_told FROM alert
             ORDER BY alert, series",
        )?;
        let mut rows = query.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(alert(row)?);
        }
        Ok(all)
    }

    /// How telling each channel stands.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn alert_channels(&self) -> Result<Vec<ChannelStatus>, StoreError> {
        let Some(db) = self.with_alerts()? else {
            return Ok(Vec::new());
        };
        let mut query = db.prepare_cached(
            "SELECT channel, sent, failing_since, problem FROM alert_channel ORDER BY channel",
        )?;
        let mut rows = query.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(ChannelStatus {
                channel: row.get(0)?,
                sent: parsed(&row.get::<_, String>(1)?)?,
                failing_since: row.get::<_, Option<i64>>(2)?.map(from_millis),
                problem: row.get(3)?,
            });
        }
        Ok(all)
    }

    /// The file, where it has tables of alerts.
    fn with_alerts(&self) -> Result<Option<&Connection>, StoreError> {
        let Some(db) = self.newest()? else {
            return Ok(None);
        };
        let known: bool = db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'alert')")?
            .query_row([], |row| row.get(0))?;
        Ok(known.then_some(db))
    }
}

fn alert(row: &Row<'_>) -> Result<AlertStatus, StoreError> {
    Ok(AlertStatus {
        alert: row.get(0)?,
        series: row.get(1)?,
        level: row.get(2)?,
        sentence: row.get(3)?,
        look: row.get(4)?,
        value: row.get(5)?,
        began_at: from_millis(row.get(6)?),
        ended_at: row.get::<_, Option<i64>>(7)?.map(from_millis),
        told: parsed(&row.get::<_, String>(8)?)?,
        ended_told: parsed(&row.get::<_, String>(9)?)?,
    })
}
