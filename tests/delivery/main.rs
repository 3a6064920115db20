//! What comes out is what should: complete, in order, once.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod interrupt;
mod order;
mod real_data;
mod resume;
mod shapes;
