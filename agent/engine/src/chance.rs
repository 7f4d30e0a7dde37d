//! Chance in waits, so that many agents do not come back at one moment: the system's, or a seed's.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Where chance comes from; the system's by default.
#[derive(Clone, Default)]
pub struct Chance(Option<Arc<Mutex<StdRng>>>);

impl Chance {
    /// The same numbers for the same seed: a simulation's.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// 0 to 1000.
    pub(crate) fn of_thousand(&self) -> u16 {
        self.with(
            |rng| rng.random_range(0..=1_000),
            || rand::rng().random_range(0..=1_000),
        )
    }

    /// A seed for whatever takes one.
    pub(crate) fn seed(&self) -> u64 {
        self.with(RngExt::random, || rand::rng().random())
    }

    fn with<T>(&self, seeded: impl FnOnce(&mut StdRng) -> T, system: impl FnOnce() -> T) -> T {
        match &self.0 {
            // A number that is half drawn does no harm.
            Some(rng) => seeded(&mut rng.lock().unwrap_or_else(PoisonError::into_inner)),
            None => system(),
        }
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.as_ref().map_or("system", |_| "seeded");
        write!(f, "Chance({name})")
    }
}
