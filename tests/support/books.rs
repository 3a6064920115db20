//! The summary of a run, and whether its books balance.
//!
//! Conservation as the contract states it, and what follows from it: every event that a source read is accounted for at
//! each operator, on each edge and at each sink. Every suite checks every run that succeeds through this one function.

use std::collections::BTreeMap;

use serde_json::Value;

/// What `--summary-json` wrote.
#[derive(Clone, Debug)]
pub(crate) struct Summary(Value);

impl Summary {
    pub(super) fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    /// A count of the whole run, such as `events_in`.
    #[track_caller]
    pub(crate) fn count(&self, key: &str) -> u64 {
        count(&self.0, key)
    }

    /// All of it.
    pub(crate) fn json(&self) -> &Value {
        &self.0
    }

    /// A count of one operator, which no two pipelines of the run share a name for.
    #[track_caller]
    pub(crate) fn operator(&self, id: &str, key: &str) -> u64 {
        let mut found = list(&self.0, "operators")
            .iter()
            .filter(|operator| operator["id"] == id);
        let operator = found.next().unwrap_or_else(|| panic!("no operator {id}"));
        assert!(found.next().is_none(), "there are several operators {id}");
        count(operator, key)
    }

    /// A pipeline of the run.
    #[track_caller]
    pub(crate) fn pipeline(&self, name: &str) -> &Value {
        let found = list(&self.0, "pipelines")
            .iter()
            .find(|pipeline| pipeline["name"] == name);
        found.unwrap_or_else(|| panic!("no pipeline {name}"))
    }

    /// Whether no more is wrong with any pipeline than that all of its events failed, as the guest of a test may want.
    pub(super) fn has_failed_events_at_most(&self) -> bool {
        let is_sound = |pipeline: &Value| match pipeline["error"].as_str() {
            None => pipeline["outcome"] != "failed",
            Some(error) => error.starts_with("dead letters: ") && error.ends_with(" failed"),
        };
        list(&self.0, "pipelines").iter().all(is_sound)
    }

    /// Asserts that nothing was lost, made up or left behind.
    #[track_caller]
    pub(crate) fn assert_conserved(&self) {
        let pipelines = list(&self.0, "pipelines");
        for pipeline in pipelines {
            self.assert_pipeline_conserved(pipeline);
        }
        for key in ["events_in", "events_out", "filtered", "dead_letters"] {
            let all = pipelines.iter().map(|pipeline| count(pipeline, key)).sum::<u64>();
            assert_eq!(self.count(key), all, "`{key}` of the run is the sum of the pipelines'");
        }
    }

    #[track_caller]
    fn assert_pipeline_conserved(&self, pipeline: &Value) {
        let name = pipeline["name"].as_str().unwrap();
        let edges = list(pipeline, "edges");
        for edge in edges {
            let [sent, received, queued] = ["sent", "received", "queued"].map(|key| count(edge, key));
            assert_eq!((sent, queued), (received, 0), "edge of `{name}`: {edge}");
        }
        let counts = |end: &str, id: &str, key: &str| -> Vec<u64> {
            edges
                .iter()
                .filter(|edge| edge[end] == id)
                .map(|edge| count(edge, key))
                .collect()
        };
        // What was on its way when the run before stopped came by no edge of this one.
        let resumed = |id: &str| pipeline["resumed"][id].as_u64().unwrap_or(0);
        let received = |id: &str| counts("to", id, "received").iter().sum::<u64>() + resumed(id);
        let sent = |id: &str| counts("from", id, "sent");

        let mut dead = 0;
        let mut read = 0;
        for source in list(pipeline, "sources") {
            let (id, events) = (source["id"].as_str().unwrap(), count(source, "events"));
            assert!(
                sent(id).iter().all(|sent| *sent == events),
                "all edges from source `{name}/{id}` carry its events"
            );
            read += events + count(source, "dead_letters");
            dead += count(source, "dead_letters");
        }
        assert_eq!(
            read,
            count(pipeline, "events_in"),
            "`{name}` has in what its sources read"
        );

        let mut filtered = 0;
        let operators = list(&self.0, "operators");
        for operator in operators.iter().filter(|operator| operator["pipeline"] == name) {
            let id = operator["id"].as_str().unwrap();
            let count = |key| count(operator, key);
            let accounted =
                count("passed") + count("filtered") + count("absorbed") + count("late") + count("dead_letters");
            // Timers that failed are dead letters without an event.
            let of_events = accounted - count("failed_timers");
            assert_eq!(count("events_in"), of_events + count("queued"), "operator {operator}");
            assert_eq!(count("queued"), 0, "nothing waits at `{name}/{id}`");
            assert_eq!(
                received(id),
                count("events_in"),
                "`{name}/{id}` has in what its edges brought"
            );
            let out = count("events_out");
            assert!(
                sent(id).iter().all(|sent| *sent == out),
                "all edges from `{name}/{id}` carry its output"
            );
            let named = edges.iter().filter(|edge| {
                let from = edge["from"].as_str().unwrap().strip_prefix(id);
                from.is_some_and(|rest| rest.starts_with('.') && rest != ".late")
            });
            let by_name: BTreeMap<&str, u64> = named
                .map(|edge| (edge["from"].as_str().unwrap(), edge["sent"].as_u64().unwrap()))
                .collect();
            assert!(
                by_name.values().sum::<u64>() <= count("named_out"),
                "what `{name}/{id}` puts out under names is counted"
            );
            filtered += count("filtered");
            dead += count("dead_letters");
        }
        assert_eq!(filtered, count(pipeline, "filtered"), "filtered in `{name}`");
        assert_eq!(dead, count(pipeline, "dead_letters"), "dead letters of `{name}`");

        let mut left = 0;
        for (id, events) in pipeline["sinks"].as_object().unwrap() {
            let events = events.as_u64().unwrap();
            assert_eq!(received(id), events, "sink `{name}/{id}` took what its edges brought");
            left += events;
        }
        assert_eq!(
            left,
            count(pipeline, "events_out"),
            "`{name}` has out what its sinks took"
        );
    }
}

#[track_caller]
fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no `{key}` in {value}"))
}

#[track_caller]
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("no list `{key}` in {value}"))
}
