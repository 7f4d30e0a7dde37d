//! The unit of systemd: the one that packages ship, for other folders, names and programs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::super::{NAME, of_folder};

/// What packages ship.
const SHIPPED: &str = include_str!("../../../../../packaging/linux/lighterman.service");
const PROGRAM: &str = "/usr/bin/lighterman";
const FOLDER: &str = "/etc/lighterman";
/// The first line of a unit that is ours to change and to remove.
const MARK: &str =
    "# Written by `lighterman service install`, and taken away by `lighterman service uninstall`.";

/// Where it is written.
pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(format!("/etc/systemd/system/{name}.service"))
}

/// A package's, where there is one.
pub(super) fn of_package(name: &str) -> Option<PathBuf> {
    ["/usr/lib/systemd/system", "/lib/systemd/system"]
        .iter()
        .map(|folder| Path::new(folder).join(format!("{name}.service")))
        .find(|path| path.exists())
}

/// Whether a unit is one that we wrote.
pub(super) fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

/// The settings' file that a unit's command names.
pub(super) fn settings(text: &str) -> Option<PathBuf> {
    let line = text.lines().find(|line| line.starts_with("ExecStart="))?;
    let (_, file) = line.split_once(" --config ")?;
    Some(PathBuf::from(file.split_whitespace().next()?))
}

/// Whether a path can stand in a unit as it is.
pub(super) fn is_plain(path: &Path) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
    path.is_absolute() && path.to_str().is_some_and(|text| text.bytes().all(plain))
}

/// The unit's text.
pub(super) fn text(name: &str, folder: &Path, program: &Path) -> String {
    let (folder_text, program) = (folder.display().to_string(), program.display().to_string());
    let mut text = format!("{MARK}\n");
    for line in SHIPPED.lines() {
        let key = line.split('=').next().unwrap_or_default();
        // systemd would make one in /etc that nobody uses.
        if key.starts_with("ConfigurationDirectory") && of_folder(folder) != Some(name) {
            continue;
        }
        let line = match key {
            "User" | "Group" | "StateDirectory" | "LogsDirectory" | "ConfigurationDirectory" => {
                format!("{key}={name}")
            }
            "EnvironmentFile" => format!("EnvironmentFile=-/etc/default/{name}"),
            // The page came with a package.
            "Documentation" => continue,
            "ExecStart" | "ConditionPathExists" => line
                .replace(PROGRAM, &program)
                .replace(FOLDER, &folder_text),
            "LoadCredential" => line.replace(NAME, name),
            _ if line.starts_with('#') => line
                .replace(FOLDER, &folder_text)
                .replace(&format!("edit {NAME}"), &format!("edit {name}"))
                .replace(&format!("\"{NAME}."), &format!("\"{name}.")),
            _ => line.to_owned(),
        };
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_unit_becomes_that_of_another_folder_name_and_program() {
        let shipped = text(NAME, Path::new(FOLDER), Path::new(PROGRAM));
        let same: Vec<&str> = SHIPPED
            .lines()
            .filter(|line| !line.starts_with("Documentation="))
            .collect();
        assert_eq!(shipped.lines().skip(1).collect::<Vec<_>>(), same);

        let other = text(
            "shop-2",
            Path::new("/srv/shop"),
            Path::new("/opt/lm/lighterman"),
        );
        for line in [
            "ExecStart=/opt/lm/lighterman run --config /srv/shop/lighterman.toml",
            "ConditionPathExists=/srv/shop/lighterman.toml",
            "User=shop-2",
            "StateDirectory=shop-2",
            "StateDirectoryMode=0750",
            "LoadCredential=shop-2.source",
            "EnvironmentFile=-/etc/default/shop-2",
        ] {
            assert!(other.lines().any(|have| have == line), "{line}: {other}");
        }
        assert!(!other.contains("/etc/lighterman") && !other.contains("ConfigurationDirectory"));
        assert!(is_ours(&other) && !is_ours(SHIPPED));
        let file = Path::new("/srv/shop/lighterman.toml").to_owned();
        assert_eq!(settings(&other), Some(file));
    }

    #[test]
    fn a_path_that_systemd_would_read_in_another_way_is_not_taken() {
        for path in [
            "/etc/a b", "/etc/%i", "relative", "/a$b", "/a\nb", "/a\"b", "/ä",
        ] {
            assert!(!is_plain(Path::new(path)), "{path:?}");
        }
        assert!(is_plain(Path::new("/opt/lighterman-1.2+x/bin_64")));
    }
}
