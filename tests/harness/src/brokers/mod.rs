//! Message brokers as private servers, read back without the product's own clients.

mod mosquitto;
mod nats;
mod rabbit;
mod redis;
mod tansu;

use std::path::Path;

pub use mosquitto::Mosquitto;
pub use nats::{Nats, NatsMessage};
pub use rabbit::Rabbit;
pub use redis::Redis;
pub use tansu::Tansu;

/// Lines of a broker's own settings file that a test adds, kept beside its data.
const SETTINGS: &str = "settings.conf";

fn keep_settings(folder: &Path, lines: &str) {
    std::fs::write(folder.join(SETTINGS), lines).unwrap();
}

/// What every broker's handle can do with its process.
macro_rules! life {
    ($broker:ident, $url:literal) => {
        impl $broker {
            /// The TCP port on 127.0.0.1.
            pub fn port(&self) -> u16 {
                self.server.port()
            }

            /// Where clients connect to.
            pub fn url(&self) -> String {
                format!($url, self.server.port())
            }

            /// Stops it at once, as a crash would.
            pub fn stop(&mut self) {
                self.server.stop();
            }

            /// Stops it in order, as a service manager does.
            ///
            /// # Panics
            /// When it does not stop.
            pub fn shut_down(&mut self) {
                self.server.shut_down();
            }

            /// Starts it again on the same port and data.
            ///
            /// # Panics
            /// When it runs, or does not start.
            pub fn start_again(&mut self) {
                self.server.start_again();
            }

            /// What it has logged since its last start.
            pub fn log(&self) -> String {
                self.server.log()
            }
        }
    };
}
use life;
