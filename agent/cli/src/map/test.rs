//! `lighterman map test`

use std::path::{Path, PathBuf};

use contract::Finding;
use mappings::trial::TestResult;

use super::files::{self, MappingFile};
use crate::{Exit, out, refuse, say};

/// A file, and what became of its tests or what is wrong with it.
type Tested = (MappingFile, Result<Vec<TestResult>, Vec<Finding>>);

/// Runs the tests of files; says what was not as expected.
pub(crate) fn test(paths: &[PathBuf], config: &Path, json: bool) -> Exit {
    let files = match files::read_or_named(paths, config, None) {
        Ok(files) => files,
        Err(findings) => return refuse(&findings, json),
    };
    let results: Vec<Tested> = files
        .into_iter()
        .map(|file| {
            let result = file.test();
            (file, result)
        })
        .collect();
    if json {
        print_json(&results);
    } else {
        print(&results);
    }
    let bad = results.iter().any(|(_, result)| result.is_err());
    let failed = results
        .iter()
        .flat_map(|(_, result)| result.iter().flatten())
        .any(|test| !test.failures.is_empty());
    match (bad, failed) {
        (true, _) => Exit::Settings,
        (false, true) => Exit::Trouble,
        (false, false) => Exit::Ok,
    }
}

fn print(results: &[Tested]) {
    let (mut passed, mut failed) = (0, 0);
    for (file, result) in results {
        let tests = match result {
            Ok(tests) => tests,
            Err(findings) => {
                say(findings);
                continue;
            }
        };
        let good = tests.iter().filter(|test| test.failures.is_empty()).count();
        passed += good;
        failed += tests.len() - good;
        let name = &file.name;
        match (tests.len(), tests.len() - good) {
            (0, _) => out(&format!("WARN {name}: has no tests")),
            (all, 0) => out(&format!("ok   {name}: {all} passed")),
            (all, bad) => out(&format!("FAIL {name}: {bad} of {all} failed")),
        }
        for test in tests {
            say(&test.failures);
        }
    }
    out(&format!("{passed} passed, {failed} failed"));
}

fn print_json(results: &[Tested]) {
    let files: Vec<serde_json::Value> = results
        .iter()
        .map(|(file, result)| match result {
            Ok(tests) => {
                let tests: Vec<serde_json::Value> = tests
                    .iter()
                    .map(|test| {
                        serde_json::json!({
                            "name": test.name,
                            "place": test.place,
                            "passed": test.failures.is_empty(),
                            "failures": test.failures,
                        })
                    })
                    .collect();
                serde_json::json!({ "file": file.name, "tests": tests })
            }
            Err(findings) => serde_json::json!({ "file": file.name, "findings": findings }),
        })
        .collect();
    out(&serde_json::json!({ "files": files }).to_string());
}
