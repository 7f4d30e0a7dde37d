//! What is agreed before the login: encryption above all.

use super::reader::{Malformed, Reader};

/// What the server says about encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// It can, and does what the client wants: all, only the login, or nothing.
    Off,
    /// It can, and answers that all is encrypted unless the client cannot.
    On,
    /// It cannot.
    #[default]
    NotSupported,
    /// It must: a client that cannot is sent away.
    Required,
}

/// What encryption came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreed {
    Plain,
    LoginOnly,
    All,
    /// One side must and the other cannot: the server ends the connection after its answer.
    Nothing,
}

/// What the client said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prelogin {
    pub(super) encryption: u8,
    pub(super) instance: String,
    pub(super) federated: Option<u8>,
    pub(super) traced: bool,
}

impl Prelogin {
    pub(super) fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut found = Self {
            encryption: 2,
            ..Self::default()
        };
        let mut options = Reader::new(body);
        let mut first = true;
        loop {
            let token = options.u8()?;
            if token == 0xFF {
                break;
            }
            if first && token != 0x00 {
                return Err(Malformed(
                    "the first option before the login is not the version".into(),
                ));
            }
            first = false;
            let at = usize::from(options.u16_big()?);
            let length = usize::from(options.u16_big()?);
            let mut data = Reader::new(body);
            data.take(at)?;
            let bytes = data.take(length)?;
            let mut data = Reader::new(bytes);
            match token {
                0x01 => found.encryption = data.u8()?,
                0x02 => {
                    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
                    found.instance = String::from_utf8_lossy(name).into_owned();
                }
                0x05 => found.traced = true,
                0x06 => found.federated = Some(data.u8()?),
                // Version, thread, several answers at once, nonce: of no use here. Others are to be
                // passed over.
                _ => {}
            }
        }
        if first {
            return Err(Malformed("nothing is said before the login".into()));
        }
        Ok(found)
    }
}

/// The byte that answers a client about encryption, and what comes of it.
pub(super) fn agree(client: u8, server: Encryption) -> Result<(u8, Agreed), Malformed> {
    const OFF: u8 = 0;
    const ON: u8 = 1;
    const CANNOT: u8 = 2;
    const MUST: u8 = 3;
    // The high bit says that the client has a certificate of its own, which is not asked for.
    let client = client & 0x7F;
    if client > MUST {
        return Err(Malformed(format!("{client} as the wish for encryption")));
    }
    let wants = matches!(client, ON | MUST);
    Ok(match (client, server) {
        (CANNOT, Encryption::Required) => (MUST, Agreed::Nothing),
        (CANNOT, _) => (CANNOT, Agreed::Plain),
        (_, Encryption::NotSupported) if wants => (CANNOT, Agreed::Nothing),
        (_, Encryption::NotSupported) => (CANNOT, Agreed::Plain),
        (_, Encryption::Required) => (if wants { ON } else { MUST }, Agreed::All),
        (_, Encryption::On) => (ON, Agreed::All),
        (_, Encryption::Off) if wants => (ON, Agreed::All),
        (_, Encryption::Off) => (OFF, Agreed::LoginOnly),
    })
}

/// The answer.
pub(super) fn answer(
    version: [u8; 4],
    encryption: u8,
    instance_is_right: bool,
    federated: Option<u8>,
) -> Vec<u8> {
    let mut options: Vec<(u8, Vec<u8>)> = vec![
        (0x00, [&version[..], &[0, 0]].concat()),
        (0x01, vec![encryption]),
        (0x02, vec![u8::from(!instance_is_right)]),
        (0x03, Vec::new()),
        (0x04, vec![0]),
    ];
    if let Some(federated) = federated {
        options.push((0x06, vec![federated]));
    }
    let mut table = Vec::new();
    let mut data = Vec::new();
    let table_bytes = options.len() * 5 + 1;
    for (token, bytes) in options {
        table.push(token);
        // Both are small: an answer has a few dozen bytes.
        for number in [table_bytes + data.len(), bytes.len()] {
            table.extend(u16::try_from(number).unwrap_or_default().to_be_bytes());
        }
        data.extend(bytes);
    }
    table.push(0xFF);
    table.extend(data);
    table
}
