//! Mapping files: rows in, canonical business events out.
