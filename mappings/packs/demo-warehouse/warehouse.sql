-- The small warehouse that `lighterman demo` plays with. Quantities are stored as text, so that
-- SQLite keeps them exact.
CREATE TABLE item (
  sku    TEXT PRIMARY KEY,
  name   TEXT NOT NULL,
  uom    TEXT NOT NULL,
  status TEXT NOT NULL                -- A active, N no new sales, D discontinued
);
CREATE TABLE stock (
  sku       TEXT NOT NULL,
  warehouse TEXT NOT NULL,
  on_hand   DECIMAL_TEXT NOT NULL,
  allocated DECIMAL_TEXT NOT NULL,
  safety    DECIMAL_TEXT NOT NULL,
  PRIMARY KEY (sku, warehouse)
);
CREATE TABLE movement (
  id        INTEGER PRIMARY KEY,
  sku       TEXT NOT NULL,
  warehouse TEXT NOT NULL,
  kind      TEXT NOT NULL,            -- P pick, R receipt, T- and T+ transfer, A adjustment
  qty       DECIMAL_TEXT NOT NULL,
  posted_on DATE NOT NULL,
  document  TEXT
);
CREATE TABLE orders (
  id         INTEGER PRIMARY KEY,
  number     TEXT NOT NULL,
  customer   TEXT NOT NULL,
  ordered_on DATE NOT NULL,
  status     TEXT NOT NULL,           -- O open, P picking, S shipped, C cancelled
  total      DECIMAL_TEXT NOT NULL,
  currency   TEXT NOT NULL
);
