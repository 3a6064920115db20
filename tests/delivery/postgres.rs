//! Rows of `PostgreSQL`: each event is one, once and in order, whatever happens to Dirigo, to the server or to the network.

mod server;

use std::process::Child;
use std::time::Duration;

use self::server::Server;
use crate::support::{Dirigo, Folder, Proxy, Random, Running, assert_says, event, map_to_file, number_of};

const TABLE: &str = "CREATE TABLE events (place bigserial, n bigint NOT NULL, key text, value numeric)";

/// The map over the file `in.jsonl`, with `source` of it, into the table `events` of a server at an address, with `more`.
fn pipeline(folder: &Folder, url: &str, source: &str, more: &str) {
    let map = map_to_file("pass");
    let (map, _) = map.split_once("[[sink]]").unwrap();
    folder.write(
        "pipeline.toml",
        format!(
            r#"
            [pipeline]
            name = "rows"
            checkpoint = "20ms"
            [[source]]
            id = "in"
            kind = "file"
            path = "in.jsonl"
            key = "/key"
            {source}
            {map}
            [[sink]]
            id = "out"
            kind = "postgres"
            servers = ["{url}"]
            database = "plant"
            table = "events"
            user = "me"
            password = {{ env = "PASSWORD" }}
            tls = false
            {more}
            "#
        ),
    );
}

fn run(folder: &Folder) -> Dirigo {
    Dirigo::run(folder, ["pipeline.toml"])
        .with_state()
        .workers(2)
        .env("PASSWORD", "s3cret")
}

fn events(range: std::ops::Range<u64>) -> String {
    range.map(|n| event(n, &format!("k-{}", n % 7))).collect()
}

/// A server with the table, and a file of this many events for it.
fn served(count: u64) -> (Folder, Server) {
    let folder = Folder::new();
    let server = Server::start(&folder);
    server.ask(TABLE);
    folder.write("in.jsonl", events(0..count));
    (folder, server)
}

/// Asserts that the table has all events up to `all`, each once, in order by key.
fn assert_written(server: &Server, all: u64) {
    let rows = server.ask("SELECT n FROM events ORDER BY place");
    let found: Vec<u64> = rows.lines().map(|row| row.parse().unwrap()).collect();
    for key in 0..7 {
        let of_key = || found.iter().copied().filter(|n| n % 7 == key);
        assert!(
            of_key().eq((0..all).filter(|n| n % 7 == key)),
            "key {key}: none lost, none twice, in order"
        );
    }
}

fn wait_for_rows(server: &Server, rows: u64) {
    wait_for_answer(server, &format!("SELECT count(*) >= {rows} FROM events"), "t");
}

