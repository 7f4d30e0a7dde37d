//! The two loops: capture and deliver.
