//! Broken files, and the essential parts of what is said of each.

use super::{assert_says, refused, with_operator, with_source};

/// Declares facts: a name, a file, and what is said of it.
macro_rules! facts {
    ($($name:ident: $text:expr => [$($part:expr),+ $(,)?];)*) => {
        $(
            #[test]
            fn $name() {
                assert_says(&refused(&$text), &[$($part),+]);
            }
        )*
    };
}

fn builtin(name: &str, text: &str) -> String {
    with_operator(&format!("component = \"builtin:{name}\"\n{text}"))
}

fn reduce(text: &str) -> String {
    builtin("reduce", &format!("window = {{ count = 5 }}\n{text}"))
}

fn with_sink(text: &str) -> String {
    format!(
        "[pipeline]\nname = \"p\"\n[[source]]\nid = \"s\"\nkind = \"file\"\npath = \"examples/sensors.jsonl\"\n\
         [[sink]]\nid = \"out\"\n{text}\n"
    )
}

fn with_test(text: &str) -> String {
    format!("{}[[test]]\nname = \"t\"\n{text}\n", with_source("kind = \"stdin\""))
}

// Keys and types.
facts! {
    an_unknown_key_at_the_top_is_refused: with_source("kind = \"stdin\"\n[dead_leters]\npath = \"x\"")
        => ["unknown key `dead_leters` in the pipeline file", "unknown key", "did you mean `dead_letters`?"];
    an_unknown_key_in_limits_is_refused: builtin("map", "[operator.limits]\nmemmory = \"1MiB\"")
        => ["unknown key `memmory` in `[operator.limits]`", ":11:1", "did you mean `memory`?"];
    a_key_of_another_table_is_told_where_it_belongs: builtin("map", "errors = \"stop\"")
        => ["unknown key `errors` in `[[operator]]`", "`errors` belongs in `[operator.limits]`"];
    a_key_that_is_one_letter_off_is_meant_here: builtin("map", "input = [\"s\"]")
        => ["unknown key `input` in `[[operator]]`", "did you mean `inputs`?"];
    a_key_that_others_call_differently_is_told_its_name: builtin("map", "type = \"map\"\nname = \"m\"")
        => ["unknown key `name` in `[[operator]]`", "did you mean `id`?"];
    a_key_like_no_other_is_told_which_there_are: "[dead_letters]\nxyzzy = 1"
        => ["unknown key `xyzzy`", "`[dead_letters]` has `path`"];
    an_unknown_key_of_a_window_is_refused: builtin("reduce", "window = { cuont = 5 }")
        => ["unknown key `cuont` in a window", "did you mean `count`?"];
    a_source_has_no_inputs: with_source("kind = \"stdin\"\ninputs = [\"s\"]")
        => ["unknown key `inputs` in `[[source]]`"];
    a_string_in_place_of_a_list_is_told_how: builtin("map", "inputs = \"s\"")
        => ["expected a list, found the string \"s\"", "write `[\"s\"]`"];
    a_number_in_place_of_a_string_is_told_to_be_quoted: "[pipeline]\nname = 5"
        => ["expected a name, found the integer 5"];
    single_brackets_are_told_to_be_doubled: "[pipeline]\nname = \"p\"\n[source]\nid = \"s\""
        => ["expected a list, found a table", "write `[[source]]`, with double brackets"];
    double_brackets_are_told_to_be_single: "[[pipeline]]\nname = \"p\""
        => ["expected one table", "write [pipeline] once"];
    a_large_integer_is_refused: with_source("kind = \"generator\"\ncount = 99999999999999999999")
        => ["the integer is too large", ":6:9", "beyond 64 bits", "9223372036854775807"];
    a_large_float_is_refused: with_source("kind = \"generator\"\nrate = 1e999") => ["the float is too large"];
}

// The pipeline's own table.
facts! {
    a_pipeline_needs_a_header: "[[source]]\nid = \"s\"\nkind = \"stdin\""
        => ["there is no `[pipeline]`", "has no sink"];
    a_pipeline_needs_a_name: "[pipeline]\ntenant = \"a\""
        => ["the pipeline has no `name`", "help: add `name = \"sensors\"`"];
    a_pipeline_needs_a_source_and_a_sink: "[pipeline]\nname = \"p\"\nsource = []"
        => ["the pipeline has no source", "add a `[[source]]`", "the pipeline has no sink", "add a `[[sink]]`"];
    a_name_has_no_slash: "[pipeline]\nname = \"a/b\""
        => ["\"a/b\" cannot be a name", "it contains '/'", "a name is a letter"];
    a_name_starts_with_a_letter: "[pipeline]\nname = \"1st\"" => ["it starts with '1'"];
    a_name_is_not_empty: "[pipeline]\nname = \"\"" => ["it is empty"];
    a_name_is_not_endless: format!("[pipeline]\nname = \"{}\"", "a".repeat(65)) => ["it has 65 characters"];
    a_duration_needs_a_unit: "[pipeline]\nname = \"p\"\nslo = \"50\""
        => ["`50` is not a duration", "\"50ms\" or \"50s\""];
    a_duration_is_no_word: "[pipeline]\nname = \"p\"\nslo = \"soon\""
        => ["`soon` is not a duration", "such as \"100us\""];
    a_latency_target_is_above_0: "[pipeline]\nname = \"p\"\nslo = \"0s\"" => ["`slo` is 0"];
    a_checkpoint_every_0_is_refused: "[pipeline]\nname = \"p\"\ncheckpoint = \"0ms\"" => ["`checkpoint` is 0"];
    off_is_in_small_letters: "[pipeline]\nname = \"p\"\ncheckpoint = \"OFF\"" => ["write \"off\""];
    a_checkpoint_takes_its_time: "[pipeline]\nname = \"p\"\ncheckpoint = \"100us\"" => ["the least is \"1ms\""];
    no_checkpoint_is_written_off: "[pipeline]\nname = \"p\"\ncheckpoint = false"
        => ["found the boolean false", "write \"off\""];
    a_capital_m_is_no_minute: with_operator("component = \"builtin:map\"\nidle_timeout = \"5M\"")
        => ["`5M` is in months or years", "the unit is `M`", "write \"5m\""];
    a_duration_is_not_in_months_or_years: "[pipeline]\nname = \"p\"\nslo = \"1year 2days\""
        => ["`1year 2days` is in months or years, which differ in length", "the unit is `year`", "in days or weeks"];
    a_duration_beyond_a_century_is_refused: "[pipeline]\nname = \"p\"\nslo = \"99999999999999999999s\""
        => ["is longer than a century"];
}

