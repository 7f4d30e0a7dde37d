//! Destination: signed HTTP POST of CloudEvents.
