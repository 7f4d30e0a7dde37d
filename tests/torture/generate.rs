//! The history of a seed. The same seed gives the same one, whatever is played of it.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::database::Kind;
use crate::destination;
use crate::fault::{self, Fault};
use crate::step::{Ddl, Statement, Step};

const ITEMS: u32 = 60;
const ORDERS: u32 = 80;
const WAREHOUSES: [&str; 3] = ["NORTH", "SOUTH", "PORT"];
/// Names as people write them.
const WORDS: [&str; 8] = [
    "Bolt",
    "Schraube M8 \u{d8}",
    "Vis à tôle",
    "\u{65e5}\u{672c}",
    "O'Ring",
    "5\" pipe",
    "a\\b",
    "\u{1f529}",
];
const TABLES: [&str; 4] = ["item", "stock", "movement", "orders"];

/// Decides what happens next.
pub struct Generator {
    rng: StdRng,
    kind: Kind,
    destination: destination::Kind,
    changes: u32,
    movements: u32,
    fresh: u32,
    columns: u32,
}

/// A seed's history: what is there before the agent, and what happens then.
pub struct History {
    pub opening: Vec<Statement>,
    pub steps: Vec<Step>,
}

impl Generator {
    pub fn new(seed: u64, kind: Kind, destination: destination::Kind) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            kind,
            destination,
            changes: 0,
            movements: 0,
            fresh: 0,
            columns: 0,
        }
    }

    /// A whole history of about so many changes and so many faults; `killed` = SIGKILL only.
    pub fn history(mut self, changes: u32, faults: u32, killed: bool) -> History {
        let opening = self.opening();
        let mut steps = Vec::new();
        let every = changes / faults.max(1);
        let mut next = self.rng.random_range(1..=every.max(1));
        let mut lost_log = false;
        while self.changes < changes {
            steps.push(self.step());
            if self.changes >= next {
                next = self.changes + self.rng.random_range(every / 2..=every * 3 / 2 + 1);
                let wait = self.rng.random_range(0..200);
                if wait > 20 {
                    steps.push(Step::Wait(wait));
                }
                let fault = if killed {
                    Fault::kill()
                } else {
                    fault::choose(&mut self.rng, self.kind, self.destination, &mut lost_log)
                };
                steps.push(Step::Fault(fault));
            }
        }
        // More while it catches up.
        for _ in 0..2 {
            let arrivals = self.rng.random_range(1..150);
            steps.push(Step::Wait(arrivals));
            steps.push(Step::Fault(Fault::kill()));
        }
        History { opening, steps }
    }

    fn opening(&mut self) -> Vec<Statement> {
        let mut all = Vec::new();
        for n in 0..ITEMS {
            let (sku, name) = (format!("S{n}"), "opening".to_owned());
            all.push(Statement::PutItem { sku, name });
        }
        for n in 0..ITEMS {
            for warehouse in WAREHOUSES {
                let (sku, quantity) = (format!("S{n}"), self.quantity());
                all.push(Statement::PutStock {
                    sku,
                    warehouse,
                    quantity,
                });
            }
        }
        all.extend((0..ORDERS).map(|id| Statement::PutOrder { id, status: "O" }));
        all
    }

    fn quantity(&mut self) -> String {
        let (whole, rest) = (
            self.rng.random_range(-50..5_000),
            self.rng.random_range(0..10_000),
        );
        format!("{whole}.{rest:04}")
    }

    fn step(&mut self) -> Step {
        match self.rng.random_range(0..100) {
            0..2 => Step::Alter(self.ddl()),
            2..5 => {
                let (changes, movements) = (self.changes, self.movements);
                let statements = self.transaction();
                // What was taken back has happened to nobody; its ids may come again, as they do in databases.
                self.changes = changes;
                self.movements = movements;
                Step::Rollback(statements)
            }
            _ => Step::Commit(self.transaction()),
        }
    }

    /// One that changes a few rows or, now and then, more than fit a batch.
    fn transaction(&mut self) -> Vec<Statement> {
        let count = match self.rng.random_range(0..300) {
            0 => 3_000,
            1..8 => 300,
            _ => self.rng.random_range(1..20),
        };
        let mut statements = Vec::new();
        while statements.len() < count {
            self.statements(&mut statements);
        }
        self.changes += u32::try_from(statements.len()).unwrap();
        statements
    }

    fn statements(&mut self, to: &mut Vec<Statement>) {
        let n = self.rng.random_range(0..ITEMS);
        let sku = format!("S{n}");
        let warehouse = WAREHOUSES[self.rng.random_range(0..WAREHOUSES.len())];
        let id = self.rng.random_range(0..ORDERS);
        let status = ["O", "P", "S", "C"][self.rng.random_range(0..4)];
        let quantity = self.quantity();
        let word = WORDS[self.rng.random_range(0..WORDS.len())];
        let name = format!("{word} {}", self.rng.random_range(0..1_000_000));
        match self.rng.random_range(0..100) {
            0..25 => {
                self.movements += 1;
                let id = self.movements;
                to.push(Statement::Move {
                    id,
                    sku,
                    warehouse,
                    quantity,
                });
            }
            25..66 => to.push(Statement::PutStock {
                sku,
                warehouse,
                quantity,
            }),
            66..74 => to.push(Statement::DropStock { sku, warehouse }),
            // It goes and comes back within one transaction.
            74..76 => {
                to.push(Statement::DropStock {
                    sku: sku.clone(),
                    warehouse,
                });
                to.push(Statement::PutStock {
                    sku,
                    warehouse,
                    quantity,
                });
            }
            76..84 => to.push(Statement::PutItem { sku, name }),
            84..86 => to.push(Statement::DropItem { sku }),
            86..88 => {
                self.fresh += 1;
                let to_sku = format!("R{}", self.fresh);
                to.push(Statement::RenameItem {
                    from: sku,
                    to: to_sku,
                });
            }
            // Two items take each other's key.
            88..90 => {
                self.fresh += 1;
                let between = format!("X{}", self.fresh);
                let other = format!("S{}", (n + 1) % ITEMS);
                for (from, into) in [(&sku, &between), (&other, &sku), (&between, &other)] {
                    let (from, into) = (from.clone(), into.clone());
                    to.push(Statement::RenameItem { from, to: into });
                }
            }
            90..92 => to.push(Statement::DropOrder { id }),
            _ => to.push(Statement::PutOrder { id, status }),
        }
    }

    fn ddl(&mut self) -> Ddl {
        let table = TABLES[self.rng.random_range(0..TABLES.len())];
        let old = self.rng.random_range(0..=self.columns);
        let what = self.rng.random_range(0..4);
        self.columns += 1;
        let new = self.columns;
        match what {
            0 => Ddl::Drop { table, column: old },
            1 => Ddl::Rename {
                table,
                from: old,
                to: new,
            },
            _ => Ddl::Add { table, column: new },
        }
    }
}
