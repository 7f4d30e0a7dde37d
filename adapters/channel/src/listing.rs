//! A page of what the API has.

use std::time::{Duration, Instant};

use contract::{EventType, Gate, ListedPage, NotListed};
use mappings::channel::{Came, Turned, hide};

use crate::api::Api;

/// How long until a page is asked for again that did not come.
const AGAIN: Duration = Duration::from_secs(5);

impl Api {
    pub(crate) async fn page(
        &self,
        event_type: EventType,
        after: Option<&str>,
        gate: &dyn Gate,
    ) -> Result<ListedPage, NotListed> {
        let not = |cause: &str, again| NotListed {
            cause: hide(cause, &self.session.secrets()),
            again,
        };
        let request = self
            .channel
            .list_request(event_type, after)
            .map_err(|cause| not(&cause, None))?;
        let deadline = Instant::now() + self.traits.request_timeout;
        let mut stale = None;
        // A second time with a new login, as a delivery would.
        for _ in 0..2 {
            let exchanged = self.exchange(&request, gate, deadline, stale).await;
            let exchanged = exchanged.map_err(|cause| not(&cause, Some(AGAIN)))?;
            let answered = match exchanged.came {
                Came::Answer(answered) => answered,
                Came::NotSent(cause) | Came::Lost(cause) => return Err(not(&cause, Some(AGAIN))),
            };
            match self.channel.listed(event_type, after, &answered) {
                Turned::Page(mut page) => {
                    let secrets = self.session.secrets();
                    for entry in &mut page.entries {
                        entry.holds = hide(&entry.holds, &secrets);
                    }
                    return Ok(page);
                }
                Turned::Not(why) => return Err(not(&why.cause, why.again)),
                Turned::Login => stale = Some(exchanged.generation),
            }
        }
        Err(not("the API does not take our credentials", None))
    }
}
