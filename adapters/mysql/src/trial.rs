//! Whether the server gives us its log, tried without reading any of it.

use std::time::Duration;

use contract::SourceError;
use futures_util::StreamExt as _;
use mysql_async::BinlogStreamRequest;

use crate::connect::{self, Rights};
use crate::errors::classify;
use crate::server::Log;
use crate::settings::Settings;

/// How long the first event may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Asks for the log from its end on, without waiting for more. Under another server id than ours: the
/// server ends the connection that has the same one, which may be the running agent's.
pub(crate) async fn try_log(settings: &Settings, log: &Log) -> Result<(), SourceError> {
    let doing = "read the log";
    let connection = connect::connect(settings, Rights::Log).await?;
    let request = BinlogStreamRequest::new(settings.server_id ^ 0x4000_0000)
        .with_non_blocking()
        .with_filename(log.file.as_bytes())
        .with_pos(log.end);
    let asking = async {
        let stream = connection.conn.get_binlog_stream(request).await;
        let mut stream = stream.map_err(|error| classify(doing, &error))?;
        let first = stream.next().await;
        // The server may have ended the connection itself, with its last word.
        let _ = stream.close().await;
        match first {
            Some(Err(error)) => Err(classify(doing, &error)),
            Some(Ok(_)) | None => Ok(()),
        }
    };
    tokio::time::timeout(ANSWER_MAX, asking)
        .await
        .unwrap_or_else(|_| {
            Err(SourceError::Disconnected(format!(
                "{doing}: no answer within {} s",
                ANSWER_MAX.as_secs()
            )))
        })
}
