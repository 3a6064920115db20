//! The latest dead letters of a pipeline, as far as a person looks at them.

use axum::Json;
use axum::extract::State;
use dirigo_api::{DeadLetter, Problem};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::request::{Named, Options, blocking};
use crate::refused::Refused;

/// Letters in an answer, by default.
const LETTERS: usize = 20;
/// The most that may be asked for.
const LETTERS_MAX: usize = 100;
/// How much of the file is looked at: some hundred letters with a backtrace of their own.
const BYTES_MAX: u64 = 1 << 20;
/// Bytes of a reason or a value.
const TEXT_MAX: usize = 4 << 10;
/// Bytes of a backtrace.
const BACKTRACE_MAX: usize = 16 << 10;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(latest_letters))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// How many, at most; 20 by default, and never more than 100.
    last: Option<usize>,
}

/// The latest dead letters of a pipeline, the newest first, as far as they stand whole in the last MiB of their file.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/pipelines/{name}/dead-letters/latest", params(("tenant" = String, Path), ("name" = String, Path), Wanted), responses(
    (status = 200, body = Vec<DeadLetter>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 422, description = "The pipeline file of its version is not valid any more.", body = Problem),
    (status = 500, description = "The dead letters cannot be read.", body = Problem),
))]
async fn latest_letters(
    named: Named,
    State(shared): State<Shared>,
    Options(wanted): Options<Wanted>,
) -> Result<Json<Vec<DeadLetter>>, Refused> {
    let count = wanted.last.unwrap_or(LETTERS).min(LETTERS_MAX);
    let read = blocking(move || shared.pipelines.latest_letters(&named.key, BYTES_MAX));
    Ok(Json(latest(&read.await?, count)))
}

/// The letters in these lines, the last first. A line that is being written is none yet.
fn latest(lines: &[u8], count: usize) -> Vec<DeadLetter> {
    let lines = lines.split(|byte| *byte == b'\n').rev();
    let letters = lines.filter_map(|line| serde_json::from_slice(line).ok());
    letters.take(count).map(shown).collect()
}

fn shown(letter: dirigo_flow::DeadLetter) -> DeadLetter {
    let event = letter.event;
    DeadLetter {
        id: letter.id,
        operator: letter.operator,
        kind: letter.kind,
        reason: cut(letter.reason, TEXT_MAX),
        backtrace: letter.backtrace.map(|text| cut(text, BACKTRACE_MAX)),
        source: event.source,
        time_ms: event.time,
        key: event.key.map(|text| cut(text, TEXT_MAX)),
        value: event.value.map(|text| cut(text, TEXT_MAX)),
        fuel: letter.fuel,
        attempt: letter.attempt,
    }
}

/// A text of at most this many bytes.
fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u64, value: &str) -> String {
        let letter = serde_json::json!({
            "id": id, "pipeline": "p", "operator": "o", "component": null, "kind": "trap", "reason": "it broke", "backtrace": "0: here",
            "event": { "source": "in", "position": id, "time": 7, "key": "k", "value": value }, "state": null, "fuel": 9, "attempt": 1, "setup": null,
        });
        format!("{letter}\n")
    }

    #[test]
    fn the_last_letters_come_first_and_half_a_line_is_none() {
        let lines = line(1, "a") + &line(2, "b") + &line(3, "c") + &line(4, "d")[..40];
        let ids = |count| {
            latest(lines.as_bytes(), count)
                .iter()
                .map(|letter| letter.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(2), [3, 2]);
        assert_eq!(ids(9), [3, 2, 1]);
        let last = latest(lines.as_bytes(), 1).remove(0);
        assert_eq!(
            (last.value.as_deref(), last.backtrace.as_deref(), last.time_ms),
            (Some("c"), Some("0: here"), Some(7))
        );
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let lines = line(1, &"ä".repeat(TEXT_MAX));
        let value = latest(lines.as_bytes(), 1).remove(0).value.unwrap();
        assert_eq!(value.len(), TEXT_MAX);
        let lines = line(1, &format!("x{}", "ä".repeat(TEXT_MAX)));
        let value = latest(lines.as_bytes(), 1).remove(0).value.unwrap();
        assert_eq!(value.len(), TEXT_MAX - 1);
    }
}
