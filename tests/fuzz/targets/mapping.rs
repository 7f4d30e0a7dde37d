//! Mapping files: any text ends in a mapping or in findings with their places; a mapping that loads takes any rows.
#![no_main]

use std::sync::Arc;

use fuzz::{Input, rows, told};
use libfuzzer_sys::fuzz_target;
use mappings::{Catalogue, LoadContext, MappingSet, Which, packs, trial};

// Behind the last zero byte stands what rows are made of.
fuzz_target!(|data: &[u8]| {
    let cut = data.iter().rposition(|byte| *byte == 0);
    let (text, rest) = cut.map_or((data, &[][..]), |cut| (&data[..cut], &data[cut + 1..]));
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let catalogue = Catalogue::default();
    let context = LoadContext {
        company: Which::First,
        catalogue: &catalogue,
        packs: &packs::shipped,
    };
    if let Err(findings) = trial::test_file("fuzz.yaml", text, context) {
        assert!(!findings.is_empty(), "refused, and nobody says why");
        // A carriage return alone ends a line, too (YAML 1.2.2, 5.4).
        let lines = text.split(['\n', '\r']).count() + 1;
        for finding in &findings {
            assert!(!finding.found.is_empty());
            if let Some(place) = &finding.place
                && place.file == "fuzz.yaml"
            {
                assert!(place.line <= lines, "line {} of {lines}", place.line);
            }
        }
        return;
    }
    let Ok(mapping) = mappings::Mapping::load_with("fuzz.yaml", text, context) else {
        return;
    };
    assert!(!mapping.digest().is_empty());
    let Ok(set) = MappingSet::new(vec![mapping]) else {
        return;
    };
    let set = Arc::new(set);
    let changes = rows::changes(&set.all_tables(), &mut Input::new(rest));
    let _ = told::told(&set, &changes);
});
