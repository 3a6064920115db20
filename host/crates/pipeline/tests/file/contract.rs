//! The example of the contract, and the defaults.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{TestFolder, good, spec, with_operator, with_source};
use dirigo_connect::{SinkSpec, SourceSpec, TimeUnit};
use dirigo_connectors::file::{FileFormat, FileSpec, FolderSpec, LinesSpec, PartsSpec, Roll};
use dirigo_connectors::generator::GeneratorSpec;
use dirigo_ground::windowing::{EarlyEvents, Session, Sliding, TimeWindows};
use dirigo_ground::zone::Zone;
use dirigo_pipeline::*;

/// The pipeline file of the contract, with a test case written out.
const CONTRACT: &str = r#"#:schema https://dirigo.dev/schema/pipeline.json
[pipeline]
name   = "sensors"
tenant = "acme"                 # default "default"
slo    = "50ms"                 # latency target from arrival to sink; optional
checkpoint = "1s"               # how often state and positions become durable; "off" for none

[[source]]
id     = "readings"
kind   = "file"                 # file | stdin | generator | http | nats | …
path   = "examples/sensors.jsonl"   # relative to this file
format = "jsonl"                # jsonl | csv | lines
key    = "/sensor"              # JSON pointer; a column name for csv
time   = "/ts"                  # JSON pointer; integer ms since the epoch, or RFC 3339
lateness = "5s"                 # how far behind the newest event time the watermark runs; default 0
idle   = "30s"                  # a source this long silent no longer holds the watermark back

[[operator]]
id        = "map-1"
component = "builtin:map"       # or a path to a .wasm
inputs    = ["readings"]        # default: the one listed before it
config    = { field = "value", scale = 1.8, offset = 32.0, into = "fahrenheit" }

[[operator]]
id        = "filter-1"
component = "builtin:filter"
config    = { field = "fahrenheit", threshold = 50.0 }      # keeps values above it

[[operator]]
id        = "reduce-1"
component = "builtin:reduce"
key       = "/sensor"           # default: the key that the events already bear
window    = { count = 5 }
config    = { field = "fahrenheit", aggregate = "avg" }     # avg sum min max count

[operator.limits]               # of the operator above; each is enforced, or refused at start
memory = "16MiB"
fuel_per_event = 10_000_000
errors = "dead-letter"          # dead-letter (default) | stop

[[sink]]
id   = "averages"
kind = "file"                   # file | stdout | null | http | nats | …
path = "out/averages.jsonl"
order = "key"                   # or "source"

[dead_letters]
path = "out/dead.jsonl"

[[test]]
name   = "averages five readings"
input  = [
  { at = "readings", value = { sensor = "s-1", ts = 1, value = 10 } },
  { value = { sensor = "s-1", ts = 2, value = 20.5 } },
]
output = [{ at = "averages", value = { key = "s-1", avg = 59.0, count = 5, start = 1, end = 5 } }]
"#;

