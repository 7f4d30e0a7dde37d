//! A private certificate authority.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority, and a server certificate it signed for `localhost` and 127.0.0.1.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Makes both, with the `openssl` command.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        openssl(
            at,
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
        );
        openssl(
            at,
            "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        );
        fs::write(
            at.join("names"),
            "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
        )
        .unwrap();
        openssl(
            at,
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
        );
        Self { folder }
    }

    /// One more certificate of the authority: `<name>.crt` and `<name>.key`, for a common name and
    /// alternative names as openssl writes them.
    pub fn sign(&self, name: &str, common_name: &str, names: &str) {
        self.sign_between(
            name,
            common_name,
            names,
            ["20200101000000Z", "20491231235959Z"],
        );
    }

    /// As [`Certificates::sign`], no longer valid.
    pub fn sign_expired(&self, name: &str, common_name: &str, names: &str) {
        self.sign_between(
            name,
            common_name,
            names,
            ["20200101000000Z", "20200102000000Z"],
        );
    }

    /// As [`Certificates::sign`], not valid yet.
    pub fn sign_not_yet(&self, name: &str, common_name: &str, names: &str) {
        self.sign_between(
            name,
            common_name,
            names,
            ["20480101000000Z", "20491231235959Z"],
        );
    }

    fn sign_between(&self, name: &str, common_name: &str, names: &str, [start, end]: [&str; 2]) {
        let at = self.folder.path();
        // Only this command takes the dates themselves. It keeps books, which nobody reads.
        fs::write(
            at.join(format!("{name}.cnf")),
            format!(
                "[ca]\ndefault_ca=authority\n[authority]\ndatabase={name}.index\n\
                 new_certs_dir=.\nrand_serial=yes\ncertificate=ca.crt\nprivate_key=ca.key\n\
                 default_md=sha256\npolicy=any\nx509_extensions=own\n[any]\n\
                 commonName=supplied\n[own]\nsubjectAltName={names}\n"
            ),
        )
        .unwrap();
        fs::write(at.join(format!("{name}.index")), "").unwrap();
        openssl(
            at,
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj \
                 /CN={common_name} -keyout {name}.key -out {name}.csr"
            ),
        );
        openssl(
            at,
            &format!(
                "ca -batch -notext -config {name}.cnf -startdate {start} -enddate {end} \
                 -in {name}.csr -out {name}.crt"
            ),
        );
    }

    /// `ca.crt`, `server.crt`, `server.key`, or those of a name given to [`Certificates::sign`].
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl is installed (apt-get install -y openssl)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
