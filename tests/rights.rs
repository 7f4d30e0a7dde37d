//! What other users of the machine can do with what the agent keeps, and what a link that somebody left leads it to.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::receiver::{Faults, Receiver};
use harness::site::Site;

use crate::metrics::{holds, site};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The agent, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the agent where new files are as open as whoever makes them lets them be.
fn run(site: &Site) -> Running {
    let script = "umask 000; exec \"$0\" run --config lighterman.toml";
    let child = Command::new("sh")
        .args(["-c", script, BINARY])
        .current_dir(site.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_users_read_nothing_of_it_whatever_the_umask_and_the_folder() {
    for made_before in [false, true] {
        let receiver = Receiver::start(1, Faults::default()).await;
        let (site, _) = site(&receiver, "");
        let state = site.path().join("state");
        std::fs::remove_dir_all(&state).unwrap_or_default();
        if made_before {
            std::fs::create_dir(&state).unwrap();
            std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let running = run(&site);
        assert!(holds(&receiver, "A", "1").await);
        let open = mode(&state) & 0o007;
        assert_eq!(open, if made_before { 0o005 } else { 0 });
        let mut looked = 0;
        for folder in [state.clone(), state.join("logs")] {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if name.starts_with("lighterman.db") || folder.ends_with("logs") {
                    assert_eq!(mode(&path) & 0o027, 0, "{name}: {:o}", mode(&path));
                    looked += 1;
                }
            }
        }
        assert!(looked >= 2, "{looked}");
        assert_eq!(mode(&state.join("logs")) & 0o027, 0);
        drop(running);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_in_the_state_folder_is_refused_and_what_it_leads_to_stays() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, _) = site(&receiver, "");
    let state = site.path().join("state");
    let _ = std::fs::remove_dir_all(&state);
    std::fs::create_dir(&state).unwrap();
    let victim = site.path().join("victim");
    for name in [
        "lighterman.pid",
        "lighterman.lock",
        "lighterman.db",
        "lighterman.db-wal",
    ] {
        std::fs::write(&victim, "mine").unwrap();
        let link = state.join(name);
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        let output = Command::new("timeout")
            .args(["-k", "5", "60", BINARY, "run"])
            .current_dir(site.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{name}: {said}");
        assert!(
            said.contains("symbolic link") && said.contains(name),
            "{name}: {said}"
        );
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine");
        std::fs::remove_file(&link).unwrap();
    }
}
