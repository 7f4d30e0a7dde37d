//! Who is logged in. In memory alone: a restart, and settings that change, end every session.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};

use super::settings::Role;

/// A session that nobody used for so long is over,
const IDLE_MAX: Duration = Duration::from_mins(30);
/// and so is every one after this.
const AGE_MAX: Duration = Duration::from_hours(12);
/// Sessions at once, of all and of one person; the one that was used least lately ends.
const SESSIONS_MAX: usize = 64;
const OF_ONE_MAX: usize = 8;

/// What a session goes by here; the cookie's own text is kept nowhere.
type Id = [u8; digest::SHA256_OUTPUT_LEN];

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    id: Id,
    pub(super) name: String,
    pub(super) role: Role,
    /// What each of their forms carries.
    pub(super) form_token: String,
    /// A proxy says who it is; there is no login here to end.
    pub(super) by_proxy: bool,
}

impl Visitor {
    /// Whether they may change something.
    pub(super) fn is_operator(&self) -> bool {
        self.role == Role::Operator
    }
}

/// What came of what somebody asked, shown once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) is_good: bool,
    pub(super) text: String,
}

struct Session {
    visitor: Visitor,
    began: Instant,
    used: Instant,
    message: Option<Message>,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        let since = |then| now.saturating_duration_since(then);
        since(self.used) >= IDLE_MAX || since(self.began) >= AGE_MAX
    }
}

/// The sessions there are.
pub(super) struct Sessions {
    key: hmac::Key,
    open: Mutex<HashMap<Id, Session>>,
}

/// The system gives no random numbers.
#[derive(Debug)]
pub(super) struct NoRandom;

