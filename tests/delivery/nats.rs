//! Streams of NATS JetStream: each message comes out once and in order, whatever happens to Dirigo or to the server in between.

pub(crate) mod server;

use std::fs;
use std::time::Duration;

use async_nats::jetstream::stream;

use self::server::{NatsServer, Streams};
use crate::support::{Dirigo, Folder, Random, Running, assert_says, event, map_to_file, number_of, numbers};

/// The map over a source `in` that reads the stream `IN` of a server, with `more`.
fn pipeline(folder: &Folder, server: &NatsServer, more: &str, mode: &str) {
    folder.write(
        "pipeline.toml",
        format!(
            r#"
            [pipeline]
            name = "streamed"
            checkpoint = "20ms"
            [[source]]
            id = "in"
            kind = "nats"
            servers = ["{}"]
            stream = "IN"
            key = "/key"
            {more}
            {}
            "#,
            server.url(),
            map_to_file(mode)
        ),
    );
}

fn run(folder: &Folder) -> Dirigo {
    Dirigo::run(folder, ["pipeline.toml"]).with_state().workers(2)
}

/// Numbered events as messages, of subjects by key.
fn messages(range: std::ops::Range<u64>) -> impl Iterator<Item = (String, String)> {
    range.map(|n| {
        let key = format!("k-{}", n % 7);
        (format!("IN.{key}"), event(n, &key).trim_end().to_owned())
    })
}

/// A server with the stream `IN`, in the folder of a test.
fn served() -> (Folder, NatsServer, Streams) {
    let folder = Folder::new();
    let server = NatsServer::start(&folder);
    let streams = server.client();
    streams.create("IN");
    (folder, server, streams)
}

/// Ends a run once its sink has so many lines.
fn finish_when(running: Running, folder: &Folder, lines: u64) {
    folder.wait_for_lines("out.jsonl", lines);
    running.terminate();
    running.finish().succeeds();
}

#[test]
fn messages_come_out_as_events_once_and_in_order_across_runs() {
    let (folder, server, streams) = served();
    pipeline(&folder, &server, "", "pass");
    streams.publish(messages(0..3_000));
    let running = run(&folder).piped();
    folder.wait_for_lines("out.jsonl", 3_000);
    streams.publish(messages(3_000..3_010));
    finish_when(running, &folder, 3_010);
    // What comes while no run goes on is read by the next one.
    streams.publish(messages(3_010..5_000));
    finish_when(run(&folder).piped(), &folder, 5_000);
    // There is nothing more.
    pipeline(&folder, &server, "end = \"last\"", "pass");
    run(&folder).finish().succeeds();
    let found = numbers(&folder.read("out.jsonl"));
    assert_eq!(found.len(), 5_000);
    for key in 0..7 {
        let of_key = || found.iter().copied().filter(|n| n % 7 == key);
        assert!(of_key().eq((0..5_000).filter(|n| n % 7 == key)), "key {key}");
    }
}

#[test]
fn a_message_may_have_several_lines_and_what_is_no_event_is_a_dead_letter() {
    let (folder, server, streams) = served();
    pipeline(&folder, &server, "end = \"last\"", "pass");
    let lines: String = (0..2_500).map(|n| event(n, "a")).collect();
    streams.publish([
        ("IN.a".to_owned(), lines),
        ("IN.a".to_owned(), "nothing".to_owned()),
        ("IN.a".to_owned(), String::new()),
        ("IN.a".to_owned(), event(2_500, "a")),
    ]);
    run(&folder).finish().succeeds();
    assert_eq!(numbers(&folder.read("out.jsonl")), (0..=2_500).collect::<Vec<_>>());
    let letters = folder.read("state/streamed/dead-letters.jsonl");
    assert!(letters.lines().count() == 1 && letters.contains("nothing"), "{letters}");
    // A run that is bounded ends where the stream did when it began, and has nothing to do then.
    run(&folder).finish().succeeds();
    assert_eq!(numbers(&folder.read("out.jsonl")).len(), 2_501);
}

