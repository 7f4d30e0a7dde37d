//! `lighterman map functions`

use mappings::{FORMS, FUNCTIONS};

use crate::{Exit, out};

/// Lists functions and forms.
pub(crate) fn functions(json: bool) -> Exit {
    if json {
        let functions = FUNCTIONS.iter().map(|info| {
            let (example, gives) = info.example;
            serde_json::json!({
                "name": info.name, "meaning": info.meaning, "example": example, "gives": gives,
            })
        });
        let forms = FORMS.iter().map(|info| {
            serde_json::json!({
                "name": info.name, "meaning": info.meaning, "example": info.example,
            })
        });
        let all: Vec<serde_json::Value> = functions.chain(forms).collect();
        out(&serde_json::Value::Array(all).to_string());
        return Exit::Ok;
    }
    out("Functions: an expression, and what it gives");
    for info in FUNCTIONS {
        let (example, gives) = info.example;
        out(&format!("  {:<16}{}", info.name, info.meaning));
        out(&format!("{:18}{example} = {gives}", ""));
    }
    out("");
    out("Forms: read when the file is loaded; they take names, or look at all lines");
    for info in FORMS {
        out(&format!("  {:<16}{}", info.name, info.meaning));
        out(&format!("{:18}{}", "", info.example));
    }
    Exit::Ok
}
