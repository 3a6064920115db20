//! Topics of an MQTT broker: nothing is lost, and nothing comes twice but what was in flight, whatever happens to Dirigo, to the broker or to the network.

mod broker;
mod scripted;

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use self::broker::Broker;
use self::scripted::{MALFORMED, Scripted, publish};
use crate::support::{
    Dirigo, Finished, Folder, Proxy, Random, Running, assert_says, event, map_to_file, number_of, numbers,
};

const TOPIC: &str = "plant/readings";
/// What the broker of these tests has in flight to a client.
const IN_FLIGHT: u64 = 100;
/// What a sink has in flight: a batch.
const BATCH: u64 = 1_024;

/// The map over a source `in` of a broker, with `more`.
fn pipeline(folder: &Folder, url: &str, more: &str) {
    folder.write(
        "pipeline.toml",
        format!(
            r#"
            [pipeline]
            name = "topics"
            checkpoint = "20ms"
            [[source]]
            id = "in"
            kind = "mqtt"
            servers = ["{url}"]
            topics = ["plant/#"]
            key = "/key"
            {more}
            {}
            "#,
            map_to_file("pass")
        ),
    );
}

/// The same, into the topic `out`, with `more` of the sink.
fn pipeline_to_topic(folder: &Folder, input: &str, url: &str, more: &str) {
    pipeline(folder, input, "");
    let text = folder.read("pipeline.toml");
    let (before, _) = text.split_once("[[sink]]").unwrap();
    let sink = format!("[[sink]]\nid = \"out\"\nkind = \"mqtt\"\nservers = [\"{url}\"]\ntopic = \"out\"\n{more}\n");
    folder.write("pipeline.toml", format!("{before}{sink}"));
}

/// The map over a file, into the topic `out`.
fn file_to_topic(folder: &Folder, url: &str, events: u64, more: &str) {
    pipeline_to_topic(folder, url, url, more);
    let text = folder.read("pipeline.toml");
    let (before, rest) = text.split_once("[[source]]").unwrap();
    let (_, after) = rest.split_once("[[operator]]").unwrap();
    let source = "[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"in.jsonl\"\nkey = \"/key\"\n";
    folder.write("pipeline.toml", format!("{before}{source}[[operator]]{after}"));
    folder.write(
        "in.jsonl",
        messages(0..events).map(|line| line + "\n").collect::<String>(),
    );
}

fn run(folder: &Folder) -> Dirigo {
    Dirigo::run(folder, ["pipeline.toml"]).with_state().workers(2)
}

fn messages(range: std::ops::Range<u64>) -> impl Iterator<Item = String> {
    range.map(|n| event(n, &format!("k-{}", n % 7)).trim_end().to_owned())
}

/// A run whose source is connected.
fn connected(folder: &Folder) -> Running {
    let mut running = run(folder).env("DIRIGO_LOG", "info").piped();
    running.stderr.wait_for("source `in` is connected to");
    running
}

fn url(port: u16) -> String {
    format!("mqtt://127.0.0.1:{port}")
}

/// Ends a run once its sink has at least this many lines.
fn finish_when(running: Running, folder: &Folder, lines: u64) -> Finished {
    folder.wait_for_lines("out.jsonl", lines);
    running.terminate();
    let finished = running.finish();
    finished.succeeds();
    finished
}

/// Asserts that all events up to `all` are there, in order by key but for those that came again, and how many came again.
fn repeated(found: &[u64], all: u64) -> u64 {
    let mut known = HashSet::new();
    let first: Vec<u64> = found.iter().copied().filter(|n| known.insert(*n)).collect();
    for key in 0..7 {
        let of_key = || first.iter().copied().filter(|n| n % 7 == key);
        assert!(
            of_key().eq((0..all).filter(|n| n % 7 == key)),
            "key {key}: none lost, in order"
        );
    }
    found.len() as u64 - all
}

#[test]
fn messages_come_out_in_order_across_runs_and_the_broker_keeps_those_of_the_meantime() {
    let folder = Folder::new();
    let broker = Broker::start(&folder);
    pipeline(&folder, &broker.url(), "");
    let running = connected(&folder);
    broker.publish(TOPIC, messages(0..3_000));
    finish_when(running, &folder, 3_000);
    broker.publish(TOPIC, messages(3_000..5_000));
    finish_when(connected(&folder), &folder, 5_000);
    assert_eq!(repeated(&numbers(&folder.read("out.jsonl")), 5_000), 0);
}

