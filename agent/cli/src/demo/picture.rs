//! The demo's live table, for a warehouse manager: the same numbers on both sides.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::Failure;
use super::play::{Expected, Warehouse};
use super::receiver::{Shared, Shop, lock};
use crate::out;

/// A spread of items that stays the same from picture to picture.
const EVERY: usize = 40;
const ROWS: usize = 15;

/// The table, drawn again and again.
pub(super) struct Picture {
    drawn_at: Instant,
    delivered: u64,
}

/// One row of stock on both sides.
struct Row<'a> {
    key: &'a str,
    warehouse: String,
    channel: Option<&'a str>,
    /// How long the channel took to hold the last change, or has been behind since.
    lag: Option<Duration>,
    behind: bool,
}

impl Picture {
    pub(super) fn new() -> Self {
        Self {
            drawn_at: Instant::now(),
            delivered: 0,
        }
    }

    /// Draws it as it is now.
    pub(super) fn show(
        &mut self,
        warehouse: &Warehouse,
        shop: &Shared,
        kills: u64,
    ) -> Result<(), Failure> {
        let expected = warehouse.expected()?;
        let shop = lock(shop);
        let now = Instant::now();
        let rows: Vec<_> = expected
            .iter()
            .filter(|row| row.field == "on_hand")
            .map(|row| look(row, warehouse, &shop, now))
            .collect();
        if std::io::stdout().is_terminal() {
            crate::styled("\x1b[2J\x1b[H");
        }
        out(&format!(
            "{:<10} {:<10} {:>12} {:>12} {:>9}",
            "SKU", "WAREHOUSE", "IN WAREHOUSE", "AT CHANNEL", "LAG"
        ));
        for row in rows.iter().step_by(EVERY).take(ROWS) {
            let mut parts = row.key.split('|').skip(1);
            out(&format!(
                "{:<10} {:<10} {:>12} {:>12} {:>9} {}",
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
                row.warehouse,
                row.channel.unwrap_or("-"),
                row.lag
                    .map_or_else(String::new, |lag| format!("{} ms", lag.as_millis())),
                if row.behind { "<- on its way" } else { "" },
            ));
        }
        let behind = rows.iter().filter(|row| row.behind).count();
        let longest = rows.iter().filter(|row| row.behind).filter_map(|r| r.lag);
        let elapsed = now.duration_since(self.drawn_at).as_millis().max(1);
        let rate = u128::from(shop.delivered - self.delivered) * 1_000 / elapsed;
        out(&format!(
            "{} changes, {} events delivered, {rate} events/s, {behind} of {} on their way{}, {kills} \
             kills",
            warehouse.changes,
            shop.delivered,
            rows.len(),
            longest.max().map_or_else(String::new, |lag| format!(
                " (the oldest for {} ms)",
                lag.as_millis()
            )),
        ));
        self.drawn_at = now;
        self.delivered = shop.delivered;
        Ok(())
    }
}

fn look<'a>(row: &'a Expected, warehouse: &Warehouse, shop: &'a Shop, now: Instant) -> Row<'a> {
    let known = shop.state.get(&(row.kind.to_owned(), row.key.clone()));
    let channel = known.and_then(|(_, body)| body.as_ref()?.get(row.field)?.as_str());
    let behind = !channel.is_some_and(|value| row.equals(value));
    let until = if behind {
        Some(now)
    } else {
        shop.came_at.get(&row.key).copied()
    };
    let changed_at = warehouse.changed_at.get(&row.key);
    let exact = row.value.parse::<contract::Decimal>();
    Row {
        key: &row.key,
        warehouse: exact.map_or_else(|_| row.value.clone(), |n| n.to_string()),
        channel,
        lag: until
            .zip(changed_at)
            .map(|(until, changed)| until.saturating_duration_since(*changed)),
        behind,
    }
}
