//! What destination files come to on the wire, a file for each part of it. One program, so that it is
//! linked once.

mod amazon;
mod answers;
mod auth;
mod bigcommerce;
mod business_central;
mod common;
mod doubts;
mod faults;
mod logins;
mod lookups;
mod medusa;
mod netsuite;
mod odata;
mod odoo;
mod reports;
mod shopify;
mod suite;
mod traces;
mod tryton;
mod vendure;
mod vendure_products;
mod walmart;
mod woocommerce;