#[test]
fn a_source_reads_the_subjects_and_the_part_of_a_stream_that_it_is_told() {
    let (folder, server, streams) = served();
    streams.publish(messages(0..70));
    let found = |more: &str| {
        pipeline(&folder, &server, &format!("end = \"last\"\n{more}"), "pass");
        Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
        numbers(&folder.read("out.jsonl"))
    };
    assert_eq!(found("").len(), 70);
    let of_two = found("subjects = [\"IN.k-1\", \"IN.k-3\"]");
    assert!(
        of_two.iter().copied().eq((0..70).filter(|n| [1, 3].contains(&(n % 7)))),
        "{of_two:?}"
    );
    assert_eq!(found("subjects = [\"IN.other\"]"), [0; 0]);
    assert_eq!(found("start = \"61\""), (60..70).collect::<Vec<_>>());
    assert_eq!(found("start = \"2020-01-01T00:00:00Z\"").len(), 70);
    assert_eq!(found("start = \"new\""), [0; 0]);
    // A message that was deleted by itself is no gap.
    streams.delete_message("IN", 30);
    assert_eq!(found("").len(), 69);
}

#[test]
fn a_source_that_begins_with_new_messages_has_begun_for_good() {
    let (folder, server, streams) = served();
    pipeline(&folder, &server, "start = \"new\"", "pass");
    streams.publish(messages(0..10));
    // No checkpoint is taken before it is killed.
    let never = |run: Dirigo| run.set("pipeline.checkpoint", "\"1h\"").env("DIRIGO_LOG", "info");
    let mut running = never(run(&folder)).piped();
    running.stderr.wait_for("begins behind sequence 10 of stream `IN`");
    streams.publish(messages(10..20));
    folder.wait_for_lines("out.jsonl", 10);
    assert!(running.kill());
    streams.publish(messages(20..30));
    finish_when(run(&folder).piped(), &folder, 20);
    let mut found = numbers(&folder.read("out.jsonl"));
    found.sort_unstable();
    assert_eq!(found, (10..30).collect::<Vec<_>>());
}

#[test]
fn a_stream_that_is_another_is_refused() {
    let (folder, server, streams) = served();
    pipeline(&folder, &server, "", "pass");
    streams.publish(messages(0..10));
    finish_when(run(&folder).piped(), &folder, 10);
    streams.delete("IN");
    let missing = run(&folder).finish();
    missing.ends_with(
        1,
        &[
            "source `in`",
            "has no stream `IN`: create it, or correct `stream`",
            &server.url(),
        ],
    );
    streams.create("IN");
    streams.publish(messages(0..10));
    let refused = run(&folder).finish();
    refused.ends_with(
        1,
        &["it was deleted and created anew", "dirigo state migrate --restart"],
    );
    assert_eq!(numbers(&folder.read("out.jsonl")).len(), 10);
}

#[test]
fn messages_that_were_removed_before_they_were_read_are_not_missed_in_silence() {
    let (folder, server, streams) = served();
    pipeline(&folder, &server, "", "pass");
    streams.publish(messages(0..10));
    finish_when(run(&folder).piped(), &folder, 10);
    streams.publish(messages(10..30));
    streams.purge_up_to("IN", 21);
    let refused = run(&folder).finish();
    refused.ends_with(
        1,
        &[
            "begins at sequence 21, and 11 is to be read next",
            "10 messages were removed before they were read",
        ],
    );
    pipeline(&folder, &server, "missing = \"skip\"", "pass");
    let mut running = run(&folder).piped();
    running
        .stderr
        .wait_for("10 messages were removed before they were read");
    finish_when(running, &folder, 20);
    let mut found = numbers(&folder.read("out.jsonl"));
    found.sort_unstable();
    assert!(found.into_iter().eq((0..10).chain(20..30)));
}