fn random() -> Result<String, NoRandom> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| NoRandom)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn id_of(text: &str) -> Id {
    let mut id = Id::default();
    for (to, from) in id
        .iter_mut()
        .zip(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    {
        *to = *from;
    }
    id
}

impl Sessions {
    pub(super) fn new() -> Result<Self, NoRandom> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self {
            key: key.map_err(|_| NoRandom)?,
            open: Mutex::default(),
        })
    }

    /// Whether two texts are the same, in a time that tells nothing of where they differ.
    pub(super) fn are_same(&self, given: &str, wanted: &str) -> bool {
        let wanted = hmac::sign(&self.key, wanted.as_bytes());
        hmac::verify(&self.key, given.as_bytes(), wanted.as_ref()).is_ok()
    }

    /// Begins a session: the text of its cookie.
    pub(super) fn begin(&self, name: &str, role: Role, now: Instant) -> Result<String, NoRandom> {
        let token = random()?;
        self.insert(id_of(&token), name, role, false, now)?;
        Ok(token)
    }

    /// Whose cookie it is. A look that the page takes by itself keeps no session alive.
    pub(super) fn find(&self, token: &str, by_itself: bool, now: Instant) -> Option<Visitor> {
        let id = id_of(token);
        let mut open = self.open();
        let session = open.get_mut(&id).filter(|session| !session.is_over(now))?;
        if !by_itself {
            session.used = now;
        }
        Some(session.visitor.clone())
    }

    /// The session of somebody whom a proxy names.
    pub(super) fn of_proxy(
        &self,
        name: &str,
        role: Role,
        now: Instant,
    ) -> Result<Visitor, NoRandom> {
        // No cookie has a zero in it.
        let id = id_of(&format!("proxy\0{}\0{name}", role.word()));
        if let Some(session) = self.open().get_mut(&id)
            && !session.is_over(now)
        {
            session.used = now;
            return Ok(session.visitor.clone());
        }
        self.insert(id, name, role, true, now)
    }

    fn insert(
        &self,
        id: Id,
        name: &str,
        role: Role,
        by_proxy: bool,
        now: Instant,
    ) -> Result<Visitor, NoRandom> {
        let visitor = Visitor {
            id,
            name: name.to_owned(),
            role,
            form_token: random()?,
            by_proxy,
        };
        let mut open = self.open();
        open.retain(|_, session| !session.is_over(now));
        let of_one = |session: &Session| session.visitor.name == name;
        while open.values().filter(|session| of_one(session)).count() >= OF_ONE_MAX {
            end_oldest(&mut open, of_one);
        }
        while open.len() >= SESSIONS_MAX {
            end_oldest(&mut open, |_| true);
        }
        let session = Session {
            visitor: visitor.clone(),
            began: now,
            used: now,
            message: None,
        };
        open.insert(id, session);
        Ok(visitor)
    }

    /// Ends a session.
    pub(super) fn end(&self, visitor: &Visitor) {
        self.open().remove(&visitor.id);
    }

    /// Leaves a message for the next page.
    pub(super) fn say(&self, visitor: &Visitor, message: Message) {
        if let Some(session) = self.open().get_mut(&visitor.id) {
            session.message = Some(message);
        }
    }

    /// The message that was left.
    pub(super) fn said(&self, visitor: &Visitor) -> Option<Message> {
        self.open().get_mut(&visitor.id)?.message.take()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Id, Session>> {
        // Nothing is left half done under this lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end_oldest(open: &mut HashMap<Id, Session>, which: impl Fn(&Session) -> bool) {
    let oldest = open
        .iter()
        .filter(|(_, session)| which(session))
        .min_by_key(|(_, session)| session.used)
        .map(|(id, _)| *id);
    if let Some(id) = oldest {
        open.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_session_ends_when_it_is_not_used_and_after_half_a_day() {
        let sessions = Sessions::new().unwrap();
        let began = Instant::now();
        let token = sessions.begin("anna", Role::Viewer, began).unwrap();
        assert_eq!(token.len(), 43, "256 random bits");
        assert!(sessions.find("another", false, began).is_none());
        // Looks of the page itself do not count as use.
        let at = |minutes: u32| began + MINUTE * minutes;
        assert!(sessions.find(&token, true, at(29)).is_some());
        assert!(sessions.find(&token, false, at(30)).is_none());

        let token = sessions.begin("anna", Role::Viewer, began).unwrap();
        for minutes in (0..12 * 60).step_by(20) {
            assert!(
                sessions.find(&token, false, at(minutes)).is_some(),
                "{minutes}"
            );
        }
        assert!(sessions.find(&token, false, at(12 * 60)).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_one_person_ends_only_their_own() {
        let sessions = Sessions::new().unwrap();
        let now = Instant::now();
        let begin = |name: &str, second: u64| {
            let at = now + Duration::from_secs(second);
            sessions.begin(name, Role::Viewer, at).unwrap()
        };
        let other = begin("other", 0);
        let first = begin("anna", 1);
        for second in 2..10 {
            begin("anna", second);
        }
        let at = now + Duration::from_secs(10);
        assert!(sessions.find(&first, false, at).is_none());
        assert!(sessions.find(&other, false, at).is_some());
        for n in 0..200 {
            begin(&format!("user {n}"), 11);
        }
        assert_eq!(sessions.open().len(), SESSIONS_MAX);
    }

    #[test]
    fn a_message_is_shown_once_and_who_logged_out_is_out() {
        let sessions = Sessions::new().unwrap();
        let now = Instant::now();
        let token = sessions.begin("anna", Role::Operator, now).unwrap();
        let visitor = sessions.find(&token, false, now).unwrap();
        assert!(sessions.are_same(&visitor.form_token.clone(), &visitor.form_token));
        assert!(!sessions.are_same("", &visitor.form_token));
        let message = Message {
            is_good: true,
            text: "done".to_owned(),
        };
        sessions.say(&visitor, message.clone());
        assert_eq!(sessions.said(&visitor), Some(message));
        assert_eq!(sessions.said(&visitor), None);
        sessions.end(&visitor);
        assert!(sessions.find(&token, false, now).is_none());
        // A role that the proxy takes away is another session.
        let one = sessions.of_proxy("eve", Role::Operator, now).unwrap();
        let two = sessions.of_proxy("eve", Role::Viewer, now).unwrap();
        assert!(one.is_operator() && !two.is_operator() && one.form_token != two.form_token);
    }
}
