//! The command line that Windows keeps of a service: ours is made and read here alone.

use std::path::PathBuf;

/// What a service of ours runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// The program.
    pub(super) program: PathBuf,
    /// The folder of its settings.
    pub(super) folder: PathBuf,
}

/// What the program is told, so that it is the service `name` with the settings in `folder`.
pub(super) fn arguments(name: &str, folder: &str) -> [String; 6] {
    ["service", "run", "--name", name, "--folder", folder].map(str::to_owned)
}

/// Reads a command line; nothing where it is another program's.
pub(super) fn read(line: &str) -> Option<Image> {
    let words = split(line);
    let (program, told) = words.split_first()?;
    match told {
        [service, run, name_is, _, folder_is, folder]
            if service == "service"
                && run == "run"
                && name_is == "--name"
                && folder_is == "--folder" =>
        {
            Some(Image {
                program: PathBuf::from(program),
                folder: PathBuf::from(folder),
            })
        }
        _ => None,
    }
}

/// Splits a command line as programs on Windows do: backslashes count only before a quote.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut slashes = 0;
    for letter in line.chars() {
        if letter == '\\' {
            slashes += 1;
            continue;
        }
        if slashes > 0 {
            let kept = if letter == '"' { slashes / 2 } else { slashes };
            word.get_or_insert_default()
                .extend(std::iter::repeat_n('\\', kept));
        }
        match letter {
            '"' if slashes % 2 == 1 => word.get_or_insert_default().push('"'),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' | '\t' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
        slashes = 0;
    }
    if slashes > 0 {
        word.get_or_insert_default()
            .extend(std::iter::repeat_n('\\', slashes));
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_line_is_read_back() {
        let line = r#""C:\Program Files\Lighterman\lighterman.exe" service run --name Lighterman --folder C:\ProgramData\Lighterman"#;
        let image = read(line).unwrap();
        assert_eq!(
            image.program,
            PathBuf::from(r"C:\Program Files\Lighterman\lighterman.exe")
        );
        assert_eq!(image.folder, PathBuf::from(r"C:\ProgramData\Lighterman"));
        let line = r#"C:\l.exe service run --name A --folder "D:\our ERP\\""#;
        assert_eq!(read(line).unwrap().folder, PathBuf::from(r"D:\our ERP\"));
        let made = arguments("A", r"D:\x").join(" ");
        assert_eq!(
            read(&format!("l.exe {made}")).unwrap().folder,
            PathBuf::from(r"D:\x")
        );
    }

    #[test]
    fn another_programs_line_is_not_ours() {
        for line in [
            "",
            r"C:\Windows\System32\spoolsv.exe",
            r#""C:\x\lighterman.exe" run --config C:\x"#,
            r"C:\l.exe service run --name A --folder C:\x more",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn quotes_and_backslashes_are_read_as_windows_writes_them() {
        assert_eq!(
            split(r#"a "b c" d\e "f \"g\"" "" \"#),
            ["a", "b c", r"d\e", r#"f "g""#, "", r"\"]
        );
    }
}
