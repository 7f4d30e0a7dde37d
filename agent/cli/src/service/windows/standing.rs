//! What the service control manager is told of us: always a state, and while one is on its way, that it goes on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use windows_service::service::{
    ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::ServiceStatusHandle;

use crate::Exit;

/// How long the manager waits for the next sign of us while we start or stop. We give one every [`SIGN_EVERY`].
const SIGN_MAX: Duration = Duration::from_secs(20);
pub(super) const SIGN_EVERY: Duration = Duration::from_secs(2);

/// Where the service stands.
pub(super) struct Standing {
    handle: ServiceStatusHandle,
    now: Mutex<Now>,
}

struct Now {
    state: ServiceState,
    /// Signs since the state is on its way.
    signs: u32,
    asked_to_stop: bool,
}

impl Standing {
    /// A service that starts, and says so.
    pub(super) fn starting(handle: ServiceStatusHandle) -> Self {
        let standing = Self {
            handle,
            now: Mutex::new(Now {
                state: ServiceState::StartPending,
                signs: 1,
                asked_to_stop: false,
            }),
        };
        standing.change(|_| {});
        standing
    }

    /// It runs, unless it was told to stop meanwhile.
    pub(super) fn runs(&self) {
        self.change(|now| {
            if now.state == ServiceState::StartPending {
                now.state = ServiceState::Running;
                now.signs = 0;
            }
        });
    }

    /// It was told to stop.
    pub(super) fn stops(&self) {
        self.change(|now| {
            now.asked_to_stop = true;
            if now.state != ServiceState::Stopped {
                now.state = ServiceState::StopPending;
                now.signs = 1;
            }
        });
    }

    /// Another sign, where one is waited for; how many signs a stop has taken so far.
    pub(super) fn sign(&self) -> u32 {
        let mut stopping = 0;
        self.change(|now| {
            if matches!(
                now.state,
                ServiceState::StartPending | ServiceState::StopPending
            ) {
                now.signs = now.signs.saturating_add(1);
            }
            if now.state == ServiceState::StopPending {
                stopping = now.signs;
            }
        });
        stopping
    }

    /// It has ended. The process may be gone as soon as the manager knows.
    pub(super) fn ended(&self, exit: Exit) {
        let mut now = self.now();
        now.state = ServiceState::Stopped;
        now.signs = 0;
        let code = match exit {
            // Who asked for the end gets it; the manager would start again what ends with an error.
            _ if now.asked_to_stop => ServiceExitCode::Win32(0),
            Exit::Ok => ServiceExitCode::Win32(0),
            Exit::Trouble => ServiceExitCode::ServiceSpecific(1),
            Exit::Settings => ServiceExitCode::ServiceSpecific(2),
            Exit::State => ServiceExitCode::ServiceSpecific(3),
        };
        self.report(&now, code);
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        let mut now = self.now();
        if now.state == ServiceState::Stopped {
            return;
        }
        change(&mut now);
        self.report(&now, ServiceExitCode::Win32(0));
    }

    /// Under the lock, so that the manager hears of states in their order.
    fn report(&self, now: &Now, exit_code: ServiceExitCode) {
        let on_its_way = now.signs > 0;
        let controls_accepted = if now.state == ServiceState::Running {
            ServiceControlAccept::STOP
                | ServiceControlAccept::SHUTDOWN
                | ServiceControlAccept::PRESHUTDOWN
        } else {
            ServiceControlAccept::empty()
        };
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: now.state,
            controls_accepted,
            exit_code,
            checkpoint: now.signs,
            wait_hint: if on_its_way { SIGN_MAX } else { Duration::ZERO },
            process_id: None,
        };
        // Nobody else could be told.
        let _ = self.handle.set_service_status(status);
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