#[test]
fn the_contracts_example_is_what_it_says() {
    let folder = TestFolder::new();
    let Loaded { pipeline, warnings, .. } = folder.parse(CONTRACT, &[]).unwrap();
    assert_eq!((pipeline.name.as_str(), pipeline.tenant.as_str()), ("sensors", "acme"));
    assert_eq!(pipeline.slo, Some(Duration::from_millis(50)));
    assert_eq!(pipeline.checkpoint, Some(Duration::from_secs(1)));
    assert_eq!(pipeline.dead_letters, Some(folder.path("out/dead.jsonl")));
    assert_eq!(pipeline.file, folder.path("pipeline.toml"));
    assert_eq!(warnings.count(Severity::Warning), 0, "{warnings}");

    let source = &pipeline.sources[0];
    let expected = FileSpec {
        path: folder.path("examples/sensors.jsonl"),
        format: Format::Jsonl,
        cells: Arc::default(),
        follow: false,
        special: false,
        zstd_window_max: 128 << 20,
    };
    assert_eq!(spec::<FileSpec>(&*source.spec), &expected);
    assert_eq!(source.key.as_ref().unwrap().tokens, ["sensor"]);
    assert_eq!(source.time.as_ref().unwrap().pointer.text, "/ts");
    assert_eq!(
        (source.lateness, source.idle),
        (Duration::from_secs(5), Some(Duration::from_secs(30)))
    );

    let ids: Vec<&str> = pipeline.operators.iter().map(|operator| operator.id.as_str()).collect();
    assert_eq!(ids, ["map-1", "filter-1", "reduce-1"]);
    let inputs: Vec<_> = pipeline
        .operators
        .iter()
        .flat_map(|operator| operator.inputs.clone())
        .collect();
    assert_eq!(inputs, [Input::Source(0), Input::Operator(0), Input::Operator(1)]);
    let [map, _, reduce] = pipeline.operators.as_slice() else {
        panic!("{ids:?}")
    };
    assert_eq!(map.component, ComponentRef::Builtin("map".to_owned()));
    assert_eq!(
        map.config,
        json!({ "field": "value", "scale": 1.8, "offset": 32.0, "into": "fahrenheit" })
    );
    assert_eq!(reduce.window, Some(Window::Count(5)));
    assert_eq!(reduce.key.as_ref().unwrap().tokens, ["sensor"]);
    let limits = Limits {
        memory: 16 << 20,
        state: 1 << 20,
        fuel_per_event: 10_000_000,
        table_elements: 10_000,
        open_ms: 10_000,
    };
    assert_eq!((reduce.limits, reduce.errors), (limits, OnError::DeadLetter));

    let sink = &pipeline.sinks[0];
    assert_eq!(sink.inputs, [Input::Operator(2)]);
    let path = folder.path("out/averages.jsonl");
    assert_eq!(
        spec::<LinesSpec>(&*sink.spec),
        &LinesSpec {
            path,
            format: FileFormat::Jsonl,
            if_exists: None
        }
    );
    assert_eq!(sink.order, Order::Key);

    let test = &pipeline.tests[0];
    let line = 1 + CONTRACT.lines().position(|line| line == "[[test]]").unwrap();
    assert_eq!((test.name.as_str(), test.line), ("averages five readings", line));
    let second = TestEntry {
        at: "readings".to_owned(),
        input: TestInput::Event(json!({ "sensor": "s-1", "ts": 2, "value": 20.5 })),
    };
    assert_eq!(test.input[1], second);
    assert_eq!(test.output[0].at, "averages");
    assert_eq!(test.order, OutputOrder::Listed);
    assert_eq!(
        (&test.dead_letters, test.late, test.fuel_per_event_max),
        (&None, None, None),
        "nothing is asked of those"
    );
}

#[test]
fn a_test_says_what_else_must_come_of_it() {
    let case = r#"
[[test]]
name = "t"
input = [
    { watermark = "2010-01-01T00:05:00Z" },
    { at = "readings", watermark = -7 },
    { value = 1 },
]
output = []
order = "any"
dead_letters = [{ operator = "map-1", reason = "no number", value = { n = 1.0 } }, { operator = "readings" }]
late = 0
max_fuel_per_event = 5
"#;
    let pipeline = good(&format!("{CONTRACT}{case}")).pipeline;
    let test = &pipeline.tests[1];
    let inputs: Vec<&TestInput> = test.input.iter().map(|entry| &entry.input).collect();
    let expected = [
        TestInput::Watermark(1_262_304_300_000),
        TestInput::Watermark(-7),
        TestInput::Event(json!(1)),
    ];
    assert!(inputs.into_iter().eq(&expected));
    assert_eq!(test.order, OutputOrder::Any);
    let [first, second] = test.dead_letters.as_deref().unwrap() else {
        panic!("{:?}", test.dead_letters)
    };
    assert_eq!(
        (first.operator.as_str(), second.operator.as_str()),
        ("map-1", "readings")
    );
    assert_eq!(
        (first.reason.as_deref(), &first.value),
        (Some("no number"), &Some(json!({ "n": 1.0 })))
    );
    assert_eq!((&second.reason, &second.value), (&None, &None));
    assert_eq!((test.late, test.fuel_per_event_max), (Some(0), Some(5)));
}

