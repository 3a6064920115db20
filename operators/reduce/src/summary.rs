//! What a window becomes: one JSON object, in which the aggregate goes by its own name.

use dirigo_operator::{
    Encode, Number,
    columns::FieldColumn,
    fields::{AsJson, FieldType, FieldValue, OutputMode, Written},
    prelude::*,
};

use crate::Aggregate;

/// The output of a window.
#[derive(Debug)]
pub struct Summary {
    key: String,
    /// What was aggregated; nothing, where events are counted: a count goes by the name that every summary has anyway.
    value: Option<Number>,
    count: i64,
    start: i64,
    end: i64,
    /// How often the window was finished before, where that is wanted.
    pane: Option<i64>,
}

impl Summary {
    pub(crate) fn new(window: &Window<'_>, value: Option<Number>, count: u64, has_pane: bool) -> Result<Summary> {
        Ok(Summary {
            key: window.key_str().into_owned(),
            value,
            count: i64::try_from(count)?,
            start: window.start,
            end: window.end,
            pane: has_pane.then(|| window.pane.into()),
        })
    }

    /// The fields of a summary of this aggregate, with the number of its pane or without.
    pub(crate) fn fields(aggregate: Aggregate, has_pane: bool) -> Vec<Written> {
        let field = |name: &str, field_type| Written::new(Field::new(name).expect("it is a name"), field_type);
        let mut fields = vec![field("key", FieldType::Text)];
        if aggregate != Aggregate::Count {
            // The result is an f64 or an s64: only JSON holds both.
            fields.push(field(name(aggregate), FieldType::Json));
        }
        let integers = ["count", "start", "end"].into_iter().chain(has_pane.then_some("pane"));
        fields.extend(integers.map(|name| field(name, FieldType::S64)));
        fields
    }
}

impl Encode for Summary {
    const MODE: OutputMode = OutputMode::Replace;

    fn types(&self) -> Vec<FieldType> {
        let value = self.value.map(|_| FieldType::Json);
        let types = [FieldType::Text].into_iter().chain(value);
        let integers = [FieldType::S64; 3].into_iter().chain(self.pane.map(|_| FieldType::S64));
        types.chain(integers).collect()
    }

    #[inline]
    fn write_fields(&self, columns: &mut [FieldColumn], summaries: usize) -> Result<()> {
        self.key.write(&mut columns[0], summaries)?;
        let mut rest = &mut columns[1..];
        if let Some(value) = &self.value {
            AsJson(value).write(&mut rest[0])?;
            rest = &mut rest[1..];
        }
        let integers = [self.count, self.start, self.end].into_iter().chain(self.pane);
        for (column, integer) in rest.iter_mut().zip(integers) {
            integer.write(column, summaries)?;
        }
        Ok(())
    }

    fn encode(&self, _: &mut Vec<u8>) -> Result<()> {
        reject!("a summary is written as fields")
    }
}

/// How the configuration and the output call it.
pub(crate) fn name(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Avg => "avg",
        Aggregate::Sum => "sum",
        Aggregate::Min => "min",
        Aggregate::Max => "max",
        Aggregate::Count => "count",
    }
}