#[test]
fn a_stream_that_removes_what_was_delivered_is_refused() {
    let (folder, server, streams) = served();
    streams.delete("IN");
    streams.create_with(stream::Config {
        name: "IN".to_owned(),
        subjects: vec!["IN.>".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        ..stream::Config::default()
    });
    pipeline(&folder, &server, "", "pass");
    run(&folder)
        .finish()
        .ends_with(1, &["retention workqueue", "read a stream with retention `limits`"]);
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    let folder = Folder::new();
    let mut server = NatsServer::away(&folder);
    pipeline(&folder, &server, "", "pass");
    let mut running = run(&folder).piped();
    running.stderr.wait_for("it tries again");
    server.restart();
    let streams = server.client();
    streams.create("IN");
    streams.publish(messages(0..100));
    // Until the stream is there, its name may be taken for a mistake.
    let running = if running.stderr.have("has no stream `IN`") {
        run(&folder).piped()
    } else {
        running
    };
    finish_when(running, &folder, 100);
}

#[test]
fn a_run_that_waits_for_a_server_can_be_stopped() {
    let folder = Folder::new();
    let server = NatsServer::away(&folder);
    pipeline(&folder, &server, "", "pass");
    let mut running = run(&folder).piped();
    running.stderr.wait_for("it tries again");
    running.terminate();
    running.finish().succeeds();
}

#[test]
fn who_is_refused_is_told_and_no_secret_is_shown() {
    let config = "authorization { users = [ { user: me, password: \"s3cret\" } ] }";
    let folder = Folder::new();
    let login = || async_nats::ConnectOptions::with_user_and_password("me".into(), "s3cret".into());
    let server = NatsServer::configured(&folder, config, login);
    let streams = server.client();
    streams.create("IN");
    streams.publish(messages(0..10));
    for (more, says) in [
        ("", "it wants a `token`, `user` and `password`, `nkey` or `credentials`"),
        ("token = \"s3cret\"", "it does not take this `token`"),
        (
            "user = \"me\"\npassword = \"s3cre\"",
            "it does not take this `user` with this `password`",
        ),
    ] {
        pipeline(&folder, &server, more, "pass");
        let refused = run(&folder).finish();
        refused.ends_with(1, &["source `in`", &server.url(), "refuses the connection", says]);
        assert!(!refused.stderr.contains("s3cre"), "{}", refused.stderr);
    }
    pipeline(
        &folder,
        &server,
        "user = \"me\"\npassword = { env = \"PASSWORD\" }",
        "pass",
    );
    let running = run(&folder)
        .env("PASSWORD", "s3cret")
        .env("DIRIGO_LOG", "debug")
        .piped();
    folder.wait_for_lines("out.jsonl", 10);
    running.terminate();
    let finished = running.finish();
    finished.succeeds();
    assert!(!finished.stderr.contains("s3cret"), "{}", finished.stderr);
    assert_says(&finished.stderr, &["is connected to"]);
}

#[test]
fn a_connection_is_encrypted_where_the_certificate_of_the_server_is_vouched_for() {
    let folder = Folder::new();
    folder.write("ca.pem", include_str!("nats/tls/ca.pem"));
    let certificate = folder.write("server.pem", include_str!("nats/tls/server.pem"));
    let key = folder.write("server.key", include_str!("nats/tls/server.key"));
    let config = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}",
        certificate.display(),
        key.display()
    );
    let ca = folder.path("ca.pem");
    let server = NatsServer::configured(&folder, &config, move || {
        async_nats::ConnectOptions::new().add_root_certificates(ca.clone())
    });
    let streams = server.client();
    streams.create("IN");
    streams.publish(messages(0..10));
    for scheme in ["tls://", "nats://"] {
        let use_scheme = |more: &str| {
            pipeline(&folder, &server, more, "pass");
            let text = folder.read("pipeline.toml");
            folder.write("pipeline.toml", text.replace("nats://", scheme));
        };
        use_scheme("end = \"last\"");
        let refused = run(&folder).finish();
        refused.ends_with(1, &["the certificate of ", "is not accepted", "`ca` names authorities"]);
        use_scheme("end = \"last\"\nca = { file = \"ca.pem\" }");
        Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
        assert_eq!(numbers(&folder.read("out.jsonl")).len(), 10);
        fs::remove_file(folder.path("out.jsonl")).unwrap();
    }
}

