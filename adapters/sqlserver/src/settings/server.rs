//! Where the database's servers listen.

use contract::Section;

/// The port of a server that nobody moved.
const PORT: u16 = 1433;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Its SQL Browser is asked for the port of this instance.
    pub(crate) instance: Option<String>,
}

pub(super) fn server(section: &mut Section<'_>) -> Option<Server> {
    let host = section.required_host("host", "`host = \"127.0.0.1\"`");
    let node = section.get("host");
    let has_port = section.get("port");
    let port = section.number("port", 1, 65_535);
    let instance = section.text("instance");
    if instance.is_none() {
        section.here("port", PORT);
    }
    let (host, node) = (host?, node?);
    // What SQL Server's own tools call this machine.
    let host = if [".", "(local)"].contains(&host) {
        "localhost"
    } else {
        host
    };
    if let Some((host, instance)) = host.split_once('\\') {
        let found = "the name of an instance is a setting of its own".to_owned();
        let fix = format!("host = \"{host}\" and instance = \"{instance}\"");
        section.wrong("host", node, found, Some(fix));
        return None;
    }
    if let (Some(node), Some(_)) = (has_port, instance) {
        let found = "an instance's port is the one that its SQL Browser names".to_owned();
        let fix = "set port or instance, not both".to_owned();
        section.wrong("port", node, found, Some(fix));
        return None;
    }
    if has_port.is_some() && port.is_none() {
        return None;
    }
    Some(Server {
        host: host.to_owned(),
        port: u16::try_from(port.unwrap_or(u64::from(PORT))).ok()?,
        instance: instance.map(str::to_owned),
    })
}

/// Another server that may have the database: `host`, `host:port` or `host\instance`.
pub(super) fn partner(section: &mut Section<'_>) -> Result<Option<Server>, ()> {
    let (text, node) = (section.text("failover_host"), section.get("failover_host"));
    let (Some(text), Some(node)) = (text, node) else {
        return Ok(None);
    };
    let of = |host: &str, port: Option<u16>, instance: Option<&str>| {
        (!host.is_empty()).then(|| Server {
            host: host.to_owned(),
            port: port.unwrap_or(PORT),
            instance: instance.map(str::to_owned),
        })
    };
    let found = if let Some((host, instance)) = text.split_once('\\') {
        of(host, None, Some(instance))
    } else if let Some((host, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        match rest.strip_prefix(':') {
            Some(port) => port
                .parse()
                .ok()
                .and_then(|port| of(host, Some(port), None)),
            None if rest.is_empty() => of(host, None, None),
            None => None,
        }
    } else {
        match text.split_once(':') {
            // More than one colon: an address of version 6.
            Some((_, rest)) if rest.contains(':') => of(text, None, None),
            Some((host, port)) => port
                .parse()
                .ok()
                .and_then(|port| of(host, Some(port), None)),
            None => of(text, None, None),
        }
    };
    if found.is_none() {
        let found = format!("`{text}` names no server");
        let fix = "\"host\", \"host:port\" or \"host\\\\instance\"".to_owned();
        section.wrong("failover_host", node, found, Some(fix));
    }
    found.map(Some).ok_or(())
}

/// Whether the connection never leaves this machine.
pub(crate) fn is_local(host: &str) -> bool {
    let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
    host == "localhost" || host.parse().is_ok_and(is_loopback)
}
