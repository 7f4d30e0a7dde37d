//! The login of a client.

use super::handler::Login;
use super::reader::{Malformed, Reader, text};

/// A login with what the answer to it needs.
pub(super) struct Greeting {
    pub(super) login: Login,
    /// Whether features were asked for, so that the answer must name those that are there.
    pub(super) features: Vec<u8>,
    /// The random number of the client that a federated login must send back signed.
    pub(super) nonce: bool,
}

/// Reads it.
pub(super) fn read(body: &[u8]) -> Result<Greeting, Malformed> {
    let mut from = Reader::new(body);
    let length = from.length()?;
    if length != body.len() {
        return Err(Malformed(format!(
            "a login of {length} bytes in {}",
            body.len()
        )));
    }
    let version = from.u32()?;
    if version < 0x730A_0003 {
        return Err(Malformed(format!(
            "version {version:#010x} of the protocol; 7.3 and 7.4 are spoken here"
        )));
    }
    let packet_size = from.u32()?;
    // The library's version, the process, the connection.
    from.take(12)?;
    let _flags_1 = from.u8()?;
    let flags_2 = from.u8()?;
    let type_flags = from.u8()?;
    let flags_3 = from.u8()?;
    // The zone and the language of the client.
    from.take(8)?;

    let mut next = |what: &str| piece(&mut from, body, 2, what);
    let client_host = text(next("the host")?)?;
    let user = text(next("the user")?)?;
    let password = clear(next("the password")?)?;
    let program = text(next("the program")?)?;
    let server = text(next("the server")?)?;
    let extension = piece(&mut from, body, 1, "the extension")?;
    let mut next = |what: &str| piece(&mut from, body, 2, what);
    let library = text(next("the library")?)?;
    let language = text(next("the language")?)?;
    let database = text(next("the database")?)?;
    // The network card.
    from.take(6)?;
    let sspi_at = usize::from(from.u16()?);
    let sspi_short = usize::from(from.u16()?);
    piece(&mut from, body, 2, "the file")?;
    if !piece(&mut from, body, 2, "the new password")?.is_empty() {
        return Err(Malformed("a new password is not taken".to_owned()));
    }
    let sspi_long = from.length()?;
    let sspi_length = if sspi_short == 0xFFFF && sspi_long != 0 {
        sspi_long
    } else {
        sspi_short
    };
    let sspi = if flags_2 & 0x80 != 0 || sspi_length != 0 {
        let mut bytes = Reader::new(body);
        bytes.take(sspi_at)?;
        Some(bytes.take(sspi_length)?.to_vec())
    } else {
        None
    };

    let mut greeting = Greeting {
        login: Login {
            connection: 0,
            user,
            password,
            client_host,
            program,
            server,
            library,
            database,
            language,
            version,
            packet_size,
            read_only: type_flags & 0x20 != 0,
            encrypted: false,
            instance: String::new(),
            sspi,
            sspi_reply: None,
            token: None,
        },
        features: Vec::new(),
        nonce: false,
    };
    if flags_3 & 0x10 != 0 {
        let mut at = Reader::new(extension);
        let mut from = Reader::new(body);
        from.take(at.length()?)?;
        features(&mut from, &mut greeting)?;
    }
    Ok(greeting)
}

/// Reads the place and length of a piece, and takes it from the body.
fn piece<'a>(
    from: &mut Reader<'_>,
    body: &'a [u8],
    unit: usize,
    what: &str,
) -> Result<&'a [u8], Malformed> {
    let at = usize::from(from.u16()?);
    let length = usize::from(from.u16()?) * unit;
    if length == 0 {
        return Ok(&[]);
    }
    let mut whole = Reader::new(body);
    whole
        .take(at)
        .and_then(|_| whole.take(length))
        .map_err(|malformed| Malformed(format!("{what} of the login: {malformed}")))
}

/// A password travels with its bits turned and flipped.
fn clear(bytes: &[u8]) -> Result<String, Malformed> {
    let bytes: Vec<u8> = bytes
        .iter()
        .map(|byte| (byte ^ 0xA5).rotate_right(4))
        .collect();
    // What is wrong with it is not told, for that would tell of it.
    text(&bytes).map_err(|_| Malformed("the password of the login is not UTF-16".to_owned()))
}

fn features(from: &mut Reader<'_>, greeting: &mut Greeting) -> Result<(), Malformed> {
    loop {
        let feature = from.u8()?;
        if feature == 0xFF {
            return Ok(());
        }
        let length = from.length()?;
        let mut data = Reader::new(from.take(length)?);
        if feature == 0x02 {
            let library = data.u8()? >> 1;
            if library != 1 {
                return Err(Malformed(format!(
                    "a federated login by library {library}; only one with a token is taken"
                )));
            }
            let token_length = data.length()?;
            greeting.login.token = Some(text(data.take(token_length)?)?);
            greeting.nonce = !data.is_empty();
        }
        if greeting.features.len() < 32 {
            greeting.features.push(feature);
        }
    }
}