#[test]
fn the_contracts_example_is_told_what_has_no_effect_unless_it_has_windows_in_time() {
    let told = |text: &str| -> Vec<String> {
        let warnings = TestFolder::new().parse(text, &[]).unwrap().warnings;
        warnings.iter().map(|warning| warning.message().to_owned()).collect()
    };
    assert_eq!(told(CONTRACT), ["`lateness` has no effect", "`idle` has no effect"]);
    let timed = CONTRACT.replace("{ count = 5 }", "{ tumbling = \"1m\" }");
    assert_ne!(timed, CONTRACT);
    assert!(told(&timed).is_empty());
}

#[test]
fn windows_are_shown_as_a_pipeline_file_says_them() {
    let shown = |window: &str| {
        let operator = format!("component = \"builtin:reduce\"\nwindow = {window}");
        let pipeline = good(&with_operator(&operator)).pipeline;
        pipeline.operators[0].window.unwrap().to_string()
    };
    for window in [
        "{ count = 5 }",
        "{ global = true }",
        "{ session = \"30s\" }",
        "{ tumbling = \"1m\" }",
        "{ tumbling = \"1day\", offset = \"2h\" }",
        "{ sliding = \"10m\", every = \"1m\" }",
        "{ tumbling = \"3month\" }",
        "{ sliding = \"14d\", every = \"7d\", offset = \"4days\", zone = \"Europe/Paris\" }",
    ] {
        assert_eq!(shown(window), window);
    }
    assert_eq!(
        shown("{ tumbling = \"1m\" }\nearly = \"10s\"\nallowed_lateness = \"5s\""),
        "{ tumbling = \"1m\" } with `allowed_lateness = \"5s\"` with `early = \"10s\"`"
    );
    assert_eq!(
        shown("{ global = true }\nearly = { events = 10 }"),
        "{ global = true } with `early = { events = 10 }`"
    );
}

