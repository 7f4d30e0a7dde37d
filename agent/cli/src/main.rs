//! The lighterman command.
fn main() {}