#[test]
fn messages_come_out_once_through_kills_of_dirigo_and_of_the_server() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let (folder, mut server, streams) = served();
    pipeline(&folder, &server, "", "pass");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let publisher = std::thread::spawn(move || {
        let mut next = 0;
        while stopped.try_recv().is_err() {
            let batch: Vec<_> = messages(next..next + 20)
                .map(|(subject, payload)| (payload.clone(), subject, payload))
                .collect();
            streams.publish_through_kills(&batch);
            next += 20;
        }
        (next, streams)
    });
    for kill in 0..kills {
        let mut running = run(&folder).piped();
        running.hang_up();
        std::thread::sleep(Duration::from_micros(random.next() % 300_000));
        if kill % 4 == 3 {
            server.kill();
            std::thread::sleep(Duration::from_micros(random.next() % 100_000));
            server.restart();
            std::thread::sleep(Duration::from_micros(random.next() % 300_000));
        }
        assert!(running.kill(), "it does not end by itself");
    }
    stop.send(()).unwrap();
    let (published, streams) = publisher.join().unwrap();
    println!("{published} messages were published");
    assert!(published > 0);
    // Only the last run can write the last message: what the last kill left uncommitted is not all that is awaited.
    let all = published + 1;
    streams.publish(messages(published..all));
    finish_when(run(&folder).piped(), &folder, all);
    let found = numbers(&folder.read("out.jsonl"));
    for key in 0..7 {
        let of_key = || found.iter().copied().filter(|n| n % 7 == key);
        assert!(
            of_key().eq((0..all).filter(|n| n % 7 == key)),
            "key {key}: none lost, none twice, in order"
        );
    }
}

#[test]
fn the_example_of_the_documentation_averages_what_comes_to_a_stream() {
    let folder = Folder::new();
    let server = NatsServer::start(&folder);
    let streams = server.client();
    streams.create_with(stream::Config {
        name: "READINGS".to_owned(),
        subjects: vec!["readings.>".to_owned()],
        ..stream::Config::default()
    });
    let example = include_str!("../../examples/nats/averages.toml");
    let example = example.replace("nats://127.0.0.1:4222", &server.url());
    fs::create_dir(folder.path("nats-example")).unwrap();
    folder.write("nats-example/pipeline.toml", example);
    let reading = |second: u64, value: u64| {
        let payload = format!("{{\"sensor\":\"s-1\",\"ts\":\"2024-03-01T12:00:{second:02}Z\",\"value\":{value}}}");
        ("readings.s-1".to_owned(), payload)
    };
    streams.publish([reading(0, 20), reading(59, 22)]);
    let run = Dirigo::run(&folder, ["nats-example/pipeline.toml"]).set("source.readings.end", "\"last\"");
    run.finish().succeeds();
    let averages = folder.json_lines("out/nats-averages.jsonl");
    assert_eq!(
        (averages.len(), averages[0]["avg"].as_f64()),
        (1, Some(21.0)),
        "{averages:?}"
    );
}

/// The map between the streams `IN` and `OUT` of a server.
fn from_stream_to_stream(folder: &Folder, server: &NatsServer, more: &str) {
    pipeline(folder, server, more, "pass");
    let text = folder.read("pipeline.toml");
    let (before, _) = text.split_once("[[sink]]").unwrap();
    let sink = format!(
        "[[sink]]\nid = \"out\"\nkind = \"nats\"\nservers = [\"{}\"]\nstream = \"OUT\"\nsubject = \"OUT.all\"\n",
        server.url()
    );
    folder.write("pipeline.toml", format!("{before}{sink}"));
}

/// Asserts that the subject `OUT.all` has the events up to `all`, each once, in order by key.
fn assert_published(streams: &Streams, all: u64) {
    let stored = streams.read("OUT");
    let own = stored.iter().filter(|message| message.subject == "OUT.all");
    let found: Vec<u64> = own.flat_map(|message| numbers(&message.payload)).collect();
    for key in 0..7 {
        let of_key = || found.iter().copied().filter(|n| n % 7 == key);
        assert!(
            of_key().eq((0..all).filter(|n| n % 7 == key)),
            "key {key}: none lost, none twice, in order; {} of {all}",
            found.len()
        );
    }
}

#[test]
fn what_a_sink_publishes_is_there_once_and_in_order_across_runs() {
    let (folder, server, streams) = served();
    streams.create("OUT");
    from_stream_to_stream(&folder, &server, "end = \"last\"");
    streams.publish(messages(0..3_000));
    let finished = run(&folder).finish();
    finished.succeeds();
    assert_says(&finished.stderr, &["exactly-once"]);
    assert_published(&streams, 3_000);
    streams.publish(messages(3_000..4_000));
    run(&folder).finish().succeeds();
    assert_published(&streams, 4_000);
    // A run without state publishes, too.
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    assert_eq!(streams.count("OUT"), (8_000, 8_000));
}

