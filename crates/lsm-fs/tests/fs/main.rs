//! Both file systems from the outside.

mod crash;
mod fidelity;
mod lock;
mod os;
mod segment;