#[test]
fn windows_in_time_are_what_they_are_said_to_be() {
    let window = |window: &str| {
        let operator = format!("component = \"builtin:reduce\"\nwindow = {window}");
        good(&with_operator(&operator)).pipeline.operators[0].window
    };
    let sliding = |length_ms, every_ms, offset_ms| {
        Some(Window::Time(TimeWindows::Sliding(Sliding {
            offset_ms,
            ..Sliding::of_ms(length_ms, every_ms)
        })))
    };
    assert_eq!(window("{ tumbling = \"1m\" }"), sliding(60_000, 60_000, 0));
    assert_eq!(
        window("{ tumbling = \"1d\", offset = \"2h\" }"),
        sliding(86_400_000, 86_400_000, 7_200_000)
    );
    assert_eq!(
        window("{ sliding = \"10m\", every = \"1m\", offset = \"1s\" }"),
        sliding(600_000, 60_000, 1_000)
    );
    let months = |months| {
        Some(Window::Time(TimeWindows::Sliding(Sliding::of_months(
            months,
            1,
            Zone::utc(),
        ))))
    };
    assert_eq!(window("{ tumbling = \"1month\" }"), months(1));
    assert_eq!(window("{ tumbling = \"3 months\" }"), months(3));
    assert_eq!(window("{ tumbling = \"1y\" }"), months(12));
    let paris = Zone::named("Europe/Paris").unwrap();
    let calendar = |sliding| Some(Window::Time(TimeWindows::Sliding(sliding)));
    assert_eq!(
        window("{ sliding = \"1y\", every = \"3months\" }"),
        calendar(Sliding::of_months(3, 4, Zone::utc()))
    );
    for day in ["tumbling = \"1d\"", "tumbling = \"24h\"", "every = \"1d\""] {
        assert_eq!(
            window(&format!("{{ {day}, zone = \"Europe/Paris\" }}")),
            calendar(Sliding::of_days(1, 1, paris))
        );
    }
    assert_eq!(
        window("{ sliding = \"2w\", every = \"1w\", offset = \"4d\", zone = \"Europe/Paris\" }"),
        calendar(Sliding {
            offset_ms: 4 * 86_400_000,
            ..Sliding::of_days(7, 2, paris)
        })
    );
    assert_eq!(
        window("{ tumbling = \"1month\", zone = \"Europe/Paris\" }"),
        calendar(Sliding::of_months(1, 1, paris))
    );
    let global = |events| {
        let early_events = EarlyEvents::every(events);
        Some(Window::Global { early_events })
    };
    assert_eq!(window("{ global = true }"), global(0));
    assert_eq!(window("{ global = true }\nearly = { events = 10 }"), global(10));
    assert_eq!(
        window("{ tumbling = \"1m\" }\nearly = \"10s\"\nallowed_lateness = \"5s\""),
        calendar(Sliding {
            early_ms: 10_000,
            allowed_ms: 5_000,
            ..Sliding::of_ms(60_000, 60_000)
        })
    );
    let session = Window::Time(TimeWindows::Session(Session::of_gap(30_000)));
    assert_eq!(window("{ session = \"30s\" }"), Some(session));
    let session = Window::Time(TimeWindows::Session(Session {
        early_events: EarlyEvents::every(1),
        allowed_ms: 60_000,
        ..Session::of_gap(30_000)
    }));
    assert_eq!(
        window("{ session = \"30s\" }\nearly = { events = 1 }\nallowed_lateness = \"1m\""),
        Some(session)
    );
    assert_eq!(
        window("{ tumbling = \"1m\" }\nearly = { events = 100 }\nallowed_lateness = \"5s\""),
        calendar(Sliding {
            early_events: EarlyEvents::every(100),
            allowed_ms: 5_000,
            ..Sliding::of_ms(60_000, 60_000)
        })
    );
}

#[test]
fn a_pipeline_has_the_contracts_defaults() {
    let pipeline = good(&with_operator("component = \"anomaly.wasm\"")).pipeline;
    assert_eq!(pipeline.tenant, "default");
    assert_eq!(
        (pipeline.slo, pipeline.checkpoint, &pipeline.dead_letters),
        (None, Some(Duration::from_secs(1)), &None)
    );
    assert_eq!(pipeline.sinks[0].order, Order::Key);
    let operator = &pipeline.operators[0];
    let limits = Limits {
        memory: 64 << 20,
        state: 1 << 20,
        fuel_per_event: 10_000_000,
        table_elements: 10_000,
        open_ms: 10_000,
    };
    assert_eq!((operator.limits, operator.errors), (limits, OnError::DeadLetter));
    assert_eq!(
        (operator.actors, operator.isolation),
        (Actors::Shards(None), Isolation::Actor)
    );
    assert_eq!((operator.replicas, operator.window), (None, None));
    assert_eq!(operator.scaling, Scaling::Auto);
    assert_eq!(
        (operator.idle_timeout, operator.slice),
        (Duration::from_mins(1), Duration::from_micros(100))
    );
    assert_eq!(operator.config, json!({}));
}

#[test]
fn checkpoints_can_be_off() {
    let text = with_source("kind = \"stdin\"").replace("name = \"p\"", "name = \"p\"\ncheckpoint = \"off\"");
    assert_eq!(good(&text).pipeline.checkpoint, None);
}

fn sink(text: &str) -> Arc<dyn SinkSpec> {
    let text = with_source("kind = \"stdin\"").replace("kind = \"null\"", text);
    good(&text).pipeline.sinks[0].spec.clone()
}

fn source(text: &str) -> Arc<dyn SourceSpec> {
    good(&with_source(text)).pipeline.sources[0].spec.clone()
}

