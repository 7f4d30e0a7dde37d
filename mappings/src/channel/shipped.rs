//! The channels inside the binary.

use contract::finding::nearest;

/// Every shipped file: its name, and its text.
pub static SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/channels.rs"));

/// The file and text of a shipped channel.
///
/// # Errors
/// Why there is none, and the nearest name.
pub fn shipped(name: &str) -> Result<(String, &'static str), String> {
    let named = |(file, _): &&(&str, &str)| file.strip_suffix(".yaml") == Some(name);
    if let Some((file, text)) = SHIPPED.iter().find(named) {
        return Ok((format!("channels/{file}"), text));
    }
    let names = SHIPPED
        .iter()
        .filter_map(|(file, _)| file.strip_suffix(".yaml"));
    let near = nearest(name, names).map(|name| format!("; did you mean `{name}`?"));
    Err(format!(
        "no channel `{name}` is shipped{}",
        near.unwrap_or_default()
    ))
}
