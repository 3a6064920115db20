use super::*;

const TICK_NS: u64 = 10_000_000;

/// An operator whose events take so long each, with so many of them coming, on simulated time.
struct Simulated {
    judge: Judge,
    executors: u32,
    now_ns: u64,
    event_ns: u64,
    free_workers: f64,
    is_held_back: bool,
    /// How many replicas work at once, however many there are.
    helpful_max: u32,
    waiting: u64,
    done: u64,
    busy_ns: u64,
}

impl Simulated {
    fn new(max: u32, slo_ns: Option<u64>) -> Self {
        Self {
            judge: Judge::new(1..=max, slo_ns),
            executors: 1,
            now_ns: 0,
            event_ns: 10_000,
            free_workers: 8.0,
            is_held_back: false,
            helpful_max: u32::MAX,
            waiting: 0,
            done: 0,
            busy_ns: 0,
        }
    }

    /// Lets events come at a rate for so many ticks; gives the changes, each with its time in ms.
    fn run(&mut self, per_s: u64, ticks: u64) -> Vec<(u64, u32, Reason)> {
        let mut changes = Vec::new();
        for _ in 0..ticks {
            self.now_ns += TICK_NS;
            self.waiting += per_s * TICK_NS / 1_000_000_000;
            let at_once = u64::from(self.executors.min(self.helpful_max));
            let done = self.waiting.min(at_once * TICK_NS / self.event_ns);
            self.waiting -= done;
            self.done += done;
            self.busy_ns += done * self.event_ns;
            let verdict = self.judge.look(Sample {
                now_ns: self.now_ns,
                executors: self.executors,
                busy_ns: BTreeMap::from([(0, self.busy_ns)]),
                done: self.done,
                waiting: self.waiting,
                is_held_back: self.is_held_back,
                free_workers: self.free_workers,
                is_short: false,
            });
            if let Some(Verdict { to, reason }) = verdict {
                self.executors = to;
                changes.push((self.now_ns / 1_000_000, to, reason));
            }
        }
        changes
    }
}

#[test]
fn more_come_within_50_ms_of_need_and_go_when_it_is_over() {
    let mut simulated = Simulated::new(8, Some(20_000_000));
    assert_eq!(simulated.run(10_000, 100), [], "a tenth of one suffices");
    let begun_ms = simulated.now_ns / 1_000_000;
    let up = simulated.run(350_000, 300);
    assert!(up[0].0 - begun_ms <= 50, "{up:?}");
    assert!(matches!(up[0].2, Reason::Waits { slo: Some(_), .. }), "{up:?}");
    assert!((4..=8).contains(&simulated.executors), "{up:?}");
    let settled = simulated.run(350_000, 1_000);
    assert_eq!(settled, [], "what suffices stays");
    let down = simulated.run(10_000, 1_000);
    assert_eq!(simulated.executors, 1);
    assert!(matches!(down[0].2, Reason::Calm { .. }), "{down:?}");
}

#[test]
fn without_a_latency_target_the_backlog_decides() {
    let mut simulated = Simulated::new(4, None);
    let up = simulated.run(150_000, 300);
    assert!(matches!(up[0].2, Reason::Waits { slo: None, .. }), "{up:?}");
    assert!(simulated.executors >= 2);
}

#[test]
fn none_is_added_that_would_wait_for_what_is_full_behind_it() {
    let mut simulated = Simulated::new(4, None);
    simulated.is_held_back = true;
    assert_eq!(simulated.run(500_000, 300), []);
}

#[test]
fn none_is_added_without_a_worker_for_it() {
    let mut simulated = Simulated::new(4, None);
    simulated.free_workers = 0.1;
    assert_eq!(simulated.run(500_000, 300), []);
    simulated.free_workers = 1.0;
    let up = simulated.run(500_000, 3);
    assert_eq!(up.first().map(|(_, to, _)| *to), Some(2), "no more than find one");
}

#[test]
fn where_one_more_has_not_helped_the_next_one_waits() {
    let mut simulated = Simulated::new(8, None);
    simulated.helpful_max = 1;
    // As long as two share the work of one, each looks busy for half of its time.
    let up = simulated.run(500_000, 2_000);
    assert!(up.len() <= 4, "{up:?}");
}

#[test]
fn a_load_between_two_numbers_does_not_swing() {
    let mut simulated = Simulated::new(8, Some(20_000_000));
    for per_s in [90_000, 110_000, 120_000, 95_000, 105_000] {
        simulated.run(per_s, 400);
    }
    assert_eq!(simulated.executors, 2);
    let changes = simulated.run(100_000, 3_000);
    assert_eq!(changes, []);
}

#[test]
fn shards_are_ranked_by_what_they_do() {
    let mut judge = Judge::new(1..=8, None);
    for tick in 0..50_u64 {
        let busy = [(0, 1), (1_000, 9), (2_000, 2), (3_000, 3)];
        judge.look(Sample {
            now_ns: tick * TICK_NS,
            executors: 4,
            busy_ns: busy
                .into_iter()
                .map(|(first, tenths)| (first, tick * TICK_NS / 10 * tenths))
                .collect(),
            done: tick,
            waiting: 0,
            is_held_back: false,
            free_workers: 1.0,
            is_short: false,
        });
    }
    assert_eq!(judge.busiest(), [1_000, 3_000, 2_000, 0]);
    assert_eq!(judge.calmest_pair(), Some(2_000));
}
