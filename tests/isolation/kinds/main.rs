//! Every kind of hostile guest and pipeline file, and what holds it.
//!
//! Each runs next to a victim, where it runs at all. What is asserted are counts, and what comes out; how long a guest
//! kept its worker stands in the table that `cargo hostile` ends with, and `dirigo bench isolation` judges it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    reason = "a test that cannot go on fails; the suite prints what it found; plain words matter more than speed here"
)]

#[path = "../../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod beside;
mod deploying;
mod harness;
mod injected;
mod loading;
mod shaped;
mod spoken;
mod striking;

use std::process::ExitCode;

use harness::Held;

/// The lines of the table, with the test that each stands for. One that is not here is dead code.
macro_rules! suite {
    ($($module:ident::$test:ident, $kind:literal => $by:literal;)*) => {
        const SUITE: &[Held] = &[$(Held {
            name: concat!(stringify!($module), "::", stringify!($test)),
            kind: $kind,
            by: $by,
            test: $module::$test,
        },)*];
    };
}

suite! {
    striking::an_endless_loop_burns_its_fuel,
        "endless loop" => "slices of fuel; the event's fuel";
    striking::a_loop_of_divisions_burns_its_fuel,
        "loop of the slowest instructions" => "slices sized by measured pace; the event's fuel";
    striking::a_loop_of_host_calls_yields_between_them,
        "loop of host calls" => "a yield per 50 µs served; the event's fuel";
    striking::lines_of_a_mebibyte_are_cut_and_yield_between_them,
        "giant log lines" => "4 KiB a line; the allowance of a call; a yield after each";
    striking::a_flood_of_log_lines_costs_others_nothing,
        "log flood" => "100 lines a second per operator";
    striking::bulk_instructions_of_32_mib_run_in_pieces,
        "bulk-memory instructions of 32 MiB" => "pieces of 256 KiB that burn fuel and yield";
    striking::memory_filled_afresh_is_filled_in_pieces,
        "filling memory never used before" => "pages touched as memory grows, with a yield per 50 µs";
    striking::memory_touched_page_by_page_ends_at_its_limit,
        "touching pages never used before" => "the memory limit; pages touched as memory grows";
    striking::a_memory_bomb_ends_at_its_limit,
        "memory bomb" => "the memory limit; the event is dead";
    striking::a_leak_over_turns_costs_its_instance,
        "memory leak over turns" => "the memory limit; a new instance";
    striking::a_deep_recursion_ends_at_its_stack,
        "recursion without end" => "a stack of 512 KiB";
    striking::a_panic_at_every_event_is_kept_waiting,
        "panic at every event" => "roll-back; backoff";
    striking::a_panic_at_every_20th_event_costs_those,
        "panic at each nth event" => "roll-back; the batch is split around it";
    striking::an_output_of_100_mib_is_not_taken,
        "output of 100 MiB" => "twice the input and 2 MiB";
    striking::a_value_of_32_mib_is_not_taken,
        "one value of 32 MiB" => "twice the input and 2 MiB";
    striking::a_message_of_32_mib_is_not_taken,
        "one string of 32 MiB" => "twice the input and 2 MiB";
    striking::an_event_that_becomes_ten_thousand_is_taken_within_bounds,
        "amplification by 10,000" => "smaller batches; full queues hold it back";
    striking::a_key_that_ten_thousand_outputs_would_inherit_is_not_copied_to_them,
        "a long key for 10,000 outputs" => "twice the input and 2 MiB";
    striking::state_of_a_key_ends_at_its_limit,
        "state of one key" => "the `state` limit; the event is dead";
    striking::state_of_a_key_ends_at_its_limit_wherever_in_a_batch,
        "state of one key, made by the first of many" => "halving finds the event";
    striking::state_that_grows_without_end_ends_at_the_memory_limit,
        "state that grows without end" => "the memory limit of who has to read it";
    striking::traps_in_finish_leave_the_windows_open,
        "traps when a window closes" => "roll-back; the window stays open";
    striking::lies_about_results_are_not_taken,
        "malformed columns, lists outside memory, invalid UTF-8" => "validation at the edge";
    striking::the_outside_world_looks_the_same_to_every_run,
        "environment, clocks, chance" => "an empty environment; clocks and seeds that follow from the event";
    striking::memory_bears_no_trace_of_another_tenant,
        "reading what another tenant left in memory" => "memory is cleared before it is given out";
    striking::thousands_of_actors_that_start_and_trap_at_once_are_started_in_turn,
        "3,000 actors that start and trap at once" => "slices; instance slots";
    striking::what_takes_the_bandwidth_of_the_memory_burns_its_fuel,
        "streaming through 32 MiB" => "slices sized by measured pace; the event's fuel";
    striking::what_takes_a_shared_cache_burns_its_fuel,
        "thrashing a shared cache" => "slices sized by measured pace; the event's fuel";
    striking::line_ends_printed_without_end_burn_their_fuel,
        "line ends printed by a library" => "a yield per 50 µs served; the event's fuel";
    spoken::a_long_reason_in_utf16_is_cut_before_it_is_read,
        "a reason of a mebibyte in UTF-16" => "4 KiB of a text is read";
    spoken::long_lines_in_utf16_are_cut_and_yield_between_them,
        "log lines of a mebibyte in UTF-16" => "4 KiB of a text is read; a yield per 50 µs served";
    injected::a_table_bomb_ends_at_its_limit,
        "table bomb" => "the table limit; 20,000 elements whatever it says";
    injected::wasi_handles_are_held_up_to_a_bound,
        "WASI handles held for ever" => "1,024 an instance; the event is dead";
    injected::line_ends_printed_without_end_let_others_run,
        "line ends printed without end" => "a yield per 50 µs served; lines beyond the rate are counted; the event's fuel";
    injected::a_straight_line_of_slow_instructions_yields_on_its_way,
        "50,000 slow instructions without a loop" => "a place to yield every 512 instructions";
    injected::one_copy_of_240_mib_yields_on_its_way,
        "one copy of 240 MiB" => "pieces of 256 KiB that burn fuel and yield";
    shaped::slices_of_100_ms_are_not_given_where_tenants_share_a_host,
        "slices of 100 ms" => "1 ms where tenants share a host";
    shaped::an_open_that_never_ends_costs_its_own_pipeline,
        "`open` that never ends" => "slices of fuel; the time to open";
    shaped::as_many_sources_as_there_may_be_wait_for_their_turn,
        "64 sources that give all they can" => "what they take is their tenant's; full queues hold them back";
    shaped::as_many_sinks_as_there_may_be_wait_for_their_turn,
        "64 sinks of the same events" => "what they take is their tenant's; full queues hold the source back";
    shaped::layers_that_double_their_events_as_often_as_they_may_are_run_in_turn,
        "layers that double their events to 512" => "slices; full queues hold the source back";
    shaped::a_flood_of_dead_letters_is_written_at_the_rate_of_its_tenant,
        "a dead letter of every event" => "`dead_letters_per_second` and `dead_letter_bytes`";
    loading::who_cannot_be_opened_is_refused,
        "loop, bomb or panic while it is opened" => "fuel and memory of `open`; refused at start";
    loading::who_asks_for_the_outside_world_is_refused_by_name,
        "files, network, HTTP" => "not linked; refused by name";
    loading::what_would_keep_the_compiler_for_long_is_refused_at_once,
        "giant function, too many functions" => "256 KiB a function, 200,000 functions, 64 MiB of code";
    loading::components_nested_without_end_are_refused,
        "components nested without end" => "16 levels";
    loading::who_starts_beyond_its_memory_limit_is_refused,
        "memory beyond the limit from the start" => "refused at start";
    loading::bombs_for_the_compiler_are_counted_before,
        "nested blocks, branch tables, segments, instances that double" => "counted before; a process of its own, with limits";
    deploying::code_planted_in_the_cache_is_refused,
        "a sink that writes into the host's cache" => "no path leads to the host's own; entries bear an HMAC";
    deploying::files_of_another_tenant_are_out_of_reach,
        "files of another tenant, by `..` or a link" => "folders that were opened; nothing beyond them";
    deploying::who_says_another_tenants_name_is_refused,
        "another tenant's name" => "the tenants file says whose a file is";
    deploying::secrets_of_the_host_are_not_told,
        "the host's environment" => "a list of names; /proc and /sys are no input";
    deploying::who_asks_for_more_than_was_granted_is_refused,
        "slices, fuel, memory, state without measure" => "caps in the tenants file";
    deploying::a_thousand_sinks_are_refused,
        "a thousand sinks" => "64 sources and sinks, or what was granted";
    deploying::layers_that_double_their_events_are_refused,
        "layers that double their events" => "1,000 paths to one operator";
}

fn main() -> ExitCode {
    harness::run(SUITE)
}