// Sources.
facts! {
    a_source_needs_an_id_and_a_kind: "[pipeline]\nname = \"p\"\n[[source]]"
        => ["the source has no `id`", "the source has no `kind`"];
    an_unknown_kind_is_told_which_there_are: with_source("kind = \"pulsar\"")
        => ["unknown source kind `pulsar`", ":5:8", "there are `file`, `http`, `nats`, `stdin`, `generator` and `nexmark`"];
    a_kind_of_a_later_version_is_refused: with_sink("kind = \"kafka\"")
        => ["sink kind `kafka` is not in this version"];
    a_nats_source_needs_servers_and_a_stream: with_source("kind = 'nats'")
        => ["source `s` has no `servers`", "has no `stream`"];
    a_server_is_a_url: with_source("kind = 'nats'\nstream = 'S'\nservers = ['http://a']")
        => ["a server whose URL cannot be used", "nats://127.0.0.1:4222"];
    a_url_has_no_secret: with_source("kind = 'nats'\nstream = 'S'\nservers = ['nats://me:s3cret@a']")
        => ["a server whose URL cannot be used", "logs and errors show URLs"];
    one_connects_in_one_way: with_source("kind = 'nats'\nstream = 'S'\nservers = ['a']\ntoken = 't'\nnkey = 'n'")
        => ["has both `token` and `nkey`"];
    a_user_has_a_password: with_source("kind = 'nats'\nstream = 'S'\nservers = ['a']\nuser = 'me'")
        => ["only one of `user` and `password`"];
    credentials_are_those_of_a_file: with_source("kind = 'nats'\nstream = 'S'\nservers = ['a']\ncredentials = 'me.creds'")
        => ["the `credentials` of source `s` cannot be read", "{ file = \"me.creds\" }"];
    authorities_have_certificates: with_source("kind = 'nats'\nstream = 'S'\nservers = ['a']\nca = 'ca.pem'")
        => ["source `s` has no certificates as its `ca`", "{ file = \"ca.pem\" }"];
    a_stream_has_a_name: with_source("kind = 'nats'\nstream = 'S.>'\nservers = ['a']")
        => ["no name of a stream"];
    a_subject_has_tokens: with_source("kind = 'nats'\nstream = 'S'\nservers = ['a']\nsubjects = ['a.>.b']")
        => ["no subject in `subjects`"];
    a_stream_begins_somewhere: with_source("kind = 'nats'\nstream = 'S'\nservers = ['a']\nstart = 'last'")
        => ["no place in a stream as its `start`", "\"first\", \"new\""];
    messages_are_no_csv: with_source("kind = 'nats'\nstream = 'S'\nservers = ['a']\nformat = 'csv'")
        => ["cannot read messages as csv"];
    an_option_of_another_kind_is_refused: with_source("kind = \"stdin\"\nrate = 5\npath = \"x\"")

        => ["a stdin source has no `rate`", "`rate` is for kind = \"generator\" or \"nexmark\"", "has no `path`", "kind = \"file\""];
    a_file_needs_a_path: with_source("kind = \"file\"") => ["source `s` has no `path`"];
    a_missing_file_is_told_its_neighbour: with_source("kind = \"file\"\npath = \"examples/sensor.jsonl\"")
        => ["cannot find the source file", ":6:8", "No such file", "did you mean `sensors.jsonl`?"];
    a_home_folder_is_no_source: with_source("kind = \"file\"\npath = \"~/readings.jsonl\"")
        => ["`~` stands for no folder in a pipeline file", ":6:8", "only a shell expands it", "write the whole path"];
    a_home_folder_is_no_component: with_operator("component = \"~/anomaly.wasm\"")
        => ["`~` stands for no folder in a pipeline file", ":9:13"];
    a_directory_is_no_source: with_source("kind = \"file\"\npath = \"examples\"\nformat = \"csv\"")
        => ["the source file is a directory", "end the path with a `/`"];
    a_folder_that_is_not_there_is_no_source: with_source("kind = \"file\"\npath = \"exmaples/*.csv\"")
        => ["cannot read the folder of the source files", "exmaples: No such file"];
    a_folder_tells_no_format: with_source("kind = \"file\"\npath = \"examples/\"") => ["source `s` has no `format`"];
    a_sink_writes_none_of_the_files_of_a_source: with_source(
        "kind = 'file'\npath = 'examples/*.jsonl'\n[[sink]]\nid = 'x'\nkind = 'file'\npath = 'examples/new.jsonl'"
    ) => ["source `s` and sink `x` use the same folder", "read here", "written here", "its own folder"];
    a_sink_puts_no_parts_beside_the_files_of_a_source: with_source(
        "kind = 'file'\npath = 'examples/*.jsonl'\n[[sink]]\nid = 'x'\nkind = 'file'\npath = 'examples/*.x'\ncommit = 'epoch'"
    ) => ["source `s` and sink `x` use the same folder"];
    an_extension_that_tells_nothing_needs_a_format: with_source("kind = \"file\"\npath = \"readings.dat\"")
        => ["source `s` has no `format`", "the extension does not tell the format"];
    an_unknown_format_is_told_the_nearest: with_source("kind = \"stdin\"\nformat = \"cvs\"")
        => ["unknown format `cvs`", "did you mean `csv`? there are `jsonl`, `csv` and `lines`"];
    a_pointer_starts_with_a_slash: with_source("kind = \"stdin\"\nkey = \"$.sensor.id\"")
        => ["`$.sensor.id` is not a JSON pointer", "starts with `/`", "write \"/sensor/id\""];
    a_pointer_is_not_empty: with_source("kind = \"stdin\"\nkey = \"\"") => ["`key` is empty", "the whole event"];
    a_time_has_a_field: with_source("kind = \"stdin\"\ntime = { unit = \"s\" }")
        => ["the `time` of source `s` has no `field`", "add `field = \"/ts\"`"];
    a_unit_is_one_of_four: with_source("kind = \"stdin\"\ntime = { field = \"/ts\", unit = \"sec\" }")
        => ["unknown unit `sec`", "there are `s`, `ms`, `us` and `ns`"];
    a_zone_is_one_that_there_is: with_source("kind = \"stdin\"\ntime = { field = \"/ts\", zone = \"+24:00\" }")
        => ["there is no time zone `+24:00`", "such as \"Europe/Berlin\""];
    a_unit_belongs_in_a_time: with_source("kind = \"stdin\"\ntime = \"/ts\"\nunit = \"s\"")
        => ["unknown key `unit` in `[[source]]`", "`unit` belongs in `time = { … }`"];
    a_tilde_is_escaped: with_source("kind = \"stdin\"\ntime = \"/a~2\"") => ["`~` stands alone", "`~0`"];
    lines_have_no_key: with_source("kind = \"stdin\"\nformat = \"lines\"\nkey = \"/a\"")
        => ["format `lines` has no `key`", "lines have no fields"];
    csv_has_no_depth: with_source("kind = \"stdin\"\nformat = \"csv\"\nkey = \"/a/b\"") => ["only columns"];
    a_rate_without_bounds_is_refused: with_source("kind = \"generator\"\nrate = 1e300")
        => ["1e300 events per second", "at most 1000000000; leave it out"];
    a_rate_is_above_0: with_source("kind = \"generator\"\nrate = 0") => ["0 events per second is no rate"];
    a_generator_has_a_sensor: with_source("kind = \"generator\"\nsensors = 0") => ["0 is out of range", "at least 1"];
    a_step_is_counted_in_ms: with_source("kind = \"generator\"\nstep = \"1500us\"") => ["not a whole number of ms"];
    a_start_is_a_moment: with_source("kind = \"generator\"\nstart = \"yesterday\"") => ["`yesterday` is not a moment"];
    a_start_has_an_offset: with_source("kind = \"generator\"\nstart = 2024-01-01T00:00:00") => ["is not a moment"];
    a_generator_ends_before_time_does: with_source("kind = \"generator\"\ncount = 9223372036854775807")
        => ["outlives event time"];
    nexmark_steps_are_counted_in_us: with_source("kind = \"nexmark\"\nstep = \"1500ns\"")
        => ["not a whole number of us", "at least \"1us\""];
    nexmark_has_a_step: with_source("kind = \"nexmark\"\nstep = \"0s\"") => ["not a whole number of us"];
    nexmark_ends_before_time_does: with_source("kind = \"nexmark\"\nstep = \"1s\"\nevents = 9223372036854775807")
        => ["outlive event time"];
    nexmark_has_no_seed: with_source("kind = \"nexmark\"\nseed = 2") => ["a nexmark source has no `seed`"];
    stdin_is_read_once: format!("{}[[source]]\nid = \"t\"\nkind = \"stdin\"", with_source("kind = \"stdin\""))
        => ["sources `s` and `t` both read standard input", "first here", "again here"];
}

