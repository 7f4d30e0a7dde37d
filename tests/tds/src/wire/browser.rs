//! SQL Browser: tells clients over UDP at which port an instance listens.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where every one of them listens, so that each test needs an address of its own.
const PORT: u16 = 1434;
/// How soon it notices that it is to end.
const LOOK: Duration = Duration::from_millis(20);

type Asked = Arc<Mutex<Vec<Vec<u8>>>>;

/// A browser. It ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    asked: Asked,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Browser {
    /// Starts one that answers a question as it is told to, or not at all.
    pub fn start(
        host: Ipv4Addr,
        mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind((host, PORT))?;
        socket.set_read_timeout(Some(LOOK))?;
        let (asked, stop) = (Asked::default(), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (asked.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name("sql-browser".to_owned())
            .spawn(move || {
                let mut question = [0; 64];
                while !stopped.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut question) else {
                        continue;
                    };
                    let question = question.get(..length).unwrap_or_default();
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(question.to_vec());
                    if let Some(answer) = answer(question) {
                        // Datagrams may be lost.
                        let _ = socket.send_to(&answer, from);
                    }
                }
            })?;
        Ok(Self {
            asked,
            stop,
            thread: Some(thread),
        })
    }

    /// What it was asked, each question as it came.
    pub fn asked(&self) -> Vec<Vec<u8>> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The answer that an instance listens at a port.
pub fn named_port(instance: &str, port: u16) -> Vec<u8> {
    let text = format!(
        "ServerName;SCRIPTED;InstanceName;{instance};IsClustered;No;Version;16.0.1000.6;tcp;{port};;"
    );
    let mut answer = vec![5];
    answer.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    answer.extend(text.as_bytes());
    answer
}
