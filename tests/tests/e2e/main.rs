//! End-to-end tests over a real relay process, from outside.

mod bad_input;
mod crash;
mod delivery;
mod million;
mod restart;
mod sync;
