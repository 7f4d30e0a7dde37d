use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const SMALL: Limits = Limits {
    keep_days: 3,
    file_bytes_max: 100,
    total_bytes_max: 350,
};

#[test]
fn a_day_and_a_full_file_begin_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::new(folder.path(), SMALL);
    let noon = at("2026-11-27T12:00:00Z");
    files.write(&[b'a'; 60], noon).unwrap();
    files.write(&[b'b'; 60], noon).unwrap();
    files.write(b"c\n", at("2026-11-27T23:59:59.999Z")).unwrap();
    files.write(b"d\n", at("2026-11-28T00:00:00Z")).unwrap();
    assert_eq!(
        names(folder.path()),
        [
            "lighterman-2026-11-27.2.jsonl",
            "lighterman-2026-11-27.jsonl",
            "lighterman-2026-11-28.jsonl",
        ]
    );
    // Another start goes on in the newest.
    let mut files = Files::new(folder.path(), SMALL);
    files.write(b"e\n", at("2026-11-28T00:00:01Z")).unwrap();
    let text = fs::read_to_string(folder.path().join("lighterman-2026-11-28.jsonl"));
    assert_eq!(text.unwrap(), "d\ne\n");
}

#[test]
fn old_days_go_and_the_total_is_never_more_than_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    // Not ours, though it looks like it: left alone.
    for foreign in [
        "lighterman-2020-01-01.jsonl.gz",
        "lighterman-20200101.jsonl",
    ] {
        fs::write(folder.path().join(foreign), [b'x'; 900]).unwrap();
    }
    let mut files = Files::new(folder.path(), SMALL);
    let mut now = at("2026-11-20T00:00:00Z");
    for turn in 0..200 {
        files.write(&[b'l'; 37], now).unwrap();
        now += jiff::SignedDuration::from_mins(97);
        let ours = files.known().unwrap();
        let total: u64 = ours.iter().map(|(_, bytes)| bytes).sum();
        assert!(total <= SMALL.total_bytes_max, "{turn}: {total}");
        let days = day(now).since(ours[0].0.day).unwrap().get_days();
        assert!(days <= 3, "{turn}: {ours:?}");
    }
    assert_eq!(names(folder.path()).len(), files.known().unwrap().len() + 2);
}

#[test]
fn a_line_that_was_cut_stays_alone() {
    let folder = tempfile::tempdir().unwrap();
    let now = at("2026-11-27T12:00:00Z");
    let path = folder.path().join("lighterman-2026-11-27.jsonl");
    fs::write(&path, "{\"half").unwrap();
    Files::new(folder.path(), SMALL)
        .write(b"{}\n", now)
        .unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\n{}\n");
}

#[test]
fn a_file_that_is_taken_away_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::new(folder.path(), SMALL);
    files.write(b"a\n", at("2026-11-27T12:00:00Z")).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    files.write(b"b\n", at("2026-11-27T12:00:06Z")).unwrap();
    let text = fs::read_to_string(folder.path().join("lighterman-2026-11-27.jsonl"));
    assert_eq!(text.unwrap(), "b\n");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_and_later_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("logs");
    fs::write(&place, "a file stands in the way").unwrap();
    let mut files = Files::new(&place, SMALL);
    let now = at("2026-11-27T12:00:00Z");
    assert!(files.write(b"a\n", now).is_err());
    fs::remove_file(&place).unwrap();
    files.write(b"b\n", now).unwrap();
    assert_eq!(names(&place), ["lighterman-2026-11-27.jsonl"]);
}
