use dirigo_operator::prelude::*;

struct Threshold;

#[operator]
impl Default for Threshold {
    fn default() -> Self {
        Threshold
    }
}

fn main() {}
