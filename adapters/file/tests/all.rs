//! What the file destination does, a file for each part of it. One program, so that it is linked once.

mod files;
mod suite;
