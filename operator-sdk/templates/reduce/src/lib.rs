//! Emits the mean of each sensor's readings per window.

use dirigo_operator::prelude::*;

/// An event: JSON with at least this field, which arrives as a column.
#[derive(Event)]
struct Reading {
    value: f64,
}

/// What is known of a window so far. The host keeps it: it outlives this instance, and crashes.
#[derive(Serialize, Deserialize)]
struct Sum {
    sum: f64,
    count: u64,
}

/// What a window becomes.
#[derive(Event)]
struct Mean {
    sensor: String,
    mean: f64,
    count: u64,
    start: i64,
}

struct Average;

#[operator]
impl Reduce for Average {
    type Config = NoConfig;
    type Event = Reading;
    type Accumulator = Sum;
    type Output = Mean;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Average)
    }

    fn zero(&self) -> Sum {
        Sum { sum: 0.0, count: 0 }
    }

    fn add(&mut self, sum: &mut Sum, event: &Reading) -> Result<()> {
        sum.sum += event.value;
        sum.count += 1;
        Ok(())
    }

    fn merge(&mut self, left: Sum, right: Sum) -> Sum {
        Sum {
            sum: left.sum + right.sum,
            count: left.count + right.count,
        }
    }

    fn finish(&mut self, window: &Window<'_>, Sum { sum, count }: Sum) -> Result<Mean> {
        Ok(Mean {
            sensor: window.key_str().into_owned(),
            mean: sum / count as f64,
            count,
            start: window.start,
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, Tester};
    use serde_json::json;

    use super::*;

    fn reading(sensor: &str, value: f64) -> Event {
        Event::from(json!({"value": value})).key(sensor)
    }

    #[test]
    fn each_sensor_has_a_mean_of_its_own() {
        let mut average = Tester::<Average>::open(&json!({})).unwrap();
        let outcome = average.reduce([
            reading("kitchen", 20.0),
            reading("cellar", 10.0),
            reading("kitchen", 21.0),
        ]);
        let expected = [
            json!({"sensor": "kitchen", "mean": 20.5, "count": 2, "start": 0}),
            json!({"sensor": "cellar", "mean": 10.0, "count": 1, "start": 0}),
        ];
        assert_eq!(outcome.json(), expected);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let mut average = Tester::<Average>::open(&json!({})).unwrap();
        let readings = [1.0, 2.0, 3.0, 6.0].map(|value| reading("kitchen", value));
        let parts = [readings[..1].to_vec(), readings[1..].to_vec()];
        assert_eq!(average.reduce_parts(parts), average.reduce(readings));
    }
}
