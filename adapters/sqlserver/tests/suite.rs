//! Change data capture over the scripted server passes the suite of every source.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use common::world::World;
use contract::{LogPos, Position, Source, TableName};
use harness::suite::source::{SourceBackend, run};
use tds_server::model::lsn;
use tds_server::wire::{Fault, FaultKind, Gate, Point};

struct Backend {
    world: World,
    never: Gate,
}

#[async_trait]
impl SourceBackend for Backend {
    fn table(&self) -> TableName {
        self.world.tables[0].table.clone()
    }

    fn source(&self) -> Arc<dyn Source> {
        self.world.source()
    }

    async fn commit(&self, statements: &[&str]) {
        let sql = format!("BEGIN TRAN; {}; COMMIT TRAN", statements.join("; "));
        self.world.database.run(&sql).unwrap();
        self.world.database.capture_all();
    }

    /// The scripted server counts nothing: it says no word for so long.
    fn endless(&self) -> String {
        let silence = FaultKind::Stall(Point::Start, self.never.clone());
        let fault = Fault::new(silence).on("maxrecursion");
        self.world.server.handle().fault(fault);
        "with n(i) as (select cast(1 as bigint) union all select i + 1 from n) select count(*) from n \
         option (maxrecursion 0)"
            .to_owned()
    }

    fn beyond(&self) -> Position {
        let far = "0000000000000001:0:00ffffff00000000ffff:0000000000000000:0000000000000000";
        Position::border(1, LogPos::try_new(far).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let mut world = World::new();
    let sql = "CREATE TABLE dbo.suite (sku nvarchar(100) NOT NULL PRIMARY KEY, qty decimal(18,4), \
               note nvarchar(max))";
    world.database.run(sql).unwrap();
    world.tables.push(common::captured("dbo", "suite"));
    let world = world.cdc();
    // Behind this nothing has happened.
    world.database.idle_marker().unwrap();
    let place = lsn(world.database.max_lsn().unwrap());
    let start = format!("0x{}", contract::value::hex(&place));
    let world = world.set("start", common::text(start));
    let never = Gate::closed();
    run(&Backend { world, never }).await;
}
