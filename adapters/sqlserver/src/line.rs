//! A place for a connection.

use std::time::Duration;

use contract::SourceError;

use crate::connect::{self, Rights};
use crate::session::{SILENCE_MAX, Session};
use crate::settings::Settings;

/// A place for a connection: opened when it is needed, and anew when the one there cannot be used again.
#[derive(Debug)]
pub(crate) struct Line {
    settings: Settings,
    session: Option<Session>,
    silence_max: Duration,
}

impl Line {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            session: None,
            silence_max: SILENCE_MAX,
        }
    }

    /// Another limit for the server's silence, on each connection from now on.
    pub(crate) fn silence_max(&mut self, limit: Duration) {
        self.silence_max = limit;
    }

    /// A connection that can be asked, and whether it is another one than before.
    pub(crate) async fn session(&mut self) -> Result<(&mut Session, bool), SourceError> {
        let usable = self.session.take().filter(Session::is_usable);
        let fresh = usable.is_none();
        let session = if let Some(session) = usable {
            session
        } else {
            let mut session = connect::connect(&self.settings, Rights::Read).await?;
            session.silence_max(self.silence_max);
            session
        };
        Ok((self.session.insert(session), fresh))
    }

    /// Gives the connection up.
    pub(crate) fn close(&mut self) {
        self.session = None;
    }
}