/// What is said of a file with one mistake.
fn the_error(text: &str) -> String {
    let said = refused(text);
    assert_eq!(said.matches("error").count(), 1, "{said}");
    said
}

#[test]
fn a_mistyped_key_is_one_mistake() {
    for (text, help) in [
        (with_operator("compnent = \"builtin:map\""), "did you mean `component`?"),
        (builtin("reduce", "window = { cuont = 5 }"), "did you mean `count`?"),
        (builtin("reduce", "widnow = { count = 5 }"), "did you mean `window`?"),
        (
            with_source("kind = \"file\"\npth = \"examples/sensors.jsonl\""),
            "did you mean `path`?",
        ),
        (
            builtin("reduce", "window = { time = \"1m\" }"),
            "windows in time are of three kinds",
        ),
    ] {
        assert_says(&the_error(&text), &[help]);
    }
}

#[test]
fn a_file_that_is_none_of_a_pipeline_is_called_what_it_is() {
    for (text, said) in [
        (
            "{\"sensor\":\"a\",\"value\":1}\n{\"sensor\":\"b\"}\n",
            "this is JSON, not a pipeline file",
        ),
        ("\n sensor,value\na,1\n", "this is a table of data, such as CSV"),
        (
            "[[tenant]]\nname = \"acme\"\n",
            "this is a tenants file, not a pipeline file",
        ),
        ("[default]\nweight = 1\n", "this is a tenants file"),
    ] {
        assert_says(&the_error(text), &[said]);
    }
}