#[test]
fn a_sink_shares_a_stream_with_others_that_publish_to_it() {
    let (folder, server, streams) = served();
    streams.create("OUT");
    from_stream_to_stream(&folder, &server, "end = \"last\"");
    streams.publish(messages(0..2_000));
    let others = server.client();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let publisher = std::thread::spawn(move || {
        let mut published = 0;
        while stopped.try_recv().is_err() {
            others.publish([("OUT.other".to_owned(), "other".to_owned())]);
            published += 1;
        }
        published
    });
    run(&folder).finish().succeeds();
    stop.send(()).unwrap();
    println!("{} messages of others", publisher.join().unwrap());
    assert_published(&streams, 2_000);
}

#[test]
fn a_sink_waits_for_room_in_a_stream_that_is_full() {
    let (folder, server, streams) = served();
    let limited = |max_messages| stream::Config {
        name: "OUT".to_owned(),
        subjects: vec!["OUT.>".to_owned()],
        max_messages,
        discard: stream::DiscardPolicy::New,
        ..stream::Config::default()
    };
    streams.create_with(limited(500));
    from_stream_to_stream(&folder, &server, "end = \"last\"");
    streams.publish(messages(0..2_000));
    let mut running = run(&folder).piped();
    running.stderr.wait_for("maximum messages exceeded");
    assert_eq!(streams.count("OUT").0, 500);
    streams.update(limited(-1));
    running.finish().succeeds();
    assert_published(&streams, 2_000);
}

#[test]
fn a_stream_that_a_sink_cannot_write_is_named() {
    let (folder, server, streams) = served();
    from_stream_to_stream(&folder, &server, "end = \"last\"");
    streams.publish(messages(0..10));
    let missing = run(&folder).finish();
    missing.ends_with(
        1,
        &["sink `out`", "has no stream `OUT`: create it, or correct `stream`"],
    );
    streams.create_with(stream::Config {
        name: "OUT".to_owned(),
        subjects: vec!["ELSE.>".to_owned()],
        ..stream::Config::default()
    });
    let other = run(&folder).finish();
    other.ends_with(
        1,
        &["does not take messages of `OUT.all`: add the subject to the stream, or correct `subject`"],
    );
    streams.update(stream::Config {
        name: "OUT".to_owned(),
        subjects: vec!["OUT.>".to_owned()],
        ..stream::Config::default()
    });
    // What was committed waits in the outbox, and comes now.
    run(&folder).finish().succeeds();
    assert_published(&streams, 10);
    streams.delete("OUT");
    streams.create("OUT");
    streams.publish(messages(10..20));
    let another = run(&folder).finish();
    another.ends_with(1, &["it was deleted and created anew, and what was published is gone"]);
}

#[test]
fn what_goes_from_stream_to_stream_is_there_once_through_kills_of_dirigo_and_of_the_server() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let (folder, mut server, streams) = served();
    // The server remembers ids for so short a time that it does not matter that it does.
    streams.create_with(stream::Config {
        name: "OUT".to_owned(),
        subjects: vec!["OUT.>".to_owned()],
        duplicate_window: Duration::from_millis(100),
        ..stream::Config::default()
    });
    from_stream_to_stream(&folder, &server, "");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let publisher = std::thread::spawn(move || {
        let mut next = 0;
        while stopped.try_recv().is_err() {
            let batch: Vec<_> = messages(next..next + 20)
                .map(|(subject, payload)| (payload.clone(), subject, payload))
                .collect();
            streams.publish_through_kills(&batch);
            next += 20;
        }
        next
    });
    for kill in 0..kills {
        let mut running = run(&folder).piped();
        running.hang_up();
        std::thread::sleep(Duration::from_micros(random.next() % 300_000));
        if kill % 4 == 3 {
            server.kill();
            std::thread::sleep(Duration::from_micros(random.next() % 100_000));
            server.restart();
            std::thread::sleep(Duration::from_micros(random.next() % 300_000));
        }
        assert!(running.kill(), "it does not end by itself");
    }
    stop.send(()).unwrap();
    let all = publisher.join().unwrap();
    println!("{all} messages were published to the source");
    from_stream_to_stream(&folder, &server, "end = \"last\"");
    run(&folder).finish().succeeds();
    assert_published(&server.client(), all);
}
