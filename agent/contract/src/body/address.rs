//! A postal address, as orders, shipments and customers hold it.

use super::{BodySchema, FieldSchema, FieldType, may};

pub(super) const ID: FieldSchema =
    may("id", FieldType::Text, "the source's own id of the address").private();
pub(super) const NAME: FieldSchema = may(
    "name",
    FieldType::Text,
    "addressee: company or person, with a second name line if there is one",
)
.private();
pub(super) const LINES: FieldSchema = may(
    "lines",
    FieldType::Texts,
    "street, building and further lines, in the order they are printed",
)
.private();
pub(super) const CITY: FieldSchema = may("city", FieldType::Text, "city").private();
pub(super) const REGION: FieldSchema = may(
    "region",
    FieldType::Text,
    "state, province or region, the code where the source has one",
);
pub(super) const POSTAL: FieldSchema = may("postal", FieldType::Text, "postal code").private();
pub(super) const COUNTRY: FieldSchema = may(
    "country",
    FieldType::Text,
    "country, ISO 3166-1 code of two letters",
);
pub(super) const PHONE: FieldSchema = may("phone", FieldType::Text, "telephone number").private();
pub(super) const EMAIL: FieldSchema = may("email", FieldType::Text, "e-mail address").private();

/// An address written into a document: what was agreed then, whatever the customer's is now.
pub(super) static ADDRESS: BodySchema = BodySchema {
    name: "address",
    minor: 0,
    key: &[],
    fields: &[ID, NAME, LINES, CITY, REGION, POSTAL, COUNTRY, PHONE, EMAIL],
};