fn wait_for_answer(server: &Server, question: &str, answer: &str) {
    for _ in 0..1_200 {
        if server.ask(question).trim() == answer {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{question} never gave {answer}");
}

fn finish_now(running: Running) {
    running.terminate();
    running.finish().succeeds();
}

#[test]
fn each_event_is_a_row_once_across_runs() {
    let (folder, server) = served(20_000);
    pipeline(&folder, &server.url(), "", "");
    run(&folder).finish().succeeds();
    assert_written(&server, 20_000);
    run(&folder).finish().succeeds();
    assert_written(&server, 20_000);
    assert_eq!(server.ask("SELECT value FROM events WHERE n = 41"), "41.5\n");
    // Without state, events are written as they arrive.
    server.ask("TRUNCATE events");
    Dirigo::run(&folder, ["pipeline.toml"])
        .env("PASSWORD", "s3cret")
        .finish()
        .succeeds();
    assert_written(&server, 20_000);
}

#[test]
fn the_server_makes_values_of_the_types_that_columns_have() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    server.ask(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE SCHEMA \"my plant\"; \
         CREATE TABLE \"my plant\".\"It's\" (\"at\" timestamptz, big numeric, tags text[], doc jsonb, how mood, \"a b\" int, raw bytea, span int4range, \
         day date, made timestamptz DEFAULT now(), durable text DEFAULT current_setting('synchronous_commit')); \
         ALTER DATABASE plant SET synchronous_commit = off",
    );
    folder.write(
        "in.jsonl",
        "{\"key\":\"a\",\"n\":1,\"value\":1,\"at\":\"2024-03-01T12:00:00Z\",\"deep\":{\"big\":12345678901234567890.123456789,\"tags\":[\"x\",\"y, z\"]},\
         \"doc\":{\"a\":[1]},\"how\":\"good\",\"a b\":7,\
         \"raw\":\"\\\\x0aff\",\"span\":\"[1,5)\",\"day\":\"2024-03-01\"}\n",
    );
    pipeline(
        &folder,
        &server.url(),
        "",
        "columns = { at = \"at\", big = \"/deep/big\", tags = \"/deep/tags\", doc = \"doc\", how = \"how\", \"a b\" = \"/a b\", raw = \"raw\", \
         span = \"span\", day = \"day\" }",
    );
    let text = folder.read("pipeline.toml");
    folder.write(
        "pipeline.toml",
        text.replace("table = \"events\"", "table = \"my plant.It's\""),
    );
    run(&folder).finish().succeeds();
    let row = server.ask(
        "SET timezone = 'UTC'; SELECT at, big, tags, doc, how, \"a b\", raw, span, day, made IS NOT NULL, durable FROM \"my plant\".\"It's\"",
    );
    assert_eq!(
        row,
        "2024-03-01 12:00:00+00|12345678901234567890.123456789|{x,\"y, z\"}|{\"a\": [1]}|good|7|\\x0aff|[1,5)|2024-03-01|t|on\n"
    );
}

#[test]
fn rows_are_updated_where_that_is_asked_for() {
    let (folder, server) = served(1_000);
    server.ask("DROP TABLE events; CREATE TABLE events (key text PRIMARY KEY, n bigint)");
    pipeline(
        &folder,
        &server.url(),
        "",
        "on_conflict = \"update\"\nconflict = [\"key\"]",
    );
    run(&folder).finish().succeeds();
    let rows = server.ask("SELECT key, n FROM events ORDER BY key");
    assert_eq!(rows, "k-0|994\nk-1|995\nk-2|996\nk-3|997\nk-4|998\nk-5|999\nk-6|993\n");
    // NULL is equal to no other NULL.
    server.ask("DROP TABLE events; CREATE TABLE events (key text UNIQUE, n bigint)");
    pipeline(
        &folder,
        &server.url(),
        "",
        "columns = { key = \"absent\", n = \"n\" }\non_conflict = \"update\"\nconflict = [\"key\"]",
    );
    run(&folder).args(["--fresh"]).finish().succeeds();
    assert_eq!(
        server.ask("SELECT count(key), count(DISTINCT n), count(*) FROM events"),
        "0|1000|1000\n"
    );
    // `on_conflict = "update"` needs a unique index.
    server.ask("ALTER TABLE events DROP CONSTRAINT events_key_key");
    run(&folder)
        .args(["--fresh"])
        .finish()
        .ends_with(1, &["no unique or exclusion constraint"]);
}

#[test]
fn a_row_that_is_refused_is_named_and_the_rest_waits() {
    let (folder, server) = served(3_000);
    server.ask("ALTER TABLE events ADD CHECK (n <> 2500)");
    pipeline(&folder, &server.url(), "", "");
    let refused = run(&folder).finish();
    refused.ends_with(
        1,
        &[
            "event 2501 of the sink cannot be a row of table \"events\"",
            "check constraint",
        ],
    );
    // Once the table takes it, nothing is missing.
    server.ask("ALTER TABLE events DROP CONSTRAINT events_n_check");
    run(&folder).finish().succeeds();
    assert_written(&server, 3_000);
    server.ask(
        "ALTER TABLE events ALTER value SET NOT NULL; \
         CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'a trigger wants no 77'; END$$; \
         CREATE TRIGGER raise BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.n = 77) EXECUTE FUNCTION raise()",
    );
    for (value, says) in [
        ("{\"n\":99999999999999999999,\"key\":\"a\",\"value\":1}", "out of range"),
        ("{\"n\":1,\"key\":\"a\\u0000\",\"value\":1}", "\\u0000"),
        (
            "{\"n\":1,\"key\":\"a\",\"value\":\"x\"}",
            "invalid input syntax for type numeric",
        ),
        ("{\"n\":1,\"key\":\"a\"}", "null value in column \"value\""),
        ("{\"n\":77,\"key\":\"a\",\"value\":1}", "a trigger wants no 77"),
    ] {
        let folder = Folder::new();
        folder.write("in.jsonl", event(0, "a") + value + "\n" + &event(1, "a"));
        pipeline(&folder, &server.url(), "", "");
        run(&folder).finish().ends_with(1, &["event 2 of the sink", says]);
    }
}

#[test]
fn what_is_wrong_with_the_table_or_the_login_is_said_before_an_event_comes() {
    let (folder, server) = served(0);
    let refused = |more: &str, says: &[&str]| {
        pipeline(&folder, &server.url(), "follow = true", more);
        let mut running = run(&folder).piped();
        running.hang_up();
        running.finish().ends_with(1, says);
    };
    refused(
        "columns = { number = \"n\" }",
        &[
            "table \"events\"",
            "has no column `number`",
            "`place`, `n`, `key`, `value`",
        ],
    );
    refused("columns = { value = \"value\" }", &["column `n`", "must have a value"]);
    server.ask("ALTER TABLE events RENAME TO others");
    refused("", &["has no table \"events\"", "user `me`"]);
    server.ask("ALTER TABLE others RENAME TO events; CREATE USER you PASSWORD 's3cret'");
    let text = |from: &str, to: &str| {
        pipeline(&folder, &server.url(), "follow = true", "");
        folder.write("pipeline.toml", folder.read("pipeline.toml").replace(from, to));
        run(&folder)
    };
    text("user = \"me\"", "user = \"you\"")
        .finish()
        .ends_with(1, &["permission denied for table events"]);
    server.ask("GRANT INSERT ON events TO you; GRANT USAGE ON SEQUENCE events_place_seq TO you");
    text("user = \"me\"", "user = \"you\"").finish().ends_with(
        1,
        &["table of watermarks", "CREATE TABLE IF NOT EXISTS \"dirigo_watermark\""],
    );
    text("\"plant\"", "\"plan\"")
        .finish()
        .ends_with(1, &["database \"plan\" does not exist"]);
    text("tls = false", "")
        .finish()
        .ends_with(1, &["does not encrypt", "`tls = false`"]);
    let refused = text("", "").env("PASSWORD", "s3cre").finish();
    refused.ends_with(
        1,
        &[
            "refuses the connection",
            "password authentication failed for user \"me\"",
        ],
    );
    assert!(!refused.stderr.contains("s3cre"), "{}", refused.stderr);
}

#[test]
fn a_connection_is_encrypted_where_the_certificate_of_the_server_is_vouched_for() {
    let (folder, mut server) = served(10);
    folder.write("ca.pem", include_str!("nats/tls/ca.pem"));
    server.kill();
    server.encrypt(include_str!("nats/tls/server.pem"), include_str!("nats/tls/server.key"));
    server.restart_with(&["ssl=on"]);
    let use_tls = |more: &str| {
        pipeline(&folder, &server.url(), "", more);
        folder.write("pipeline.toml", folder.read("pipeline.toml").replace("tls = false", ""));
        run(&folder).finish()
    };
    use_tls("").ends_with(1, &["the certificate of ", "is not accepted", "`ca` names authorities"]);
    use_tls("ca = { file = \"ca.pem\" }").succeeds();
    assert_written(&server, 10);
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    let (folder, mut server) = served(100);
    server.kill();
    pipeline(&folder, &server.url(), "", "");
    let mut running = run(&folder).piped();
    running.stderr.wait_for("Connection refused");
    server.restart();
    running.finish().succeeds();
    assert_written(&server, 100);
}

#[test]
fn a_standby_is_waited_for_until_it_takes_writes() {
    let (folder, mut server) = served(100);
    server.kill();
    server.be_standby();
    server.restart();
    pipeline(&folder, &server.url(), "", "");
    let mut running = run(&folder).piped();
    running.stderr.wait_for("it is a standby");
    server.ask("SELECT pg_promote()");
    running.finish().succeeds();
    assert_written(&server, 100);
}

/// A session that has locked the table.
struct Lock<'s>(&'s Server, Child);

