//! Events with a typed field, and the operators of `benches/guests/typed-*` as native code.

use std::hint::black_box;
use std::sync::Arc;

use bench_typed_reduce::Sum;
use dirigo::batch::Column;
use dirigo::source::{self, Cell, Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_operator::columns::{self, FieldColumn, FieldValues};
use dirigo_operator::filter::filter_batch;
use dirigo_operator::map::map_batch;
use dirigo_operator::{Filter as _, Map as _, NoConfig, Reduce as _, Window};
use hashbrown::HashMap;

/// The pipeline of `benches/pipeline.rs`, of typed operators.
pub(crate) const PIPELINE: &str = r#"
[pipeline]
name = "typed"
[[source]]
id = "events"
kind = "generator"
[[operator]]
id = "map"
component = "bench_typed_map.wasm"
[[operator]]
id = "filter"
component = "bench_typed_filter.wasm"
[[operator]]
id = "reduce"
component = "bench_typed_reduce.wasm"
window = { count = 10 }
[[sink]]
id = "out"
kind = "null"
"#;

/// Events of one batch: a key each, the number as JSON and as it is, and the document.
pub(crate) struct Events {
    keys: Column,
    numbers: Column,
    values: Vec<f64>,
    documents: Column,
}

impl Events {
    /// Those of a batch of raw events.
    pub(crate) fn of((keys, raw): &(Column, Column)) -> Self {
        let number = |value: &[u8]| f64::from_le_bytes(*value.first_chunk().expect("a value begins with a number"));
        let values: Vec<f64> = raw.iter().map(number).collect();
        let (mut numbers, mut documents) = (Column::default(), Column::default());
        for value in &values {
            let text = serde_json::to_string(value).expect("it is finite");
            documents.push(format!(r#"{{"value":{text}}}"#).as_bytes());
            numbers.push(text.as_bytes());
        }
        Self {
            keys: keys.clone(),
            numbers,
            values,
            documents,
        }
    }

    fn columns(&self) -> columns::Batch {
        columns::Batch {
            times: vec![0; self.keys.len()],
            keys: columns::Column {
                bytes: self.keys.bytes().to_vec(),
                ends: self.keys.ends().to_vec(),
            },
            fields: vec![FieldColumn {
                validity: None,
                values: FieldValues::F64(self.values.clone()),
            }],
            ..columns::Batch::default()
        }
    }
}

/// Gives the same batches again and again, with their fields in columns.
pub(crate) struct Cycle {
    batches: Arc<Vec<Events>>,
    next: usize,
    position: u64,
    left: u64,
}

impl Cycle {
    /// `events` events in all.
    pub(crate) fn new(batches: Arc<Vec<Events>>, events: u64) -> Self {
        Self {
            batches,
            next: 0,
            position: 1,
            left: events,
        }
    }
}

impl Source for Cycle {
    fn read(&mut self, intake: &mut Intake, _: ReadLimit) -> Result<Read, source::Error> {
        if self.left == 0 {
            return Ok(Read::End);
        }
        let batch = &self.batches[self.next];
        self.next = (self.next + 1) % self.batches.len();
        let events = batch.keys.len();
        intake.keys.extend(&batch.keys);
        intake.values.extend(&batch.documents);
        for number in batch.numbers.iter() {
            intake.fields.push_cells(|_| Some(Cell::Number(number.into())));
        }
        intake.times.resize(events, 0);
        intake.positions.extend((self.position..).take(events));
        self.position += events as u64;
        self.left = self.left.saturating_sub(events as u64);
        Ok(Read::More)
    }

    fn offset(&self) -> Option<Offset> {
        Some(Offset::Null)
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

/// The operators, with state where a program that has only them would keep it.
struct Native {
    map: bench_typed_map::Scale,
    filter: bench_typed_filter::Warm,
    reduce: bench_typed_reduce::Average,
    sums: HashMap<[u8; 8], (Sum, u64)>,
    out: Vec<f64>,
}

/// Runs the operators in one loop over `events` events, in count windows of `window` events per key.
pub(crate) fn native(batches: &[Events], events: u64, window: u64) {
    const TAKES_NONE: &str = "it takes no configuration";
    let mut native = Native {
        map: bench_typed_map::Scale::open(NoConfig {}).expect(TAKES_NONE),
        filter: bench_typed_filter::Warm::open(NoConfig {}).expect(TAKES_NONE),
        reduce: bench_typed_reduce::Average::open(NoConfig {}).expect(TAKES_NONE),
        sums: HashMap::default(),
        out: Vec::new(),
    };
    let mut left = events;
    for batch in batches.iter().cycle() {
        native.run(batch.columns(), window);
        left = left.saturating_sub(batch.keys.len() as u64);
        if left == 0 {
            return;
        }
    }
}

impl Native {
    fn run(&mut self, batch: columns::Batch, window: u64) {
        let mapped = columns::Batch {
            fields: map_batch(&mut self.map, &batch).fields,
            ..batch
        };
        let kept = filter_batch(&mut self.filter, &mapped).kept;
        let FieldValues::F64(values) = &mapped.fields[0].values else {
            panic!("it writes a number")
        };
        let mut keys = columns::Column::with_capacity(kept.len(), mapped.keys.bytes.len());
        kept.iter()
            .for_each(|&index| keys.push(mapped.keys.get(index as usize)));
        let values: Vec<f64> = kept.iter().map(|&index| values[index as usize]).collect();
        for (key, value) in keys.iter().zip(values) {
            let key = <[u8; 8]>::try_from(key).expect("keys have eight bytes");
            let (sum, count) = self.sums.entry(key).or_insert_with(|| (self.reduce.zero(), 0));
            let event = bench_typed_reduce::Degrees { value };
            self.reduce.add(sum, &event).expect("it takes every event");
            *count += 1;
            if *count == window {
                let closed = Window {
                    key: &key,
                    start: 0,
                    end: 0,
                    count: *count,
                    pane: 0,
                };
                let mean = self.reduce.finish(&closed, *sum).expect("a window has events");
                self.out.push(mean.mean);
                (*sum, *count) = (self.reduce.zero(), 0);
            }
        }
        black_box(&self.out);
        self.out.clear();
    }
}
