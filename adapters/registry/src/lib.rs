//! The one list of sources and destinations.