impl<'s> Lock<'s> {
    const HELD: &'static str =
        "FROM pg_locks WHERE relation = 'events'::regclass AND mode = 'AccessExclusiveLock' AND granted";

    fn take(server: &'s Server) -> Self {
        let session = server.start_to_ask("BEGIN; LOCK TABLE events; SELECT pg_sleep(600)");
        wait_for_answer(server, &format!("SELECT count(*) {}", Self::HELD), "1");
        Self(server, session)
    }

    fn release(mut self) {
        self.0.ask(&format!("SELECT pg_terminate_backend(pid) {}", Self::HELD));
        self.1.wait().unwrap();
    }
}

#[test]
fn a_table_that_is_locked_is_waited_for() {
    let (folder, server) = served(100);
    server.ask("ALTER DATABASE plant SET lock_timeout = '50ms'");
    pipeline(&folder, &server.url(), "", "");
    let lock = Lock::take(&server);
    let mut running = run(&folder).piped();
    running.stderr.wait_for("lock timeout");
    lock.release();
    running.finish().succeeds();
    assert_written(&server, 100);
}

#[test]
fn a_batch_whose_acknowledgement_is_lost_adds_no_row_twice() {
    let (folder, server) = served(10);
    let network = Proxy::to(server.port());
    let url = format!("postgres://127.0.0.1:{}", network.port());
    pipeline(&folder, &url, "follow = true", "");
    let running = run(&folder).piped();
    wait_for_rows(&server, 10);
    // A lock keeps the server from committing the batch until the network is stalled, so that its answer is lost.
    let before = server.ask("SELECT batch FROM dirigo_watermark");
    let lock = Lock::take(&server);
    folder.append("in.jsonl", &events(10..100));
    let waiting = "FROM pg_stat_activity WHERE application_name = 'dirigo' AND wait_event_type = 'Lock'";
    wait_for_answer(&server, &format!("SELECT count(*) {waiting}"), "1");
    network.stall();
    lock.release();
    wait_for_answer(&server, &format!("SELECT batch > {before} FROM dirigo_watermark"), "t");
    network.cut();
    network.mend();
    folder.append("in.jsonl", &events(100..200));
    wait_for_rows(&server, 200);
    finish_now(running);
    assert_written(&server, 200);
}

