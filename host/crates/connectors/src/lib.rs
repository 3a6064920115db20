//! The connectors that Dirigo brings along.
//!
//! One folder for each: it owns its keys in the pipeline file, what they mean together, how it opens, reads or writes, and
//! what is promised of it. [`builtin`] lists them; no other place of the host names one to tell sources or sinks apart.
//! Knows records and media; not operators, queues or backpressure.

pub mod file;
pub mod generator;
#[cfg(feature = "http")]
pub mod http;
pub mod memory;
#[cfg(feature = "nats")]
pub mod nats;
pub mod nexmark;
pub mod note;
pub mod null;
#[cfg(any(feature = "http", feature = "nats"))]
pub mod outbox;
mod pace;
#[cfg(feature = "http")]
pub mod pushed;
pub mod records;
#[cfg(feature = "remote")]
pub mod retries;
#[cfg(feature = "remote")]
pub mod servers;
pub mod stdin;
pub mod stdout;
#[cfg(test)]
mod tests;
#[cfg(feature = "remote")]
pub mod tls;

use dirigo_pipeline::Registry;

/// The kinds of sources and sinks that pipeline files can name without any other crate.
#[must_use]
pub fn builtin() -> Registry {
    let registry = Registry::default().with_source(file::FileSource);
    #[cfg(feature = "http")]
    let registry = registry.with_source(http::HttpSource);
    #[cfg(feature = "nats")]
    let registry = registry.with_source(nats::NatsSource);
    let registry = registry
        .with_source(stdin::StdinSource)
        .with_source(generator::GeneratorSource)
        .with_source(nexmark::NexmarkSource)
        .with_sink(file::FileSink);
    #[cfg(feature = "http")]
    let registry = registry.with_sink(http::sink::HttpSink);
    #[cfg(feature = "nats")]
    let registry = registry.with_sink(nats::NatsSink);
    registry.with_sink(stdout::StdoutSink).with_sink(null::NullSink)
}