#[test]
fn a_message_is_a_value_or_lines_of_them_and_what_is_no_event_is_a_dead_letter() {
    let folder = Folder::new();
    let broker = Broker::start(&folder);
    pipeline(&folder, &broker.url(), "topic_field = \"topic\"");
    let running = connected(&folder);
    for (topic, payload) in [
        ("plant/1", "{\n  \"n\": 0,\n  \"key\": \"a\", \"value\": 1\n}"),
        (
            "plant/2",
            "{\"n\":1,\"key\":\"a\",\"value\":1}\n{\"n\":2,\"key\":\"a\",\"value\":1}\n",
        ),
        ("plant/3", "nothing"),
        ("plant/4", "{\"n\":3,\"key\":\"a\",\"value\":1,\"topic\":\"forged\"}"),
    ] {
        broker.publish_one(topic, payload.as_bytes(), &[]);
    }
    finish_when(running, &folder, 4);
    let events = folder.json_lines("out.jsonl");
    let topics: Vec<_> = events.iter().map(|event| event["topic"].as_str().unwrap()).collect();
    assert_eq!(numbers(&folder.read("out.jsonl")), [0, 1, 2, 3]);
    assert_eq!(topics, ["plant/1", "plant/2", "plant/2", "plant/4"]);
    let letters = folder.read("state/topics/dead-letters.jsonl");
    assert!(letters.lines().count() == 1 && letters.contains("nothing"), "{letters}");
}

#[test]
fn a_retained_message_comes_once() {
    let folder = Folder::new();
    let broker = Broker::start(&folder);
    pipeline(&folder, &broker.url(), "");
    let payload = |n| event(n, "a").into_bytes();
    broker.publish_one(TOPIC, &payload(0), &["-r"]);
    finish_when(connected(&folder), &folder, 1);
    let running = connected(&folder);
    broker.publish_one(TOPIC, &payload(1), &[]);
    finish_when(running, &folder, 2);
    assert_eq!(numbers(&folder.read("out.jsonl")), [0, 1]);
}

#[test]
fn topics_that_are_read_no_more_are_unsubscribed() {
    let folder = Folder::new();
    let broker = Broker::start(&folder);
    pipeline(&folder, &broker.url(), "");
    finish_now(connected(&folder));
    let text = folder.read("pipeline.toml");
    folder.write("pipeline.toml", text.replace("plant/#", "other/#"));
    let running = connected(&folder);
    broker.publish(TOPIC, messages(0..10));
    broker.publish("other/readings", messages(10..11));
    finish_when(running, &folder, 1);
    assert_eq!(numbers(&folder.read("out.jsonl")), [10]);
}

fn finish_now(running: Running) {
    running.terminate();
    running.finish().succeeds();
}

#[test]
fn a_broker_that_is_away_is_waited_for_and_the_run_can_be_stopped() {
    let folder = Folder::new();
    let mut broker = Broker::away(&folder, "allow_anonymous true");
    pipeline(&folder, &broker.url(), "");
    let mut running = run(&folder).piped();
    running.stderr.wait_for("it tries again");
    finish_now(running);
    let mut running = run(&folder).env("DIRIGO_LOG", "info").piped();
    running.stderr.wait_for("it tries again");
    broker.restart();
    running.stderr.wait_for("source `in` is connected to");
    broker.publish(TOPIC, messages(0..100));
    // It ends in order, and is back.
    broker.save();
    broker.kill();
    running.stderr.wait_for("it tries again");
    broker.restart();
    running.stderr.wait_for("source `in` is connected to");
    broker.publish(TOPIC, messages(100..200));
    finish_when(running, &folder, 200);
    assert_eq!(repeated(&numbers(&folder.read("out.jsonl")), 200), 0);
}