#[test]
fn a_sink_that_shows_what_is_committed_writes_parts() {
    let parts = sink("kind = \"file\"\ncommit = \"epoch\"\npath = \"out/day-*.jsonl.zst\"");
    let PartsSpec { pattern, roll, .. } = spec(&*parts);
    assert_eq!(*roll, None);
    assert!(pattern.folder.ends_with("out"), "{pattern}");
    assert_eq!(
        (pattern.prefix.as_str(), pattern.suffix.as_str()),
        ("day-", ".jsonl.zst")
    );
    let parts =
        sink("kind = \"file\"\ncommit = \"epoch\"\npath = \"out/*\"\nroll = { size = \"64MiB\", every = \"1m\" }");
    let roll = Some(Roll {
        size: Some(64 << 20),
        every: Some(Duration::from_mins(1)),
    });
    assert_eq!(spec::<PartsSpec>(&*parts).roll, roll);
}

#[test]
fn a_sink_that_appends_writes_one_file() {
    let lines = sink("kind = \"file\"\ncommit = \"append\"\npath = \"out.jsonl\"");
    assert!(spec::<LinesSpec>(&*lines).path.ends_with("out.jsonl"));
}

#[test]
fn a_generator_has_defaults() {
    let generator = source("kind = \"generator\"");
    let start_ms = 1_704_067_200_000;
    let expected = GeneratorSpec {
        count: None,
        rate: None,
        sensors: 100,
        seed: 1,
        start_ms,
        step_ms: 1000,
    };
    assert_eq!(spec::<GeneratorSpec>(&*generator), &expected);
}

#[test]
fn a_generator_takes_its_options() {
    let text = "kind = \"generator\"\ncount = 5\nrate = 1_000\nsensors = 3\nseed = 7\n\
                start = 2024-01-01T01:00:00+01:00\nstep = \"20ms\"\nkey = \"/sensor\"\ntime = \"/ts\"";
    let generator = source(text);
    let start_ms = 1_704_067_200_000;
    let expected = GeneratorSpec {
        count: Some(5),
        rate: Some(1000.0),
        sensors: 3,
        seed: 7,
        start_ms,
        step_ms: 20,
    };
    assert_eq!(spec::<GeneratorSpec>(&*generator), &expected);
}

#[test]
fn the_extension_tells_the_format_and_stdin_is_jsonl() {
    let format = |text: &str| source(text).format();
    assert_eq!(
        format("kind = \"file\"\npath = \"examples/sensors.jsonl\""),
        Format::Jsonl
    );
    assert_eq!(format("kind = \"file\"\npath = \"readings.csv\""), Format::Csv);
    assert_eq!(format("kind = \"file\"\npath = \"lines.log.gz\""), Format::Lines);
    assert_eq!(
        format("kind = \"file\"\npath = \"readings.dat\"\nformat = \"csv\""),
        Format::Csv
    );
    assert_eq!(format("kind = \"stdin\""), Format::Jsonl);
}

#[test]
fn a_source_reads_a_folder_or_the_files_that_match() {
    let pattern = |text: &str| {
        let loaded = good(&with_source(text));
        let FolderSpec { pattern, format, .. } = spec(&*loaded.pipeline.sources[0].spec);
        (pattern.name("*"), *format, loaded.warnings)
    };
    let (names, format, _) = pattern("kind = \"file\"\npath = \"examples/*.jsonl.gz\"");
    assert_eq!((names.as_str(), format), ("*.jsonl.gz", Format::Jsonl));
    let (names, format, _) = pattern("kind = \"file\"\npath = \"examples/\"\nformat = \"csv\"");
    assert_eq!((names.as_str(), format), ("*", Format::Csv));
    let (.., warnings) = pattern("kind = \"file\"\npath = \"examples/none-*.jsonl\"");
    super::assert_says(
        &warnings.render(false),
        &["warning: there are no source files", "none-*.jsonl"],
    );
}

#[test]
fn a_sink_may_write_beside_the_files_that_a_source_matches() {
    let text = "kind = 'file'\npath = 'examples/*.jsonl'\n[[sink]]\nid = 'x'\nkind = 'file'\npath = 'examples/x.csv'";
    good(&with_source(text));
}

