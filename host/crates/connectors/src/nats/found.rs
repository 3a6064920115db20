//! Streams as a server has them.

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};

use super::error::{Problem, Stop};
use crate::retries::Party;
use crate::servers::described;

/// The stream with this name.
pub(super) async fn find(context: &Context, party: &Party, name: &str) -> Result<Stream, Stop> {
    context.get_stream(name).await.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(answer) => refused(&answer, party, name),
        _ => Stop::Retry(format!("no answer of JetStream: {}", described(&error))),
    })
}

/// What follows where a server refuses a request for a stream.
pub(super) fn refused(answer: &jetstream::Error, party: &Party, name: &str) -> Stop {
    let servers = party.servers.clone();
    match answer.error_code() {
        ErrorCode::STREAM_NOT_FOUND => Problem::NoStream {
            servers,
            stream: name.to_owned(),
        }
        .into(),
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => Problem::NoJetStream {
            servers,
            reason: answer.to_string(),
        }
        .into(),
        _ => Stop::Retry(answer.to_string()),
    }
}

/// When a stream was created: what tells it from others of its name.
pub(super) fn created(info: &Info) -> String {
    let nanoseconds = info.created.unix_timestamp_nanos();
    let time = jiff::Timestamp::from_nanosecond(nanoseconds);
    time.map_or_else(|_| nanoseconds.to_string(), |time| time.to_string())
}
