//! Histories of a store: what is done to it, what must be there afterwards, and what may be.
//!
//! | module | what it does |
//! |---|---|
//! | [`op`] | one call of a history, and random ones |
//! | [`setting`] | options that change how the store works but never what it answers |
//! | [`record`] | what was written, what was acknowledged with which durability |
//! | [`world`] | runs calls against a store and its record together |
//! | [`answers`] | compares what the store answers with the record |
//! | [`survivor`] | opens what a crash left and finds which state it is |
//!
//! Background work is stepped by hand, so a history does the same every time.

mod answers;
pub(crate) mod op;
pub(crate) mod record;
pub(crate) mod setting;
pub(crate) mod survivor;
pub(crate) mod world;

/// Where the store lives.
pub(crate) const STORE: &str = "/store";
