//! How a client is set up: authorities, a certificate of our own, a proxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::{Secret, Secrets, Section};
use reqwest::{Certificate, Client, Identity, Proxy, Url};

/// How to reach an API.
#[derive(Debug, Clone)]
pub struct Settings {
    ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    own: Option<(PathBuf, PathBuf)>,
    proxy: Option<Url>,
    proxy_login: Option<(String, Secret)>,
    connect_timeout: Duration,
}

impl Settings {
    /// Reads `ca_file`, `cert_file`, `key_file`, `proxy`, `proxy_user`, `proxy_password` and
    /// `connect_timeout_seconds`. `encrypted` = the address is https.
    pub fn read(section: &mut Section<'_>, secrets: &dyn Secrets, encrypted: bool) -> Self {
        let mut file = |key: &'static str| {
            let path = section.text(key).map(PathBuf::from);
            if let (false, Some(node)) = (encrypted, section.get(key)) {
                section.wrong(
                    key,
                    node,
                    "only means something with an https address".to_owned(),
                    Some(format!("https in the address, or leave {key} out")),
                );
            }
            path
        };
        let (ca_file, cert, key) = (file("ca_file"), file("cert_file"), file("key_file"));
        let there = if cert.is_some() {
            "cert_file"
        } else {
            "key_file"
        };
        if let (true, Some(node)) = (cert.is_some() != key.is_some(), section.get(there)) {
            section.wrong(
                there,
                node,
                "a certificate and its key belong together".to_owned(),
                Some("set cert_file and key_file".to_owned()),
            );
        }
        let proxy = section.text("proxy").and_then(|text| match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none() => Some(url),
            _ => {
                let node = section.get("proxy")?;
                let fix = Some("http://proxy.example.com:3128, without user and password (proxy_user, proxy_password)".to_owned());
                section.wrong("proxy", node, "is no proxy's address".to_owned(), fix);
                None
            }
        });
        let user = section.text("proxy_user").map(str::to_owned);
        let password = section.secret("proxy_password", secrets);
        // One alone would be left out without a word.
        for (key, other) in [
            ("proxy_user", "proxy_password"),
            ("proxy_password", "proxy_user"),
        ] {
            if let (Some(node), None) = (section.get(key), section.get(other)) {
                let found = format!("`{key}` and `{other}` belong together");
                section.wrong(key, node, found, Some(format!("set {other}, too")));
            }
        }
        let connect = section.number_or("connect_timeout_seconds", 1, 60, 10);
        Self {
            ca_file,
            own: cert.zip(key),
            proxy,
            proxy_login: user.zip(password),
            connect_timeout: Duration::from_secs(connect),
        }
    }

    /// The client. `encrypted` = the address is https.
    ///
    /// # Errors
    /// What is wrong with a file, or that the machine has no authorities.
    pub fn client(&self, encrypted: bool, timeout: Duration) -> Result<Client, String> {
        let mut builder = Client::builder()
            .connect_timeout(self.connect_timeout.min(timeout))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("lighterman/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &self.proxy {
            let mut through = Proxy::all(proxy.clone())
                .map_err(|error| format!("proxy: {}", crate::root(&error)))?;
            if let Some((user, password)) = &self.proxy_login {
                through = through.basic_auth(user, password.expose());
            }
            builder = builder.proxy(through);
        }
        if !encrypted {
            // Nothing is encrypted, so a machine without any authorities will do.
            builder = builder.tls_certs_only([]);
        } else if let Some(file) = &self.ca_file {
            let authorities =
                Certificate::from_pem_bundle(&read("ca_file", file)?).map_err(|error| {
                    format!("read ca_file {}: {}", file.display(), crate::root(&error))
                })?;
            if authorities.is_empty() {
                return Err(format!(
                    "ca_file {}: there is no certificate in it",
                    file.display()
                ));
            }
            builder = builder.tls_certs_merge(authorities);
        }
        if let Some((cert, key)) = &self.own {
            let mut pem = read("cert_file", cert)?;
            pem.push(b'\n');
            pem.extend(read("key_file", key)?);
            let own = Identity::from_pem(&pem).map_err(|_| {
                format!(
                    "cert_file {} and key_file {} are not a certificate and its key in PEM",
                    cert.display(),
                    key.display()
                )
            })?;
            builder = builder.identity(own);
        }
        builder.build().map_err(|error| {
            format!(
                "set up the HTTP client: {} (does this machine have certificate authorities? \
                 Install ca-certificates, or set ca_file)",
                crate::root(&error)
            )
        })
    }
}

fn read(what: &str, file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("read {what} {}: {error}", file.display()))
}