#[test]
fn a_login_that_is_refused_later_is_tried_again() {
    let (folder, server) = served(100);
    server.ask(
        "CREATE USER you PASSWORD 's3cret'; GRANT ALL ON SCHEMA public TO you; GRANT ALL ON events, events_place_seq TO you",
    );
    pipeline(&folder, &server.url(), "follow = true", "");
    let text = folder.read("pipeline.toml");
    folder.write("pipeline.toml", text.replace("user = \"me\"", "user = \"you\""));
    let mut running = run(&folder).piped();
    wait_for_rows(&server, 100);
    let mut all = 100;
    for (setting, says, undone) in [
        (
            "PASSWORD 'other'",
            "password authentication failed",
            "PASSWORD 's3cret'",
        ),
        ("CONNECTION LIMIT 0", "too many connections", "CONNECTION LIMIT -1"),
    ] {
        server.ask(&format!("ALTER USER you {setting}"));
        server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'you'");
        folder.append("in.jsonl", &events(all..all + 100));
        all += 100;
        running.stderr.wait_for(says);
        server.ask(&format!("ALTER USER you {undone}"));
        wait_for_rows(&server, all);
    }
    finish_now(running);
    assert_written(&server, all);
}

#[test]
fn a_database_that_was_restored_is_not_added_to() {
    let (folder, server) = served(100);
    pipeline(&folder, &server.url(), "", "");
    run(&folder).finish().succeeds();
    server.ask("DELETE FROM dirigo_watermark");
    folder.append("in.jsonl", &events(100..200));
    let refused = run(&folder).finish();
    refused.ends_with(
        1,
        &[
            "in \"dirigo_watermark\"",
            "the database was restored, or the row was deleted",
        ],
    );
    assert_written(&server, 100);
}

