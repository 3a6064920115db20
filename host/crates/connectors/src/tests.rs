//! What the tests of several connectors share.

use dirigo_connect::sink::{Error, Events, Sink};
use dirigo_ground::batch::Column;

/// Writes events without keys.
pub(crate) fn write(sink: &mut dyn Sink, values: &[&str]) -> Result<(), Error> {
    let mut column = Column::default();
    values.iter().for_each(|value| column.push(value.as_bytes()));
    sink.write(Events {
        times: &vec![0; values.len()],
        keys: &Column::of_empty(values.len()),
        values: &column,
    })
}
