//! what a reader sees