#[test]
fn who_is_refused_is_told_and_no_secret_is_shown() {
    let folder = Folder::new();
    let broker = Broker::with_login(&folder, "me", "s3cret", "user me\ntopic readwrite plant/#\n");
    for (more, says) in [
        ("", "it wants a `user` and a `password`"),
        (
            "user = \"me\"\npassword = \"s3cre\"",
            "it does not take this `user` with this `password`",
        ),
    ] {
        pipeline(&folder, &broker.url(), more);
        let refused = run(&folder).finish();
        refused.ends_with(1, &["source `in`", &broker.url(), "refuses the connection", says]);
        assert!(!refused.stderr.contains("s3cre"), "{}", refused.stderr);
    }
    let login = "user = \"me\"\npassword = { env = \"PASSWORD\" }";
    pipeline(&folder, &broker.url(), login);
    let mut running = run(&folder)
        .env("PASSWORD", "s3cret")
        .env("DIRIGO_LOG", "debug")
        .piped();
    running.stderr.wait_for("source `in` is connected to");
    broker.publish(TOPIC, messages(0..10));
    let finished = finish_when(running, &folder, 10);
    assert!(!finished.stderr.contains("s3cret"), "{}", finished.stderr);
    // A topic that the user may not write.
    file_to_topic(&folder, &broker.url(), 10, login);
    let refused = Dirigo::run(&folder, ["pipeline.toml"])
        .env("PASSWORD", "s3cret")
        .finish();
    refused.ends_with(
        1,
        &["does not take event 1 of the sink as a message of `out`: not authorized"],
    );
    file_to_topic(&folder, &broker.url(), 10, "");
    let refused = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    refused.ends_with(1, &["refuses the connection", "it wants a `user` and a `password`"]);
}

#[test]
fn a_message_that_is_too_large_is_not_dropped_in_silence() {
    let folder = Folder::new();
    let broker = Broker::start(&folder);
    pipeline(&folder, &broker.url(), "message_max = \"100KiB\"");
    finish_now(connected(&folder));
    let large = |bytes: usize| {
        format!(
            "{{\"n\":0,\"key\":\"a\",\"value\":1,\"text\":\"{}\"}}",
            "x".repeat(bytes)
        )
    };
    broker.publish_one(TOPIC, large(200_000).as_bytes(), &[]);
    let refused = run(&folder).finish();
    refused.ends_with(
        1,
        &["a message of `plant/readings`", "has 200", "`message_max` is 102400"],
    );
    // The broker has it still.
    pipeline(&folder, &broker.url(), "message_max = \"1MiB\"");
    finish_when(run(&folder).piped(), &folder, 1);
    drop(broker);
    let folder = Folder::new();
    let mut broker = Broker::away(&folder, "allow_anonymous true\nmax_packet_size 100000");
    broker.restart();
    file_to_topic(&folder, &broker.url(), 3, "");
    folder.append("in.jsonl", &(large(200_000) + "\n"));
    let refused = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    refused.ends_with(
        1,
        &[
            "does not take event 4 of the sink as a message of `out`",
            "may have 100000",
        ],
    );
}

#[test]
fn a_message_that_came_with_a_malformed_packet_is_not_lost() {
    let folder = Folder::new();
    let broker = Scripted::start();
    pipeline(&folder, &url(broker.port()), "qos = 2");
    let running = run(&folder).piped();
    let mut session = broker.accept(false);
    let message = |n| messages(n..n + 1).next().unwrap();
    session.send(&[&publish(1, TOPIC, &message(0), false)[..], MALFORMED].concat());
    let mut session = broker.accept(true);
    session.send(&publish(1, TOPIC, &message(0), true));
    session.release(1);
    session.send(&publish(2, TOPIC, &message(1), false));
    session.release(2);
    wait_for_number(&folder, "out.jsonl", 1);
    running.terminate();
    running.finish().succeeds();
    assert_eq!(numbers(&folder.read("out.jsonl")), [0, 1]);
}

#[test]
fn two_that_connect_with_one_id_hear_of_it() {
    let folder = Folder::new();
    let broker = Broker::start(&folder);
    pipeline(&folder, &broker.url(), "client_id = \"one\"");
    let mut first = connected(&folder);
    let other = Folder::new();
    pipeline(&other, &broker.url(), "client_id = \"one\"");
    let second = connected(&other);
    // Mosquitto closes the older connection without a word.
    first.stderr.wait_for("does another client connect as `one`?");
    finish_now(first);
    finish_now(second);
}

