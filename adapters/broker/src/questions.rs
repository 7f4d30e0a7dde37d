//! What a guided set-up asks of every broker.

use contract::Question;

/// Where it is.
pub const SERVERS: Question = Question::new(
    "servers",
    "Where are the broker's servers?",
    "host:port, several with commas; all but those on this machine are spoken to over TLS",
);

/// Who we are there, where it asks.
pub const USER: Question = Question::new(
    "user",
    "Which user name does the agent log in with?",
    "- = without a login",
)
.optional();

/// And what proves it.
pub const PASSWORD: Question = Question::new(
    "password",
    "And its password?",
    "the settings only say where it stands",
)
.with("user");