#[test]
fn a_tenant_connects_to_servers_that_it_is_granted_only() {
    let folder = Folder::new();
    folder.write("in.jsonl", "");
    pipeline(&folder, "postgres://127.0.0.1:5432", "", "");
    let check = |connect: &str| {
        let tenant = "[[tenant]]\nname = \"acme\"\npipelines = [\"pipeline.toml\"]\nread = [\".\"]\nwrite = [\".\"]\nenv = [\"PASSWORD\"]\n";
        folder.write("tenants.toml", format!("{tenant}{connect}\n"));
        Dirigo::command(&folder, "check")
            .args(["pipeline.toml", "--tenants", "tenants.toml"])
            .env("PASSWORD", "s3cret")
            .finish()
    };
    check("").ends_with(
        78,
        &[
            "sink `out` may not connect to `127.0.0.1:5432`",
            "`connect` of the tenant",
        ],
    );
    let granted = check("connect = [\"127.0.0.1:5432\"]");
    assert!(!granted.stderr.contains("may not connect"), "{}", granted.stderr);
}

#[test]
fn events_are_rows_once_through_kills_of_dirigo_and_of_the_server_and_cuts_of_the_network() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 12), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let (folder, mut server) = served(0);
    let network = Proxy::to(server.port());
    pipeline(
        &folder,
        &format!("postgres://127.0.0.1:{}", network.port()),
        "follow = true",
        "",
    );
    let mut running = run(&folder).piped();
    let mut all = 0;
    for kill in 0..kills {
        let more = 200 + random.next() % 3_000;
        folder.append("in.jsonl", &events(all..all + more));
        all += more;
        std::thread::sleep(Duration::from_micros(random.next() % 100_000));
        match kill % 4 {
            3 => {
                server.kill();
                server.restart();
            }
            2 => {
                network.stall();
                std::thread::sleep(Duration::from_micros(random.next() % 20_000));
                network.cut();
                network.mend();
            }
            _ => {
                running.hang_up();
                assert!(running.kill(), "it does not end by itself");
                running = run(&folder).piped();
            }
        }
    }
    wait_for_rows(&server, all);
    finish_now(running);
    println!("{all} events are rows");
    assert_written(&server, all);
}

#[test]
fn the_example_of_the_documentation_keeps_the_averages_of_sensors() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    server.ask(include_str!("../../examples/postgres/table.sql"));
    let example = include_str!("../../examples/postgres/averages.toml");
    let example = example.replace("postgres://127.0.0.1:5432", &server.url());
    folder.write(
        "pipeline.toml",
        example.replace("../city-temperatures.jsonl", "in.jsonl"),
    );
    folder.write(
        "in.jsonl",
        "{\"station\":\"s-1\",\"city\":\"Oslo\",\"time\":\"2024-03-01T12:00:00Z\",\"temp_f\":50}\n{\"station\":\"s-1\",\"city\":\"Oslo\",\"time\":\"2024-03-01T13:00:00Z\",\"temp_f\":54}\n",
    );
    let run = Dirigo::run(&folder, ["pipeline.toml"]).with_state();
    run.env("POSTGRES_USER", "me")
        .env("POSTGRES_PASSWORD", "s3cret")
        .finish()
        .succeeds();
    let rows = server.ask("SELECT * FROM averages");
    assert_says(&rows, &["52"]);
}
