//! Backscroll's client engine for JavaScript: a thin skin over [`backscroll_core::client`].
//!
//! The facade in `js/` is its only caller. A call takes and gives plain values and JSON texts: one
//! call for a whole view, and no object of this module for a row. Errors are JavaScript `Error`s
//! with a stable `code`. A panic ends this instance of the module: the facade calls it no more, and
//! makes another, which goes on from the store.

mod about;
mod convert;
mod engine;
mod error;
mod records;

pub use engine::Engine;

use std::cell::RefCell;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps the words of a panic for [`last_panic`]; runs when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| {
        PANIC.with(|panic| {
            if let Ok(mut words) = panic.try_borrow_mut() {
                *words = info.to_string();
            }
        });
    }));
}

/// What the module panicked with, empty if it did not.
#[must_use]
#[wasm_bindgen(js_name = lastPanic)]
pub fn last_panic() -> String {
    PANIC.with(|panic| panic.borrow().clone())
}