#[test]
fn a_tenant_connects_to_brokers_that_it_is_granted_only() {
    let folder = Folder::new();
    let broker = Broker::start(&folder);
    let guests = crate::support::guest("map").parent().unwrap().display().to_string();
    let check = |connect: &str| {
        let tenant = format!(
            "[[tenant]]\nname = \"acme\"\npipelines = [\"pipeline.toml\"]\nread = [\".\", \"{guests}\"]\nwrite = [\".\"]\n"
        );
        folder.write("tenants.toml", format!("{tenant}{connect}\n"));
        Dirigo::command(&folder, "check")
            .args(["pipeline.toml", "--tenants", "tenants.toml"])
            .finish()
    };
    pipeline_to_topic(&folder, &broker.url(), &broker.url(), "");
    let address = format!("127.0.0.1:{}", broker.port());
    let says = format!("may not connect to `{address}`");
    let refused = check("");
    refused.ends_with(78, &[&says, "source `in`", "sink `out`", "`connect` of the tenant"]);
    let granted = check(&format!("connect = [\"{address}\"]"));
    assert_eq!(granted.code(), 0, "{}", granted.stderr);
}

#[test]
fn a_connection_is_encrypted_where_the_certificate_of_the_broker_is_vouched_for() {
    let folder = Folder::new();
    folder.write("ca.pem", include_str!("nats/tls/ca.pem"));
    let certificate = folder.write("server.pem", include_str!("nats/tls/server.pem"));
    let key = folder.write("server.key", include_str!("nats/tls/server.key"));
    let plain = crate::nats::server::free_port();
    let mut broker = Broker::away(
        &folder,
        &format!(
            "allow_anonymous true\ncertfile {}\nkeyfile {}\nlistener {plain} 127.0.0.1\nallow_anonymous true",
            certificate.display(),
            key.display()
        ),
    );
    broker.restart();
    let url = broker.url().replace("mqtt://", "mqtts://");
    pipeline(&folder, &url, "");
    let refused = run(&folder).finish();
    refused.ends_with(1, &["the certificate of ", "is not accepted", "`ca` names authorities"]);
    pipeline(&folder, &url, "ca = { file = \"ca.pem\" }");
    let mut running = connected(&folder);
    running.hang_up();
    file_to_topic(&folder, &url, 10, "ca = { file = \"ca.pem\" }");
    let text = folder.read("pipeline.toml");
    folder.write(
        "to-topic.toml",
        text.replace("topic = \"out\"", "topic = \"plant/1\"")
            .replace("name = \"topics\"", "name = \"to\""),
    );
    Dirigo::run(&folder, ["to-topic.toml"]).finish().succeeds();
    finish_when(running, &folder, 10);
}

#[test]
fn messages_come_out_through_kills_of_dirigo_and_of_the_broker_and_cuts_of_the_network() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 12), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let folder = Folder::new();
    let mut broker = Broker::start(&folder);
    let network = Proxy::to(broker.port());
    pipeline(&folder, &url(network.port()), "");
    let mut running = connected(&folder);
    let (mut all, mut cuts) = (0, 0);
    for kill in 0..kills {
        let more = 200 + random.next() % 400;
        broker.publish(TOPIC, messages(all..all + more));
        all += more;
        match kill % 4 {
            // The network breaks, and the broker with it: what it had not saved is as if it had not been.
            3 => {
                network.cut();
                broker.save();
                broker.kill();
                broker.restart();
                network.mend();
                cuts += 1;
            }
            2 => {
                network.stall();
                std::thread::sleep(Duration::from_micros(random.next() % 50_000));
                network.cut();
                network.mend();
                cuts += 1;
            }
            _ => {
                std::thread::sleep(Duration::from_micros(random.next() % 50_000));
                running.hang_up();
                assert!(running.kill(), "it does not end by itself");
                running = run(&folder).piped();
                cuts += 1;
            }
        }
    }
    broker.publish(TOPIC, messages(all..all + 1));
    all += 1;
    // Those of one topic come in order, so the last one is the last.
    wait_for_number(&folder, "out.jsonl", all - 1);
    running.terminate();
    running.finish().succeeds();
    let repeated = repeated(&numbers(&folder.read("out.jsonl")), all);
    println!("{all} messages were published, {repeated} came again");
    assert!(repeated <= cuts * IN_FLIGHT, "{repeated} came again in {cuts} cuts");
}

