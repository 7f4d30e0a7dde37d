//! Files that are no files that a person wrote: folders, links to nothing, devices, and what is far too large.

use std::fs::{create_dir, remove_file, write};
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{cases_folder, caught, compare, each, refused, site, unhelpful};

/// A case: its name, and what is done to the good folder.
type Case = (&'static str, fn(&Path));

/// More than any file that a person writes.
const MANY: usize = 10 << 20;

fn replace(site: &Path, file: &str, from: &str, to: &str) {
    let path = site.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    write(path, text.replacen(from, to, 1)).unwrap();
}

/// The secret of the good settings in a file.
fn secret_in_file(site: &Path) {
    replace(
        site,
        "lighterman.toml",
        "{ env = \"SHOP_SECRET\" }",
        "{ file = \"secret\" }",
    );
}

fn secret(site: &Path, bytes: &[u8]) {
    secret_in_file(site);
    write(site.join("secret"), bytes).unwrap();
}

fn authority(site: &Path, bytes: &[u8]) {
    let url = "url = \"https://shop.example.com/stock\"\n";
    replace(
        site,
        "lighterman.toml",
        url,
        &format!("{url}ca_file = \"ca.pem\"\n"),
    );
    write(site.join("ca.pem"), bytes).unwrap();
}

fn linked(site: &Path, file: &str, to: &str) {
    remove_file(site.join(file)).unwrap();
    symlink(to, site.join(file)).unwrap();
}

fn folder_for(site: &Path, file: &str) {
    remove_file(site.join(file)).unwrap();
    create_dir(site.join(file)).unwrap();
}

const IN_SETTINGS: &[Case] = &[
    ("settings-not-there", |site| {
        remove_file(site.join("lighterman.toml")).unwrap();
    }),
    ("settings-a-folder", |site| {
        folder_for(site, "lighterman.toml");
    }),
    ("settings-a-link-to-nothing", |site| {
        linked(site, "lighterman.toml", "gone.toml");
    }),
    ("settings-a-link-to-itself", |site| {
        linked(site, "lighterman.toml", "lighterman.toml");
    }),
    ("settings-without-an-end", |site| {
        linked(site, "lighterman.toml", "/dev/zero");
    }),
    ("settings-that-cannot-be-read", |site| {
        linked(site, "lighterman.toml", "/proc/self/mem");
    }),
    ("settings-of-ten-megabytes", |site| {
        write(site.join("lighterman.toml"), "#".repeat(MANY)).unwrap();
    }),
    ("settings-of-random-bytes", |site| {
        let bytes: Vec<u8> = (0..4096_u32)
            .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
            .collect();
        write(site.join("lighterman.toml"), bytes).unwrap();
    }),
    ("mapping-not-there", |site| {
        remove_file(site.join("mapping.yaml")).unwrap();
    }),
    ("mapping-a-folder", |site| folder_for(site, "mapping.yaml")),
    ("mapping-a-link-to-nothing", |site| {
        linked(site, "mapping.yaml", "gone.yaml");
    }),
    ("mapping-a-link-to-itself", |site| {
        linked(site, "mapping.yaml", "mapping.yaml");
    }),
    ("mapping-without-an-end", |site| {
        linked(site, "mapping.yaml", "/dev/zero");
    }),
    ("mapping-of-ten-megabytes", |site| {
        write(site.join("mapping.yaml"), "#".repeat(MANY)).unwrap();
    }),
    ("mapping-in-a-file", |site| {
        replace(
            site,
            "lighterman.toml",
            "mapping.yaml",
            "skus.csv/mapping.yaml",
        );
    }),
    ("mapping-of-an-overlong-name", |site| {
        replace(
            site,
            "lighterman.toml",
            "mapping.yaml",
            &format!("{}.yaml", "m".repeat(300)),
        );
    }),
    ("secret-file-empty", |site| secret(site, b"")),
    ("secret-file-with-a-newline-alone", |site| {
        secret(site, b"\n");
    }),
    ("secret-file-with-two-lines", |site| {
        secret(
            site,
            b"whsec_dGhpcyBpcyBhIHNlY3JldCBvZiAzMiBieXRlcy4u\nand another\n",
        );
    }),
    ("secret-file-with-a-blank-at-its-end", |site| {
        secret(site, b"whsec_dGhpcyBpcyBhIHNlY3JldCBvZiAzMiBieXRlcy4u \n");
    }),
    ("secret-file-of-other-bytes", |site| {
        secret(site, b"whsec_\xff\xfe");
    }),
    ("secret-file-too-long", |site| {
        secret(site, &vec![b'x'; 70_000]);
    }),
    ("secret-file-a-link-to-nothing", |site| {
        secret_in_file(site);
        symlink("gone", site.join("secret")).unwrap();
    }),
    ("authority-empty", |site| authority(site, b"")),
    ("authority-in-der", |site| {
        authority(site, b"\x30\x82\x01\x0a\x02\x82");
    }),
    ("authority-cut-short", |site| {
        authority(site, b"-----BEGIN CERTIFICATE-----\nMIIB\n");
    }),
    ("authority-not-base64", |site| {
        authority(
            site,
            b"-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n",
        );
    }),
    ("authority-a-private-key", |site| {
        authority(
            site,
            b"-----BEGIN PRIVATE KEY-----\nMC4CAQA=\n-----END PRIVATE KEY-----\n",
        );
    }),
];

const IN_CHANNEL: &[Case] = &[
    ("channel-not-there", |site| {
        remove_file(site.join("channel.yaml")).unwrap();
    }),
    ("channel-a-folder", |site| folder_for(site, "channel.yaml")),
    ("channel-a-link-to-nothing", |site| {
        linked(site, "channel.yaml", "gone.yaml");
    }),
    ("channel-without-an-end", |site| {
        linked(site, "channel.yaml", "/dev/zero");
    }),
    ("channel-shipped-and-own", |site| {
        replace(
            site,
            "channel.toml",
            "file = \"channel.yaml\"",
            "file = \"channel.yaml\"\nchannel = \"vendure\"",
        );
    }),
    ("channel-neither-shipped-nor-own", |site| {
        replace(site, "channel.toml", "file = \"channel.yaml\"\n", "");
    }),
    ("channel-address-with-a-password", |site| {
        replace(site, "channel.toml", "https://shop", "https://me:pw@shop");
    }),
    ("channel-address-without-scheme", |site| {
        replace(site, "channel.toml", "https://shop", "shop");
    }),
    ("channel-address-without-tls", |site| {
        replace(site, "channel.toml", "https://shop", "http://shop");
    }),
    ("channel-address-of-ftp", |site| {
        replace(site, "channel.toml", "https://shop", "ftp://shop");
    }),
    ("channel-setting-misspelt", |site| {
        replace(
            site,
            "channel.toml",
            "settings.password",
            "settings.pasword",
        );
    }),
    ("channel-setting-of-another-type", |site| {
        replace(site, "channel.toml", "{ MAIN = \"1\" }", "\"MAIN\"");
    }),
    ("channel-settings-a-list", |site| {
        replace(
            site,
            "channel.toml",
            "settings.url = \"https://shop.example.com\"\n",
            "",
        );
        replace(
            site,
            "channel.toml",
            "settings.sites = { MAIN = \"1\" }\n",
            "",
        );
        let secret = "settings.password = { env = \"SHOP_PASSWORD\" }";
        replace(site, "channel.toml", secret, "settings = [\"url\"]");
    }),
    ("skus-not-there", |site| {
        remove_file(site.join("skus.csv")).unwrap();
    }),
    ("skus-a-folder", |site| folder_for(site, "skus.csv")),
    ("skus-without-an-end", |site| {
        linked(site, "skus.csv", "/dev/zero");
    }),
];

#[test]
fn what_is_no_file_of_a_person_is_refused_and_never_read_without_end() {
    let of = |config: &'static str| move |(name, change): &Case| (config, *name, *change);
    let settings = IN_SETTINGS.iter().map(of("lighterman.toml"));
    let all: Vec<_> = settings
        .chain(IN_CHANNEL.iter().map(of("channel.toml")))
        .collect();
    for entry in std::fs::read_dir(cases_folder().join("unusual")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            all.iter().any(|(_, case, _)| *case == name),
            "said of no case: {name}"
        );
    }
    let wrong = each(&all, |(config, name, change)| {
        caught(name, || {
            let site = site();
            change(site.path());
            let found = refused(site.path(), config, &[]);
            let bad =
                unhelpful(&found).map(|one| format!("unusual/{name}: says too little: {one}"));
            bad.or(compare("unusual", name, &found))
        })
    });
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
}