#[test]
fn a_csv_key_may_be_a_column_name() {
    let text = with_source("kind = \"file\"\npath = \"readings.csv\"\nkey = \"sensor id\"\ntime = \"/ts\"");
    let source = good(&text).pipeline.sources[0].clone();
    assert_eq!(
        source.key.unwrap(),
        Pointer {
            text: "sensor id".to_owned(),
            tokens: vec!["sensor id".to_owned()]
        }
    );
    assert_eq!(source.time.unwrap().pointer.tokens, ["ts"]);
}

#[test]
fn a_pointer_is_unescaped() {
    let source = good(&with_source("kind = \"stdin\"\nkey = \"/a~1b/m~0n/~01\""))
        .pipeline
        .sources[0]
        .clone();
    assert_eq!(source.key.unwrap().tokens, ["a/b", "m~n", "~1"]);
}

#[test]
fn a_config_takes_any_json_and_secrets_from_the_environment() {
    let config = "component = \"anomaly.wasm\"\nconfig = { since = 2024-01-01T00:00:00Z, on = true, \
                  list = [1, { env = \"TOKEN\" }], env = \"TOKEN\", data = { env = \"TOKEN\", more = 1 } }";
    let expected = json!({
        "since": "2024-01-01T00:00:00Z",
        "on": true,
        "list": [1, "s3cret"],
        "env": "TOKEN",
        "data": { "env": "TOKEN", "more": 1 },
    });
    assert_eq!(good(&with_operator(config)).pipeline.operators[0].config, expected);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_trouble() {
    let text = format!("\u{feff}{}", with_source("kind = \"stdin\"").replace('\n', "\r\n"));
    assert_eq!(good(&text).pipeline.name, "p");
}

/// All that the binary brings along, as `dirigo schema` has them.
fn connectors() -> Registry {
    dirigo_connectors::builtin()
        .with_source(dirigo_mqtt::MqttSource)
        .with_sink(dirigo_mqtt::MqttSink)
        .with_sink(dirigo_postgres::PostgresSink)
}

#[test]
fn the_schema_describes_every_table_with_its_defaults() {
    let schema = schema(&connectors());
    assert_eq!(schema["$id"], "https://dirigo.dev/schema/pipeline.json");
    assert_eq!(schema["required"], json!(["pipeline", "source", "sink"]));
    assert_eq!(schema["additionalProperties"], json!(false));
    let table = |name: &str| &schema["definitions"][name];
    assert_eq!(table("Pipeline")["properties"]["tenant"]["default"], "default");
    assert_eq!(
        table("Source")["properties"]["kind"]["enum"],
        json!(["file", "http", "nats", "stdin", "generator", "nexmark", "mqtt"])
    );
    let step = &table("Source")["properties"]["step"];
    assert_eq!((&step["type"], &step["default"]), (&json!("string"), &json!(null)));
    let said = step["description"].as_str().unwrap();
    assert!(
        said.contains("Default: \"1s\".") && said.contains("Default: \"100us\"."),
        "{said}"
    );
    assert_eq!(table("Operator")["required"], json!(["id", "component"]));
    let shards = &table("Operator")["properties"]["shards"]["anyOf"];
    assert_eq!(
        (&shards[0]["maximum"], &shards[1]["title"]),
        (&json!(4096), &json!(null))
    );
    assert_eq!(table("Limits")["properties"]["memory"]["default"], "64MiB");
    assert!(
        table("Sink")["properties"]["path"]["description"]
            .as_str()
            .unwrap()
            .starts_with("For a file")
    );
    assert!(
        !schema.to_string().contains(r#""type":"null""#),
        "TOML has no null: {schema}"
    );
    assert!(
        !schema.to_string().contains(r"\n"),
        "descriptions are one line: {schema}"
    );
}

#[test]
fn a_later_finding_is_told_at_its_key() {
    let loaded = good(&with_operator(
        "component = \"anomaly.wasm\"\n[operator.limits]\nmemory = \"1MiB\"",
    ));
    let said = |key| {
        loaded
            .error_at("o", key, "too little", "here", Some("more"))
            .render(false)
    };
    super::assert_says(
        &said("limits.memory"),
        &["error: too little", "pipeline.toml:11:10", "^^^^^^ here", "help: more"],
    );
    super::assert_says(&said("window"), &["pipeline.toml:8:6"]);
}

#[test]
fn a_time_may_say_its_unit_and_its_zone() {
    let time = |written: &str| {
        let text = with_source(&format!("kind = \"file\"\npath = \"readings.csv\"\ntime = {written}"));
        good(&text).pipeline.sources[0].time.clone().unwrap()
    };
    let plain = time("\"/ts\"");
    assert_eq!((plain.unit, plain.zone), (None, None));
    let full = time("{ field = \"ts\", unit = \"s\", zone = \"+02:00\" }");
    assert_eq!(
        (full.pointer.tokens, full.unit),
        (vec!["ts".to_owned()], Some(TimeUnit::Seconds))
    );
    assert_eq!(full.zone.unwrap().name(), "+02:00");
}

#[test]
fn nothing_stands_next_to_a_reference_in_the_schema() {
    fn walk(value: &serde_json::Value) {
        if let Some(members) = value.as_object() {
            assert!(!members.contains_key("$ref") || members.len() == 1, "{value}");
            members.values().for_each(walk);
        }
        value.as_array().into_iter().flatten().for_each(walk);
    }
    let schema = schema(&dirigo_connectors::builtin());
    walk(&schema);
    let roll = &schema["definitions"]["Sink"]["properties"]["roll"];
    assert!(
        roll["description"]
            .as_str()
            .unwrap()
            .contains("how much goes into a part"),
        "{roll}"
    );
}

#[test]
fn dead_letters_may_have_a_bound_and_no_path() {
    let pipeline = good(&with_source("kind = \"stdin\"\n[dead_letters]\nmax = 5")).pipeline;
    assert!(pipeline.dead_letters.is_none() && pipeline.dead_letters_max.is_some());
}

#[test]
fn the_reference_in_the_docs_is_that_of_the_schema() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/pipeline-file.md");
    let reference = reference(&connectors());
    let written = fs::read_to_string(page).unwrap_or_default();
    assert!(
        written == reference,
        "docs/pipeline-file.md is out of date: dirigo schema --reference > docs/pipeline-file.md"
    );
}

#[test]
fn settings_of_any_type_come_from_outside() {
    let folder = TestFolder::new();
    fs::write(folder.path("memory.txt"), "16MiB\n").unwrap();
    let text = "[pipeline]\nname = \"p\"\nslo = { env = \"SLO\" }\n\
                [[source]]\nid = \"s\"\nkind = \"generator\"\ncount = { env = \"NUMBER\" }\nrate = { env = \"NUMBER\" }\n\
                [[operator]]\nid = \"o\"\ncomponent = \"builtin:reduce\"\ninputs = { env = \"LIST\" }\n\
                window = { env = \"WINDOW\" }\n\
                config = { n = { env = \"NUMBER\" }, text = { env = \"NUMBER\", type = \"string\" } }\n\
                [operator.limits]\nmemory = { file = \"memory.txt\" }\n\
                [[sink]]\nid = \"n\"\nkind = \"null\"\n";
    let pipeline = folder.parse(text, &[]).unwrap().pipeline;
    assert_eq!(pipeline.slo, Some(Duration::from_millis(50)));
    assert_eq!(pipeline.sources[0].spec.rate(), Some(7.0));
    let operator = &pipeline.operators[0];
    assert_eq!(
        (operator.window, operator.limits.memory),
        (Some(Window::Count(5)), 16 << 20)
    );
    assert_eq!(operator.inputs, [Input::Source(0)]);
    assert_eq!(operator.config, json!({ "n": 7, "text": "7" }));
}
