//! What the store does, a file for each part of it. One program, so that it is linked once.

mod again;
mod asked;
mod audit;
mod backup;
mod capture;
mod common;
mod delivery;
mod folder;
mod location;
mod log;
mod look;
mod migrate;
mod needs;
mod older;
mod operator;
mod pages;
mod priority;
mod resync;
mod rollback;
mod rules;
mod sample;
mod standing;
mod together;
mod verify;
mod zero;
