// SAP CAP's OData v4 server on one loopback port, its database in the folder it is started in. A
// new database gets the products P-001 to P-100 at 10.00, each with nothing in stock at EAST and
// WEST. PORT is where it listens.
const fs = require('fs');
const cds = require('@sap/cds');
const express = require('express');
const PRODUCTS = 100;

async function fill() {
  const codes = Array.from({ length: PRODUCTS }, (_, index) => `P-${String(index + 1).padStart(3, '0')}`);
  const { Products, Stock } = cds.entities('erp');
  await INSERT.into(Products).entries(codes.map((code) => ({ code, name: `Product ${code}`, price: 10 })));
  await INSERT.into(Stock).entries(codes.flatMap((product) =>
    ['EAST', 'WEST'].map((location) => ({ product, location, quantity: 0 }))));
}

(async () => {
  const isNew = !fs.existsSync('erp.sqlite');
  const model = await cds.load('erp.cds');
  cds.model = cds.compile.for.nodejs(model);
  cds.db = await cds.connect.to('db', { model: cds.model });
  if (isNew) {
    await cds.deploy(model).to(cds.db);
    await fill();
  }
  const app = express();
  await cds.serve('all').from(cds.model).in(app);
  const server = app.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('READY'));
  server.on('error', (error) => {
    console.error(error);
    process.exit(1);
  });
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