/// Waits until an event with that number is there.
fn wait_for_number(folder: &Folder, file: &str, number: u64) {
    let wanted = format!("\"n\":{number},");
    for _ in 0..6_000 {
        if fs::read_to_string(folder.path(file))
            .unwrap_or_default()
            .contains(&wanted)
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("event {number} does not come");
}

#[test]
fn at_qos_2_a_cut_of_the_network_repeats_nothing_into_or_out_of_a_pipeline() {
    let (cuts, seed) = (number_of("DIRIGO_KILLS", 6), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={cuts} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let folder = Folder::new();
    let broker = Broker::start(&folder);
    let network = Proxy::to(broker.port());
    let through = url(network.port());
    pipeline_to_topic(&folder, &through, &through, "qos = 2");
    let text = folder.read("pipeline.toml");
    folder.write("pipeline.toml", text.replace("topics = ", "qos = 2\ntopics = "));
    let _reader = broker.read("out", &folder.path("read.jsonl"));
    let mut running = connected(&folder);
    running.hang_up();
    let mut all = 0;
    for _ in 0..cuts {
        let more = 200 + random.next() % 400;
        broker.publish_at(2, TOPIC, messages(all..all + more));
        all += more;
        std::thread::sleep(Duration::from_micros(random.next() % 20_000));
        network.stall();
        std::thread::sleep(Duration::from_micros(random.next() % 20_000));
        network.cut();
        network.mend();
    }
    wait_for_number(&folder, "read.jsonl", all - 1);
    running.terminate();
    running.finish().succeeds();
    assert_eq!(repeated(&numbers(&folder.read("read.jsonl")), all), 0);
}

#[test]
fn events_are_published_through_kills_of_dirigo_and_of_the_broker_and_cuts_of_the_network() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 12), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let folder = Folder::new();
    let mut broker = Broker::start(&folder);
    let network = Proxy::to(broker.port());
    pipeline_to_topic(&folder, &broker.url(), &url(network.port()), "");
    // What the source does is looked at elsewhere: here it reads a file that grows.
    let text = folder.read("pipeline.toml");
    let (before, rest) = text.split_once("[[source]]").unwrap();
    let (_, after) = rest.split_once("[[operator]]").unwrap();
    let source = "[[source]]\nid = \"in\"\nkind = \"file\"\nfollow = true\npath = \"in.jsonl\"\nkey = \"/key\"\n";
    folder.write("pipeline.toml", format!("{before}{source}[[operator]]{after}"));
    folder.write("in.jsonl", "");
    let _reader = broker.read("out", &folder.path("read.jsonl"));
    let mut running = run(&folder).piped();
    let (mut all, mut cuts) = (0, 0);
    for kill in 0..kills {
        let more = 200 + random.next() % 400;
        folder.append(
            "in.jsonl",
            &messages(all..all + more).map(|line| line + "\n").collect::<String>(),
        );
        all += more;
        std::thread::sleep(Duration::from_micros(random.next() % 60_000));
        match kill % 4 {
            3 => {
                network.cut();
                broker.save();
                broker.kill();
                broker.restart();
                network.mend();
            }
            2 => {
                network.cut();
                network.mend();
            }
            _ => {
                running.hang_up();
                assert!(running.kill(), "it does not end by itself");
                running = run(&folder).piped();
            }
        }
        cuts += 1;
    }
    wait_for_number(&folder, "read.jsonl", all - 1);
    running.terminate();
    running.finish().succeeds();
    let repeated = repeated(&numbers(&folder.read("read.jsonl")), all);
    println!("{all} events were published, {repeated} came again");
    assert!(repeated <= cuts * BATCH, "{repeated} came again in {cuts} cuts");
}

#[test]
fn the_example_of_the_documentation_averages_what_comes_to_topics() {
    let folder = Folder::new();
    let broker = Broker::start(&folder);
    let example = include_str!("../../examples/mqtt/averages.toml");
    folder.write("pipeline.toml", example.replace("mqtt://127.0.0.1:1883", &broker.url()));
    let _reader = broker.read("plant/averages", &folder.path("read.jsonl"));
    let mut running = run(&folder).env("DIRIGO_LOG", "info").piped();
    running.stderr.wait_for("source `readings` is connected to");
    for (second, value) in [(0, 20), (59, 22), (61, 30)] {
        let time = format!("2024-03-01T12:{:02}:{:02}Z", second / 60, second % 60);
        let payload = format!("{{\"ts\":\"{time}\",\"value\":{value}}}");
        broker.publish_one("plant/1/temperature", payload.as_bytes(), &[]);
    }
    folder.wait_for_lines("read.jsonl", 1);
    finish_now(running);
    assert_says(&folder.read("read.jsonl"), &["plant/1/temperature", "21"]);
}