// Operators.
facts! {
    an_operator_needs_a_component: with_operator("") => ["operator `o` has no `component`", ":7:1"];
    an_unknown_builtin_is_told_the_nearest: builtin("filtre", "")
        => ["no built-in component `filtre`", ":9:13", "did you mean `filter`? there are `map`, `filter`"];
    a_builtin_is_prefixed: with_operator("component = \"map\"") => ["did you mean `builtin:map`?"];
    a_missing_component_is_told: with_operator("component = \"anomly.wasm\"")
        => ["cannot find the component", ":9:13", "did you mean `anomaly.wasm`?"];
    a_reduce_needs_a_window: builtin("reduce", "") => ["operator `o` has no `window`", "add `window = { tumbling = \"1m\" }`"];
    a_map_has_no_window: builtin("map", "window = { count = 5 }") => ["`builtin:map` has no `window`", "only a reduce"];
    a_map_has_no_partial_windows: builtin("map", "partial = \"emit\"")
        => ["`builtin:map` has no `partial`", "only a reduce has windows", "use `builtin:reduce`"];
    what_partial_is_is_a_word: reduce("partial = \"emitt\"")
        => ["unknown `partial` `emitt`", "did you mean `emit`?"];
    what_partial_is_is_no_switch: reduce("partial = true")
        => ["expected a string, found the boolean true", "`partial` is one of `keep` and `emit`, in quotes"];
    partial_stands_next_to_the_window: builtin("reduce", "window = { count = 5, partial = \"emit\" }")
        => ["unknown key `partial` in a window", "`partial` belongs in `[[operator]]`"];
    a_dedup_needs_an_order: builtin("dedup", "")
        => ["operator `o` has no `order`", "a dedup keeps state by key", "add `order = \"time\"`"];
    what_order_is_is_a_word: builtin("dedup", "order = \"source\"")
        => ["unknown `order` `source`", "there are `time` and `arrival`"];
    a_dedup_has_no_window: builtin("dedup", "order = \"time\"\nwindow = { count = 5 }")
        => ["`builtin:dedup` has no `window`", "only a reduce"];
    a_reduce_has_no_order: reduce("order = \"time\"") => ["`builtin:reduce` has no `order`", "remove it"];
    a_join_has_two_inputs: builtin("join", "order = \"time\"")
        => ["operator `o` has 0 `inputs`", "it needs two: LEFT and RIGHT", "write `inputs = [\"LEFT\", \"RIGHT\"]`"];
    a_map_has_no_shards: builtin("map", "shards = 2") => ["`builtin:map` has no `shards`", "use `replicas`"];
    a_reduce_has_no_replicas: reduce("replicas = 2") => ["`builtin:reduce` has no `replicas`", "use `shards`"];
    a_window_of_nothing_is_refused: builtin("reduce", "window = { count = 0 }") => ["0 is out of range", "at least 1"];
    a_sliding_window_begins_every_so_often: builtin("reduce", "window = { sliding = \"10m\" }")
        => ["the window has no `every`", "how often one begins is missing", "every = \"1m\""];
    what_begins_every_so_often_has_a_length: builtin("reduce", "window = { every = \"10m\" }")
        => ["the window has no `sliding`", "the length of a window is missing"];
    tumbling_windows_begin_one_behind_the_other: builtin("reduce", "window = { tumbling = \"10m\", every = \"1m\" }")
        => ["a `tumbling` window has no `every`", "how often a sliding window begins"];
    sliding_windows_leave_nothing_out: builtin("reduce", "window = { sliding = \"1m\", every = \"2m\" }")
        => ["events between two windows would be in none", "a window is only 1m long"];
    a_window_lasts: builtin("reduce", "window = { tumbling = \"0s\" }") => ["`tumbling` is 0", "no time at all"];
    a_window_lasts_whole_milliseconds: builtin("reduce", "window = { session = \"1500us\" }")
        => ["`session` is no whole number of milliseconds", "event times are in milliseconds"];
    a_session_has_no_offset: builtin("reduce", "window = { session = \"1m\", offset = \"1s\" }")
        => ["a session has no `offset`", "begins with its first event"];
    an_offset_is_shorter_than_what_it_moves: builtin("reduce", "window = { tumbling = \"1m\", offset = \"90s\" }")
        => ["`offset` is longer than", "a window begins every 1m", "`30s` means the same"];
    a_window_of_an_m_is_one_of_minutes: builtin("reduce", "window = { tumbling = \"5M\" }")
        => ["`5M` is no length of a window", "a minute is an `m`: write \"5m\"; or a month, \"5month\""];
    a_window_of_months_has_no_days: builtin("reduce", "window = { tumbling = \"1month 1d\" }")
        => ["`1month 1d` is no length of a window", "months and years stand alone"];
    what_looks_like_every_is_not_taken_for_it: builtin("reduce", "window = { tumbling = \"1d\", early = \"1h\" }")
        => ["`early`"];
    a_zone_is_suggested_by_its_city: builtin("reduce", "window = { tumbling = \"1d\", zone = \"Paris\" }")
        => ["there is no time zone `Paris`", "did you mean `Europe/Paris`?"];
    a_window_of_no_months_is_refused: builtin("reduce", "window = { tumbling = \"0months\" }")
        => ["`0months` is no length of a window", "from 1 month"];
    months_have_no_offset: builtin("reduce", "window = { tumbling = \"1month\", offset = \"1d\" }")
        => ["months have no `offset`", "they begin on their first day"];
    months_do_not_slide: builtin("reduce", "window = { sliding = \"2months\", every = \"1d\" }")
        => ["`sliding` and `every` are in different units", "months differ in length"];
    months_do_not_begin_every_hour: builtin("reduce", "window = { sliding = \"1month\", every = \"1h\" }")
        => ["`every` is no whole number of days", "write both in months or years, or both in other units"];
    an_event_is_in_a_million_windows: builtin("reduce", "window = { sliding = \"60d\", every = \"1ms\" }")
        => ["too many windows overlap", "an event would be in 5184000000 windows", "let `every` be longer"];
    hours_have_no_zone: builtin("reduce", "window = { tumbling = \"1h\", zone = \"Europe/Paris\" }")
        => ["`tumbling` is no whole number of days", "of days, weeks, months or years", "hours and less need no `zone`"];
    windows_of_the_calendar_end_with_its_days: builtin("reduce", "window = { sliding = \"3d\", every = \"2d\", zone = \"UTC\" }")
        => ["`sliding` is no multiple of `every`", "begin and end with its days or months"];
    windows_of_the_calendar_leave_nothing_out: builtin("reduce", "window = { sliding = \"1month\", every = \"1y\" }")
        => ["events between two windows would be in none", "a window is only 1 months long"];
    events_say_the_watermark_or_their_times_do: with_source("kind = \"stdin\"\ntime = \"/ts\"\nwatermark = \"/w\"\nlateness = \"1s\"")
        => ["`watermark` and `lateness` exclude each other", "events say how far event time has come", "remove one of the two"];
    a_zone_of_a_window_is_one_that_there_is: builtin("reduce", "window = { tumbling = \"1d\", zone = \"Europe/Berlim\" }")
        => ["there is no time zone `Europe/Berlim`", "did you mean `Europe/Berlin`?"];
    a_session_has_no_zone: builtin("reduce", "window = { session = \"1d\", zone = \"UTC\" }") => ["a session has no `zone`"];
    a_global_window_has_no_offset: builtin("reduce", "window = { global = true, offset = \"1h\" }")
        => ["a global window has no `offset`", "it holds all events"];
    a_global_window_is_emitted: builtin("reduce", "window = { global = true }\npartial = \"keep\"")
        => ["a global window has no `partial`", "it is emitted at the end of the input"];
    what_is_not_global_has_another_shape: builtin("reduce", "window = { global = false }")
        => ["`global` is false", "and `{ global = true }`"];
    count_windows_take_no_late_events: builtin("reduce", "window = { count = 5 }\nallowed_lateness = \"1m\"")
        => ["count windows have no `allowed_lateness`", "no event is late for them"];
    windows_that_overlap_often_take_no_late_events:
        builtin("reduce", "window = { sliding = \"1h\", every = \"1s\" }\nallowed_lateness = \"1m\"")
        => ["too many windows overlap", "would finish 3600 windows again", "at most 100"];
    sliding_windows_have_no_early_results:
        builtin("reduce", "window = { sliding = \"1h\", every = \"1m\" }\nearly = \"10s\"")
        => ["sliding windows have no `early`", "let `every` be shorter"];
    an_early_result_comes_before_the_end: builtin("reduce", "window = { tumbling = \"1m\" }\nearly = \"1m\"")
        => ["`early` is not before the end of a window", "a window is 1m long"];
    early_results_are_not_too_many: builtin("reduce", "window = { tumbling = \"1h\" }\nearly = \"1s\"")
        => ["a window would have too many early results", "it may have 100: write `36s` or more"];
    sessions_have_no_early_results_by_time: builtin("reduce", "window = { session = \"1m\" }\nearly = \"10s\"")
        => ["sessions have no `early` by event time", "moves the start of a session", "or write `early = { events = 100 }`"];
    a_global_window_has_no_early_results_by_time: builtin("reduce", "window = { global = true }\nearly = \"10s\"")
        => ["a global window has no `early` by event time", "it goes by no time", "or write `early = { events = 100 }`"];
    count_windows_have_no_early_results: builtin("reduce", "window = { count = 5 }\nearly = { events = 2 }")
        => ["count windows have no `early`", "each ends after a fixed number of events", "`window = { global = true }`"];
    sliding_windows_have_no_early_results_by_events:
        builtin("reduce", "window = { sliding = \"1h\", every = \"1m\" }\nearly = { events = 10 }")
        => ["sliding windows have no `early`", "let `every` be shorter"];
    an_early_result_comes_after_an_event: builtin("reduce", "window = { global = true }\nearly = { events = 0 }")
        => ["0 is out of range", "too small", "it is at least 1"];
    early_events_are_a_number: builtin("reduce", "window = { global = true }\nearly = { events = \"10s\" }")
        => ["expected a whole number, found the string"];
    a_number_alone_is_no_early: builtin("reduce", "window = { global = true }\nearly = 10")
        => ["expected a duration such as \"10s\", or `{ events = 100 }`", "write `{ events = 10 }` for a result after each 10 events"];
    early_results_come_by_time_or_by_events: builtin("reduce", "window = { tumbling = \"1m\" }\nearly = { every = \"10s\", events = 5 }")
        => ["`early` has no `every`", "by event time or by the number of events", "write `early = \"10s\"`, or"];
    an_early_table_says_the_events: builtin("reduce", "window = { tumbling = \"1m\" }\nearly = {}")
        => ["`early` has no `events`", "add `events = 100`"];
    a_global_window_takes_no_late_events: builtin("reduce", "window = { global = true }\nallowed_lateness = \"1m\"")
        => ["a global window has no `allowed_lateness`", "no event is late for it"];
    early_results_are_of_a_window: with_operator("component = \"x.wasm\"\nearly = \"1s\"")
        => ["`early` is of a window, and there is none", "add a `window`, or remove it"];
    late_events_are_of_a_window: with_operator("component = \"x.wasm\"\nallowed_lateness = \"1s\"")
        => ["`allowed_lateness` is of a window, and there is none"];
    a_map_has_no_early_results: builtin("map", "early = \"10s\"") => ["`builtin:map` has no `early`", "only a reduce has windows"];
    a_map_takes_no_late_events: builtin("map", "allowed_lateness = \"1m\"")
        => ["`builtin:map` has no `allowed_lateness`", "only a reduce has windows"];
    a_count_window_has_no_offset: builtin("reduce", "window = { count = 5, offset = \"1s\" }")
        => ["a count window has no `offset`"];
    windows_in_time_are_closed_at_the_end: builtin("reduce", "partial = \"emit\"\nwindow = { tumbling = \"1m\" }")
        => ["windows in time have no `partial`", "the end of the input closes them"];
    a_length_alone_is_no_window: builtin("reduce", "window = \"1d\"")
        => ["expected a table, found the string", "write `window = { tumbling = \"1d\" }`"];
    a_number_alone_is_no_window: builtin("reduce", "window = 5") => ["expected a table", "write `window = { count = 5 }`"];
    a_name_alone_is_no_window: builtin("reduce", "window = \"global\"")
        => ["expected a table", "write `window = { global = true }`"];
    yes_is_no_boolean: builtin("reduce", "window = { global = \"yes\" }")
        => ["expected true or false", "write `true`, without quotes"];
    a_window_has_one_shape: builtin("reduce", "window = { count = 5, session = \"30s\" }")
        => ["the window has 2 shapes at once", "`count` and `session` exclude each other"];
    a_window_of_time_has_a_kind: builtin("reduce", "window = { time = \"1m\" }")
        => ["a window has no `time`", "windows in time are of three kinds", "{ tumbling = \"1m\" }"];
    a_window_of_a_duration_is_one_of_time: builtin("reduce", "window = { duration = 60 }")
        => ["a window has no `duration`"];
    a_window_has_a_shape: builtin("reduce", "window = {}") => ["the window has no shape"];
    memory_needs_a_unit: builtin("map", "limits = { memory = \"16\" }")
        => ["`16` is not a size", "\"16KiB\" or \"16MiB\""];
    memory_is_no_number: builtin("map", "limits = { memory = 16 }")
        => ["expected a size, found the integer 16", "\"16KiB\" or \"16MiB\""];
    memory_is_at_least_a_page: builtin("map", "limits = { memory = \"1KiB\" }")
        => ["`memory` is out of range", "1024 bytes", "\"64KiB\""];
    memory_is_at_most_what_32_bits_address: builtin("map", "limits = { memory = \"5GiB\" }")
        => ["`memory` is out of range"];
    fuel_is_not_0: builtin("map", "limits = { fuel_per_event = 0 }") => ["0 is out of range", "at least 1"];
    errors_are_dead_letters_or_a_stop: builtin("map", "limits = { errors = \"ignore\" }")
        => ["unknown `errors` `ignore`", "there are `dead-letter` and `stop`"];
    shards_have_a_limit: reduce("shards = 4097") => ["4097 is out of range", "at most 4096"];
    bounds_are_in_order: reduce("shards = { min = 3, max = 2 }")
        => ["`min` is greater than `max`", "the most is 2", "at most `max`"];
    bounds_have_two_keys: builtin("map", "replicas = { least = 1 }")
        => ["unknown key `least` in `{ min = …, max = … }`"];
    bounds_are_numbers: builtin("map", "replicas = { max = 0 }") => ["0 is out of range", "at least 1"];
    how_many_replicas_is_no_word: builtin("map", "replicas = \"many\"") => ["expected a whole number, found the string"];
    scaling_is_auto_or_off: builtin("map", "scaling = \"on\"")
        => ["unknown `scaling` `on`", "there are `auto` and `off`"];
    shards_exclude_actors_per_key: reduce("shards = 2\nactors = \"per-key\"")
        => ["`shards` and `actors = \"per-key\"` exclude each other", "so many actors", "an actor of its own"];
    isolation_is_one_of_two: builtin("map", "isolation = \"frsh\"")
        => ["unknown isolation `frsh`", "did you mean `fresh`?"];
    a_slice_is_not_too_short: builtin("map", "slice = \"1us\"")
        => ["`slice` is out of range", "\"10us\" and \"100ms\""];
    an_idle_timeout_is_above_0: builtin("map", "idle_timeout = \"0s\"") => ["`idle_timeout` is 0"];
    a_config_is_a_table: builtin("map", "config = 5") => ["expected a table, found the integer 5"];
    a_variable_of_the_wrong_type_is_named: with_source("kind = \"generator\"\ncount = { env = \"TOKEN\" }")
        => ["the environment variable `TOKEN` does not hold a whole number in its range", "since it may be secret"];
    a_missing_variable_of_a_setting_is_told: with_source("kind = \"generator\"\ncount = { env = \"MISSING\" }")
        => ["the environment variable `MISSING` is not set"];
    a_missing_file_of_a_setting_is_told: with_source("kind = \"generator\"\ncount = { file = \"missing.txt\" }")
        => ["the file `missing.txt` cannot be read: No such file"];
    a_missing_variable_is_told: builtin("map", "config = { a = { env = \"MISSING\" } }")
        => ["the environment variable `MISSING` is not set", ":10:16", "MISSING=…"];
    infinity_is_no_json: builtin("map", "config = { a = inf }") => ["inf is not a JSON number"];
    an_operators_key_is_a_pointer: builtin("map", "key = \"sensor\"") => ["write \"/sensor\""];
}

