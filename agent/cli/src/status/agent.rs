//! What only the running agent knows, asked of its local server: how late capture is just now, and since when
//! a destination fails. Without `[local]`, or where it does not answer at once, these stay unknown.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use engine::observe::Meters;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::local::LocalSettings;

const ANSWER_MAX: Duration = Duration::from_secs(2);
const BYTES_MAX: u64 = 8 << 20;

/// What the agent says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Now {
    /// How far behind the log each source is.
    pub(super) lags: BTreeMap<String, Duration>,
    /// For how long every request to each destination has failed.
    pub(super) failing: BTreeMap<String, Duration>,
}

impl Now {
    /// The same within the agent, which need not ask.
    pub(super) fn of(meters: &Meters) -> Self {
        let lags = meters.sources().into_iter();
        let failing = meters.destinations().into_iter();
        Self {
            lags: lags
                .filter_map(|(name, meter)| Some((name, meter.lag()?)))
                .collect(),
            failing: failing
                .map(|(name, meter)| (name, meter.failing_for()))
                .collect(),
        }
    }
}

/// Asks; nothing where it does not answer.
pub(super) async fn ask(local: Option<&LocalSettings>) -> Now {
    let Some(local) = local else {
        return Now::default();
    };
    let mut address = local.listen;
    if address.ip().is_unspecified() {
        address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port());
    }
    let asked = tokio::time::timeout(ANSWER_MAX, metrics(address)).await;
    asked
        .ok()
        .and_then(Result::ok)
        .map_or_else(Now::default, |text| read(&text))
}

async fn metrics(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}

fn read(text: &str) -> Now {
    let series = |metric: &str, label: &str| {
        let head = format!("{metric}{{{label}=\"");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&head));
        let values = lines.filter_map(|rest| {
            let (name, value) = rest.rsplit_once("\"} ")?;
            let seconds = value.trim().parse::<f64>().ok()?;
            Some((name.to_owned(), Duration::try_from_secs_f64(seconds).ok()?))
        });
        values.collect()
    };
    Now {
        lags: series("lighterman_source_lag_seconds", "source"),
        failing: series("lighterman_destination_failing_seconds", "destination"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_knows_is_read_out_of_its_numbers() {
        let text = "HTTP/1.0 200 OK\r\n\r\n# TYPE lighterman_source_lag_seconds gauge\n\
                    lighterman_source_lag_seconds{source=\"erp\"} 1.5\n\
                    lighterman_source_lag_seconds{source=\"wms\"} NaN\n\
                    lighterman_destination_failing_seconds{destination=\"shop\"} 90\n";
        let now = read(text);
        assert_eq!(
            now.lags,
            BTreeMap::from([("erp".to_owned(), Duration::from_millis(1_500))])
        );
        assert_eq!(now.failing["shop"], Duration::from_secs(90));
    }
}
