use dirigo_operator::prelude::*;

#[derive(Event)]
enum Reading {
    Warm,
    Cold,
}

#[derive(Event)]
struct Tuple(f64);

#[derive(Event)]
struct Named {
    #[event(rename = "v")]
    value: f64,
}

fn main() {}
