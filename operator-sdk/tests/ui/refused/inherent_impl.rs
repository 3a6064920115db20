use dirigo_operator::prelude::*;

struct Threshold;

#[operator]
impl Threshold {
    fn keep(&mut self, _: &u32) -> bool {
        true
    }
}

fn main() {
    Threshold.keep(&1);
}
