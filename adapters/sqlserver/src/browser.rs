//! Where an instance listens, by the SQL Browser of its machine.
//!
//! <https://learn.microsoft.com/en-us/openspecs/windows_protocols/mc-sqlr/1ea6e25f-bff9-4364-ba21-5dc449a601b7>

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use contract::SourceError;
use tokio::net::UdpSocket;

use crate::errors::{broken, denied};

/// Where every SQL Browser listens.
pub(crate) const PORT: u16 = 1434;
/// Asks for one instance.
const QUESTION: u8 = 4;
const ANSWER: u8 = 5;
/// The most that an answer about one instance may have.
const ANSWER_BYTES_MAX: usize = 1_024 + 3;
/// A datagram that is lost is sent again, so often.
const TIMES: usize = 3;
const EACH_MAX: Duration = Duration::from_secs(1);
const ABSENT: &str = "its SQL Browser does not answer: see that it runs, and that UDP port 1434 is not closed on \
     the way; or set port in place of instance";

/// The port of `instance` on `host`.
pub(crate) async fn port(
    host: &str,
    browser: u16,
    instance: &str,
    doing: &str,
) -> Result<u16, SourceError> {
    let found = tokio::net::lookup_host((host, browser)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|error| broken(doing, error))?.collect();
    let mut why = "the name stands for no address".to_owned();
    for _ in 0..TIMES {
        for address in &addresses {
            match ask(*address, instance).await {
                Ok(Some(answer)) => {
                    return read(&answer, instance).ok_or_else(|| {
                        denied(
                            format!("{doing}: its SQL Browser knows no instance {instance} with a port of TCP"),
                            "set instance to the name of one that listens on TCP (SQL Server Configuration \
                             Manager), or set port",
                        )
                    });
                }
                Ok(None) => ABSENT.clone_into(&mut why),
                // Where it does not run, its machine may say so; Windows has another word for that.
                Err(error)
                    if [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset]
                        .contains(&error.kind()) =>
                {
                    ABSENT.clone_into(&mut why);
                }
                Err(error) => why = format!("ask its SQL Browser: {error}"),
            }
        }
    }
    Err(broken(doing, why))
}

/// One question; `None` = no answer in time.
async fn ask(address: SocketAddr, instance: &str) -> std::io::Result<Option<Vec<u8>>> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Answers of others are not taken.
    socket.connect(address).await?;
    let mut question = vec![QUESTION];
    question.extend(instance.as_bytes());
    socket.send(&question).await?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    match tokio::time::timeout(EACH_MAX, socket.recv(&mut answer)).await {
        Ok(length) => {
            answer.truncate(length?);
            Ok(Some(answer))
        }
        Err(_) => Ok(None),
    }
}

/// The port in an answer: names and values between semicolons.
fn read(answer: &[u8], instance: &str) -> Option<u16> {
    let [kind, low, high, text @ ..] = answer else {
        return None;
    };
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    let parts: Vec<&str> = text.split(';').collect();
    let value = |name: &str| {
        let mut pairs = parts.chunks_exact(2);
        pairs.find_map(|pair| (pair.first()? == &name).then_some(*pair.get(1)?))
    };
    let named = value("InstanceName")?.eq_ignore_ascii_case(instance);
    let port = value("tcp")?.parse().ok()?;
    (*kind == ANSWER && named && port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(text: &str) -> Vec<u8> {
        let mut answer = vec![ANSWER];
        answer.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
        answer.extend(text.as_bytes());
        answer
    }

    const TEXT: &str = "ServerName;SHOP;InstanceName;ERP;IsClustered;No;Version;15.0.2000.5;tcp;49172;np;\
         \\\\SHOP\\pipe\\MSSQL$ERP\\sql\\query;;";

    #[test]
    fn the_port_is_the_one_of_the_instance() {
        assert_eq!(read(&answer(TEXT), "erp"), Some(49_172));
        assert_eq!(read(&answer(TEXT), "crm"), None);
        assert_eq!(read(&answer(&TEXT.replace("49172", "0")), "ERP"), None);
        assert_eq!(read(&answer(&TEXT.replace("tcp;49172;", "")), "ERP"), None);
        let mut cut = answer(TEXT);
        cut.truncate(40);
        assert_eq!(read(&cut, "ERP"), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_harm(bytes: Vec<u8>) {
            let _ = read(&bytes, "ERP");
        }
    }

    #[tokio::test]
    async fn a_browser_that_answers_names_the_port() {
        let browser = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let place = browser.local_addr().unwrap();
        let answering = async {
            let mut question = [0; 64];
            let (length, from) = browser.recv_from(&mut question).await.unwrap();
            assert_eq!(&question[..length], b"\x04ERP");
            browser.send_to(&answer(TEXT), from).await.unwrap();
        };
        let asking = port("127.0.0.1", place.port(), "ERP", "connect");
        let (found, ()) = tokio::join!(asking, answering);
        assert_eq!(found, Ok(49_172));
    }
}
