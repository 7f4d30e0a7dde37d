//! Change data capture passes the suite of every source.

use std::sync::Arc;

use async_trait::async_trait;
use contract::{LogPos, Position, Source, TableName};
use harness::suite::source::{SourceBackend, run};
use tds_server::wire::Gate;

use crate::common::text;
use crate::site::Site;

struct Backend {
    site: Site,
    never: Gate,
}

#[async_trait]
impl SourceBackend for Backend {
    fn table(&self) -> TableName {
        TableName::new("dbo", "suite")
    }

    fn source(&self) -> Arc<dyn Source> {
        self.site.source()
    }

    async fn commit(&self, statements: &[&str]) {
        let sql = format!("BEGIN TRAN; {}; COMMIT TRAN", statements.join("; "));
        self.site.run(&sql).await;
        self.site.captured().await;
    }

    /// The scripted server counts nothing: it says no word for so long.
    fn endless(&self) -> String {
        self.site.silence("maxrecursion", &self.never);
        "with n(i) as (select cast(1 as bigint) union all select i + 1 from n) select count(*) from n \
         option (maxrecursion 0)"
            .to_owned()
    }

    fn beyond(&self) -> Position {
        let far = "0000000000000001:0:00ffffff00000000ffff:0000000000000000:0000000000000000";
        Position::border(1, LogPos::try_new(far).unwrap())
    }
}

pub async fn what_every_source_must_do(mut site: Site) {
    let columns =
        "sku nvarchar(100) NOT NULL PRIMARY KEY, qty decimal(18,4) NULL, note nvarchar(max) NULL";
    site.table("suite", columns).await;
    site.cdc().await;
    site.captured().await;
    // Behind this nothing has happened.
    let start = "SELECT MAX(m.start_lsn) FROM cdc.lsn_time_mapping AS m";
    let start = site.one(start).await.unwrap();
    site.set("start", text(start));
    let never = Gate::closed();
    run(&Backend { site, never }).await;
}
