//! Checks of what a tenant may use.

use super::diagnostic::{Diagnostic, Problems};
use super::model::Budget;
use super::raw;
use super::section::Field;
use super::units::Size;

/// One page of WebAssembly memory and some: with less not even one operator can run.
/// What a few hundred events of the simplest operator take: with less, a pipeline seems to hang.
const FUEL_PER_SECOND_MIN: u64 = 100_000;
const MEMORY_MIN: u64 = 1 << 20;

/// The budget that a pipeline file states for its tenant.
pub(super) fn of_pipeline(raw: &raw::Tenant, problems: &mut Problems) -> Budget {
    let help = "write `tenant = \"…\"` under `[pipeline]`";
    expect_no_name(raw, "`[tenant]` of a pipeline file names no tenant", help, problems);
    budget(raw, problems)
}

/// The budget of those that a tenants file does not list.
pub(super) fn of_others(raw: &raw::Tenant, problems: &mut Problems) -> Budget {
    let help = "write a `[[tenant]]` with this name";
    expect_no_name(raw, "`[default]` names no tenant", help, problems);
    budget(raw, problems)
}

fn expect_no_name(raw: &raw::Tenant, message: &str, help: &str, problems: &mut Problems) {
    if let Some(key) = raw.name.key() {
        problems.push(Diagnostic::error(message).at(key, "not here").help(help));
    }
}

/// What a table says that a tenant may use.
pub(super) fn budget(raw: &raw::Tenant, problems: &mut Problems) -> Budget {
    if let Some(at) = raw.memory.given().filter(|at| at.value.0 < MEMORY_MIN) {
        let problem = Diagnostic::error("`memory` is too little for a tenant").at(at.place, "below \"1MiB\"");
        problems.push(problem.help("it bounds the linear memories, state and waiting events of all its pipelines"));
    }
    if let Some(at) = raw
        .fuel_per_second
        .given()
        .filter(|at| at.value.to_u64() < FUEL_PER_SECOND_MIN)
    {
        let problem = Diagnostic::error("`fuel_per_second` is too little for a tenant").at(at.place, "below 100,000");
        problems.push(problem.help(
            "an event of a built-in operator takes some 500, and a processor executes some 10,000,000,000 in a second",
        ));
    }
    let bytes = |field: &Field<Size>| field.map(|Size(bytes)| *bytes);
    Budget {
        weight: raw.weight.map(|weight| weight.to_u32()).unwrap_or(1),
        fuel_per_second: raw.fuel_per_second.map(|fuel| fuel.to_u64()),
        memory: bytes(&raw.memory),
        active_actors: raw.active_actors.map(|actors| actors.to_u32()),
        log_lines_per_second: raw.log_lines_per_second.map(|lines| lines.to_u64()),
        log_bytes_per_second: bytes(&raw.log_bytes_per_second),
        outputs_per_event: raw.outputs_per_event.map(|outputs| outputs.to_u64()),
        output_bytes_per_event: bytes(&raw.output_bytes_per_event),
        dead_letter_bytes: bytes(&raw.dead_letter_bytes).unwrap_or(Budget::default().dead_letter_bytes),
        dead_letters_per_second: raw.dead_letters_per_second.map(|letters| letters.to_u64()),
    }
}
