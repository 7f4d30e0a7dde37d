//! A certificate for 127.0.0.1 and the authority that signed it.

use std::process::Command;

use tds_server::wire::Certificate;

/// Makes both with the `openssl` command. The text is the authority's, for clients that shall trust it.
pub fn certificate() -> (Certificate, String) {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let made = Command::new("openssl")
            .current_dir(folder.path())
            .args(arguments.split(' '))
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
    );
    openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout own.key -out own.csr");
    std::fs::write(
        folder.path().join("names"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
    )
    .unwrap();
    openssl(
        "x509 -req -in own.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names \
         -out own.crt",
    );
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    (
        Certificate::from_pem(&read("own.crt"), &read("own.key")).unwrap(),
        read("ca.crt"),
    )
}
