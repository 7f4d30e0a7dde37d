//! A certificate for 127.0.0.1, signed by itself.

use std::path::Path;
use std::process::Command;

use tds_server::wire::Certificate;

/// Makes one with the `openssl` command. Its text is for clients that shall trust it.
pub fn certificate() -> (Certificate, String) {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .current_dir(folder.path())
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split(' '))
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args("-keyout key.pem -out chain.pem".split(' '))
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let read = |name: &str| std::fs::read_to_string(Path::join(folder.path(), name)).unwrap();
    let chain = read("chain.pem");
    (
        Certificate::from_pem(&chain, &read("key.pem")).unwrap(),
        chain,
    )
}
