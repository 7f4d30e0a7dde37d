//! What the MQTT destination does, a file for each part of it. One program, so that it is linked once.

mod mqtt;
mod reader;
mod suite;
