//! A sink that is opened when the first value comes: where none does, nothing of it is to be seen.

use dirigo_connect::sink::{DeliveryCapability, Error, Events, Offset, Prepared, Sink};

/// Opens the medium.
pub(super) type OpenSink = Box<dyn FnOnce() -> Result<Box<dyn Sink>, Error> + Send>;

/// A sink that may not be open yet.
pub(super) struct LazySink {
    open: Option<OpenSink>,
    sink: Option<Box<dyn Sink>>,
    /// Where the medium ended when this run began. It still does while it is not open.
    ended: Option<Offset>,
}

impl LazySink {
    /// One that `open` opens, and whose medium ends at `ended`.
    pub(super) fn new(open: OpenSink, ended: Option<Offset>) -> Self {
        Self {
            open: Some(open),
            sink: None,
            ended,
        }
    }
}

impl Sink for LazySink {
    fn write(&mut self, events: Events<'_>) -> Result<(), Error> {
        if let Some(open) = self.open.take() {
            self.sink = Some(open()?);
        }
        let sink = self.sink.as_mut();
        sink.expect("nothing is written to a sink that could not be opened")
            .write(events)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.flush())
    }

    fn prepare(&mut self) -> Result<Prepared, Error> {
        let unopened = || Prepared {
            offset: self.ended.clone(),
            sync: None,
        };
        self.sink.as_mut().map_or_else(|| Ok(unopened()), |sink| sink.prepare())
    }

    fn publish(&mut self) -> Result<(), Error> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.publish())
    }

    fn end(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.end();
        }
    }

    fn delivery_capability(&self) -> DeliveryCapability {
        self.sink
            .as_ref()
            .map_or(DeliveryCapability::WritesNothing, |sink| sink.delivery_capability())
    }
}
