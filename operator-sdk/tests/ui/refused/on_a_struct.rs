use dirigo_operator::prelude::*;

#[operator]
struct Threshold(f64);

fn main() {
    let _ = Threshold(0.0).0;
}
