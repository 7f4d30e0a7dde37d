//! ERPNext's tables on a real MariaDB, as a bench makes them: postings, a rename, a cancelled document
//! and a column that comes with an update, while the agent runs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use harness::agent::{Agent, command};
use harness::flow::Flow;
use harness::mariadb::MariadbServer;
use harness::receiver::{Faults, Receiver};

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");

/// The columns that every table of Frappe's begins with, then those that the pack reads, in Frappe's own
/// types.
fn tables(database: &str) -> String {
    let head =
        "`name` varchar(140) NOT NULL PRIMARY KEY, `creation` datetime(6), `modified` datetime(6),
        `modified_by` varchar(140), `owner` varchar(140), `docstatus` tinyint(4) NOT NULL DEFAULT 0,
        `idx` int(8) NOT NULL DEFAULT 0";
    let quantities = |names: &[&str]| {
        let all = names.iter();
        let all = all.map(|name| format!("`{name}` decimal(21,9) NOT NULL DEFAULT 0"));
        all.collect::<Vec<_>>().join(", ")
    };
    let of_bin = quantities(&[
        "actual_qty",
        "planned_qty",
        "indented_qty",
        "ordered_qty",
        "projected_qty",
        "reserved_qty",
        "reserved_qty_for_production",
        "reserved_qty_for_sub_contract",
    ]);
    let of_entry = quantities(&["actual_qty", "qty_after_transaction"]);
    let like = "ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET=utf8mb4 COLLATE=utf8mb4_unicode_ci";
    format!(
        "CREATE DATABASE `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; USE `{database}`;
         CREATE TABLE `tabItem` ({head}, `item_name` varchar(140), `stock_uom` varchar(140),
            `is_stock_item` int(1) NOT NULL DEFAULT 1, `disabled` int(1) NOT NULL DEFAULT 0,
            `is_sales_item` int(1) NOT NULL DEFAULT 1, `safety_stock` decimal(21,9) NOT NULL DEFAULT 0,
            `description` longtext) {like};
         CREATE TABLE `tabWarehouse` ({head}, `company` varchar(140), `is_group` int(1) NOT NULL DEFAULT 0,
            `disabled` int(1) NOT NULL DEFAULT 0, `parent_warehouse` varchar(140)) {like};
         CREATE TABLE `tabBin` ({head}, `item_code` varchar(140), `warehouse` varchar(140),
            `stock_uom` varchar(140), {of_bin},
            UNIQUE `unique_item_warehouse` (`item_code`, `warehouse`)) {like};
         CREATE TABLE `tabStock Entry` ({head}, `purpose` varchar(140)) {like};
         CREATE TABLE `tabStock Ledger Entry` ({head}, `item_code` varchar(140), `warehouse` varchar(140),
            `posting_date` date, `posting_time` time(6), `voucher_type` varchar(140),
            `voucher_no` varchar(140), `voucher_detail_no` varchar(140), {of_entry},
            `stock_uom` varchar(140), `company` varchar(140), `batch_no` varchar(140),
            `is_cancelled` int(1) NOT NULL DEFAULT 0) {like};"
    )
}

const OPENING: &str = "
    INSERT INTO `tabItem` (name, stock_uom, safety_stock, description)
        VALUES ('SKU-1', 'Nos', 2.5, 'a'), ('Größe \u{2192} 10', 'Kg', 0, NULL);
    INSERT INTO `tabWarehouse` (name, company, is_group, parent_warehouse)
        VALUES ('Stores - ABC', 'ABC Ltd', 0, 'All - ABC'), ('All - ABC', 'ABC Ltd', 1, NULL);
    INSERT INTO `tabBin` (name, item_code, warehouse, stock_uom, actual_qty, reserved_qty)
        VALUES ('b1', 'SKU-1', 'Stores - ABC', 'Nos', 80.123456789, 29),
               ('b2', 'Größe \u{2192} 10', 'stores - abc', NULL, 3, 0);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erpnext_stock_flows_from_mariadb() {
    // As a bench names them.
    let database = "_1bd3e0294da19198";
    let server = MariadbServer::shared();
    server.run(&tables(database)).await;
    server.run(&format!("USE `{database}`; {OPENING}")).await;
    let run = async |sql: &str| server.run(&format!("USE `{database}`; {sql}")).await;
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(1, Faults::default()).await;
    let settings = format!(
        "[[source]]\nname = \"erp\"\ntype = \"mysql\"\nhost = \"127.0.0.1\"\nport = {}\n\
         user = \"root\"\nmappings = [\"site.yaml\"]\n\
         [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\nretry_first_ms = 20\n",
        server.port(),
        receiver.url()
    );
    std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
    let site = format!(
        "mapping: 1\nextends: erpnext-stock\nsettings:\n  database: \"{database}\"\n  \
         time_zone: \"Europe/Berlin\"\n"
    );
    std::fs::write(folder.path().join("site.yaml"), site).unwrap();
    let (_, shown) = command(BINARY, folder.path(), &["check"]);
    assert!(!shown.contains("FAIL"), "{shown}");
    let agent = Agent::start(BINARY, folder.path());
    let site = Flow { receiver, agent };

    let stock = "inventory.availability.v1";
    let first = "ABC Ltd|SKU-1|Stores - ABC";
    site.comes(stock, first, "on_hand", "80.123456789".into())
        .await;
    site.comes(stock, first, "atp", "48.623456789".into()).await;
    // A bin finds its warehouse as the database does: whatever the case.
    let second = "ABC Ltd|Größe \u{2192} 10|Stores - ABC";
    site.comes(stock, second, "uom", "Kg".into()).await;

    // A delivery, as one transaction: the ledger and the bin.
    run("BEGIN;
         INSERT INTO `tabStock Ledger Entry` (name, docstatus, item_code, warehouse, posting_date,
            posting_time, voucher_type, voucher_no, voucher_detail_no, actual_qty,
            qty_after_transaction, stock_uom, company)
         VALUES ('sle1', 1, 'SKU-1', 'Stores - ABC', '2026-11-20', '14:30:00.5', 'Delivery Note', 'DN-1',
            'r1', -0.123456789, 80, 'Nos', 'ABC Ltd');
         UPDATE `tabBin` SET actual_qty = 80, modified = now(6) WHERE name = 'b1'; COMMIT")
    .await;
    site.comes(stock, first, "on_hand", "80".into()).await;
    site.told("ABC Ltd|sle1").await;

    // A new version brings a column, in the middle.
    run("ALTER TABLE `tabBin` ADD COLUMN `reserved_stock` decimal(21,9) NOT NULL DEFAULT 0 AFTER warehouse;
         UPDATE `tabBin` SET reserved_stock = 33.5 WHERE name = 'b1'")
    .await;
    site.comes(stock, first, "allocated", "33.5".into()).await;

    // A renamed item, as ERPNext does it: the row and all that names it.
    run(
        "BEGIN; UPDATE `tabItem` SET name = 'SKU-9' WHERE name = 'SKU-1';
         UPDATE `tabBin` SET item_code = 'SKU-9' WHERE item_code = 'SKU-1'; COMMIT",
    )
    .await;
    site.comes(stock, "ABC Ltd|SKU-9|Stores - ABC", "on_hand", "80".into())
        .await;
    site.gone(stock, first).await;
    site.end().await;
}