// Sinks, dead letters, tests.
facts! {
    a_nats_sink_has_a_subject_without_wildcards:
        with_sink("kind = 'nats'\nstream = 'S'\nservers = ['a']\nsubject = 'a.>'")
        => ["no subject of messages as its `subject`"];
    a_sink_needs_a_kind: with_sink("") => ["sink `out` has no `kind`"];
    a_file_sink_needs_a_path: with_sink("kind = \"file\"") => ["sink `out` has no `path`"];
    an_http_sink_needs_a_url: with_sink("kind = 'http'") => ["sink `out` has no `url`", "https://hooks.example/events"];
    a_url_has_a_scheme: with_sink("kind = 'http'\nurl = 'ftp://hooks.example/'")
        => ["sink `out` has no URL to send to", "begins with `https://` or `http://`"];
    a_url_holds_no_password: with_sink("kind = 'http'\nurl = 'https://me:word@hooks.example/'")
        => ["a name and a password are none of a URL here", "`token`"];
    a_loopback_address_is_asked_for: with_sink("kind = 'http'\nurl = 'http://[::1]:8080/'")
        => ["sink `out` would send to a loopback address", "`allow_private = true`"];
    a_header_has_a_name: with_sink("kind = 'http'\nurl = 'https://a.example/'\nheaders = { \"a b\" = 'c' }")
        => ["cannot send the header `a b`", "no name of a header"];
    a_key_is_the_sinks_own: with_sink("kind = 'http'\nurl = 'https://a.example/'\nheaders = { Idempotency-Key = 'c' }")
        => ["cannot send the header `Idempotency-Key`", "the sink says this header itself"];
    a_token_has_one_line: with_sink("kind = 'http'\nurl = 'https://a.example/'\ntoken = \"a\\nb\"")
        => ["sink `out` has no `token` that a request can bear"];
    authorities_are_pem: with_sink("kind = 'http'\nurl = 'https://a.example/'\nca = 'ca.pem'")
        => ["sink `out` has no certificates as its `ca`", "{ file = \"ca.pem\" }"];
    a_batch_has_bytes: with_sink("kind = 'http'\nurl = 'https://a.example/'\nbatch_bytes = '0B'")
        => ["`batch_bytes` is 0"];
    only_a_file_is_committed: with_sink("kind = \"stdout\"\ncommit = \"epoch\"\nroll = { size = \"1MiB\" }")
        => ["sink `out` has no `commit`", "for kind = \"file\"", "sink `out` has no `roll`"];
    only_parts_roll: with_sink("kind = \"file\"\npath = \"a\"\nroll = { size = \"1MiB\" }")
        => ["sink `out` has no parts to `roll`", "add `commit = \"epoch\"`"];
    a_part_is_full_at_some_time: with_sink("kind = 'file'\npath = 'a/*'\ncommit = 'epoch'\nroll = {}")
        => ["`roll` says neither `size` nor `every`", "write `roll = "];
    a_part_holds_something: with_sink("kind = 'file'\npath = 'a/*'\ncommit = 'epoch'\nroll = { size = '0KiB' }")
        => ["`size` is 0", "nothing fits"];
    a_part_lasts_some_time: with_sink("kind = 'file'\npath = 'a/*'\ncommit = 'epoch'\nroll = { every = '0s' }")
        => ["`every` is 0"];
    parts_have_numbers: with_sink("kind = 'file'\npath = 'out.jsonl'\ncommit = 'epoch'")
        => ["this cannot be the path of several files", "no `*`", "averages/*.jsonl"];
    parts_have_one_number: with_sink("kind = 'file'\npath = 'a/*-*.jsonl'\ncommit = 'epoch'") => ["a second `*`"];
    parts_are_in_one_folder: with_sink("kind = 'file'\npath = 'a*/b.jsonl'\ncommit = 'epoch'")
        => ["a folder with a `*`"];
    parts_are_not_hidden: with_sink("kind = 'file'\npath = 'a/.*'\ncommit = 'epoch'") => ["hidden files"];
    a_star_wants_parts: with_sink("kind = 'file'\npath = 'a/*.jsonl'")
        => ["sink `out` writes one file, and no parts", "add `commit = \"epoch\"`"];
    the_folder_of_parts_is_no_file: with_sink("kind = 'file'\npath = 'readings.csv/*'\ncommit = 'epoch'")
        => ["the folder of the parts is a file"];
    parts_are_alone_in_their_folder: with_sink("kind = 'file'\npath = './*.out'\ncommit = 'epoch'")
        => ["the pipeline file and sink `out` use the same folder", "its own folder"];
    two_sinks_have_two_folders: with_sink(
        "kind = 'file'\npath = 'a/*.x'\ncommit = 'epoch'\n[[sink]]\nid = 'b'\nkind = 'file'\npath = 'x/../a/*.y'\ncommit = 'epoch'"
    ) => ["sink `out` and sink `b` use the same folder", "written here"];
    no_sink_writes_among_the_parts_of_another: with_sink(
        "kind = 'file'\npath = 'a/*.x'\ncommit = 'epoch'\n[[sink]]\nid = 'b'\nkind = 'file'\npath = 'a/y'"
    ) => ["sink `out` and sink `b` use the same folder"];
    no_sink_puts_parts_around_the_file_of_another: with_sink(
        "kind = 'file'\npath = 'a/y'\n[[sink]]\nid = 'b'\nkind = 'file'\npath = 'a/*.x'\ncommit = 'epoch'"
    ) => ["sink `out` and sink `b` use the same folder"];
    an_order_is_key_or_source: with_sink("kind = \"null\"\norder = \"time\"")
        => ["unknown order `time`", "`key` and `source`"];
    a_sink_does_not_write_what_a_source_reads: with_sink("kind = \"file\"\npath = \"./x/../examples/sensors.jsonl\"")
        => ["source `s` and sink `out` use the same file", "read here", "written here", "its own file"];
    two_sinks_write_two_files: with_sink("kind = 'file'\npath = 'a'\n[[sink]]\nid = 'b'\nkind = 'file'\npath = './a'")
        => ["sink `out` and sink `b` use the same file", "written here"];
    dead_letters_have_their_own_file: with_sink("kind = \"file\"\npath = \"a\"\n[dead_letters]\npath = \"a\"")
        => ["sink `out` and the dead letters use the same file"];
    a_sink_does_not_write_the_pipeline_file: with_sink("kind = \"file\"\npath = \"pipeline.toml\"")
        => ["the pipeline file and sink `out` use the same file"];
    a_sink_is_no_directory: with_sink("kind = \"file\"\npath = \"examples\"") => ["the sink file is a directory"];
    a_path_is_not_empty: with_sink("kind = \"file\"\npath = \"\"") => ["this cannot be a path"];
    a_test_needs_all_its_parts: with_test("") => ["the test has no `input`", "the test has no `output`"];
    a_test_enters_at_a_source: with_test("input = [{ at = \"out\", value = 1 }]\noutput = []")
        => ["there is no source `out`", "not the id of a source", "there are `s`"];
    a_test_leaves_at_a_sink: with_test("input = []\noutput = [{ at = \"outt\", value = 1 }]")
        => ["there is no sink `outt`", "did you mean `out`?"];
    an_event_that_leaves_has_a_value: with_test("input = []\noutput = [{ at = \"out\" }]") => ["the event has no `value`"];
    an_entry_is_an_event_or_a_watermark: with_test("input = [{ at = \"s\" }]\noutput = []")
        => ["neither a `value` nor a `watermark`", ":11:10", "`value` is missing", "`watermark = \"2024-01-01T00:00:00Z\"`"];
    an_entry_is_not_both: with_test("input = [{ value = 1, watermark = 5 }]\noutput = []")
        => ["both a `value` and a `watermark`", ":11:35", "next to a value", "make two entries of it"];
    a_watermark_is_a_moment: with_test("input = [{ watermark = \"noon\" }]\noutput = []")
        => ["`noon` is not a moment", ":11:24", "RFC 3339 time", "ms since the epoch"];
    a_watermark_is_not_in_hours: with_test("input = [{ watermark = 1.5 }]\noutput = []")
        => ["expected a moment, found the float 1.5"];
    a_watermark_leaves_by_no_sink: with_test("input = []\noutput = [{ watermark = 5 }]")
        => ["an event of the output has a `watermark`", ":12:13", "watermarks leave by no sink", "into `input`"];
    a_watermark_enters_at_a_source: with_test("input = [{ at = \"out\", watermark = 5 }]\noutput = []")
        => ["there is no source `out`"];
    the_order_of_outputs_is_listed_or_any: with_test("input = []\noutput = []\norder = \"key\"")
        => ["unknown order `key`", "`listed` and `any`"];
    a_dead_letter_of_a_test_has_an_operator: with_test("input = []\noutput = []\ndead_letters = [{ reason = \"x\" }]")
        => ["the dead letter has no `operator`"];
    a_dead_letter_of_a_test_is_of_an_operator_or_a_source: with_test(
        "input = []\noutput = []\ndead_letters = [{ operator = \"out\" }]"
    ) => ["there is no operator or source `out`", "not the id of an operator or a source", "there are `s`"];
    fewer_than_no_events_are_late: with_test("input = []\noutput = []\nlate = -1") => ["-1 is out of range", "at least 0"];
    no_event_burns_no_fuel: with_test("input = []\noutput = []\nmax_fuel_per_event = 0")
        => ["0 is out of range", "at least 1"];
    a_tests_name_is_its_own: with_test("input = []\noutput = []\n[[test]]\nname = \"t\"\ninput = []\noutput = []")
        => ["two tests are called \"t\"", "first here", "again here"];
    an_event_says_where_among_several: format!(
        "{}[[sink]]\nid = \"more\"\nkind = \"null\"\n[[test]]\nname = \"t\"\ninput = []\noutput = [{{ value = 1 }}]",
        with_source("kind = \"stdin\"")
    ) => ["the event does not say at which sink", "there are `out` and `more`"];
}

#[test]
fn a_source_whose_events_are_handed_in_needs_no_file() {
    let text = with_source("kind = \"file\"\npath = \"not-there.jsonl\"\ntime = \"/ts\"");
    let folder = super::TestFolder::new();
    assert!(folder.parse(&text, &[]).is_err());
    assert!(folder.parse_with(&text, &[], super::Inputs::HandedIn).is_ok());
}
