//! The one local store: outbox, checkpoints, published state, held items.
