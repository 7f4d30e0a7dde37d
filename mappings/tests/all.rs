//! What mapping files mean, a file for each part of it. One program, so that it is linked once.

mod broken;
mod catalogue;
mod channel;
mod channels;
mod common;
mod convert;
mod docs;
mod editor;
mod expressions;
mod golden;
mod keys;
mod language;
mod load;
mod mapping;
mod packs;
mod properties;
mod questions;
mod waits;
