//! What holds of every workload that the policies order, simulated on virtual time.

#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "gaps are far below 2^52 and not negative"
)]

use proptest::prelude::*;

use dirigo_scheduler::{BURST_NS, CREDIT_NS, PolicyKind, Share};
use dirigo_scheduler_simulation::{
    Actor, FUEL_PER_NS, Input, Message, Report, Seeded, TICK_NS, Workload, run, tight_and_loose,
};

const SLICE_NS: u64 = 100_000;
const SECOND_NS: u64 = 1_000_000_000;
const SECOND: usize = 100;
/// A turn may begin until the slice is over, and then lasts for one.
const LONGEST_NS: u64 = 2 * SLICE_NS;

fn weight(weight: u32) -> Share {
    Share {
        weight,
        fuel_per_s: None,
    }
}

/// Actors that are never done.
fn endless(tenant: u32, actors: usize, turn_ns: u64) -> Vec<Actor> {
    let actor = Actor {
        tenant,
        input: Input::Endless(turn_ns),
        ..Actor::default()
    };
    vec![actor; actors]
}

fn with_messages(tenant: u32, slo_ns: Option<u64>, messages: Vec<Message>) -> Actor {
    Actor {
        tenant,
        slo_ns,
        input: Input::Messages(messages),
        ..Actor::default()
    }
}

/// Messages that come in bursts, a pause after each.
fn bursts(burst: u64, pause_ns: u64, turn_ns: u64, until_ns: u64) -> Vec<Message> {
    let starts = (1..until_ns / pause_ns).map(|number| number * pause_ns);
    let of_start = |start| (0..burst).map(move |_| start);
    let message = |arrival_ns| Message { arrival_ns, turn_ns };
    starts.flat_map(of_start).map(message).collect()
}

/// What part of the workers tenants get: by weight, but no tenant more than a worker for each of its actors.
fn entitled(workers: usize, tenants: &[(u32, usize)]) -> Vec<f64> {
    let cap = |actors: usize| actors.min(workers) as f64;
    let mut parts: Vec<Option<f64>> = vec![None; tenants.len()];
    loop {
        let taken: f64 = parts.iter().flatten().sum();
        let open = |index: &usize| parts[*index].is_none();
        let weights: f64 = (0..tenants.len())
            .filter(open)
            .map(|index| f64::from(tenants[index].0))
            .sum();
        let part = |index: usize| (workers as f64 - taken) * f64::from(tenants[index].0) / weights;
        let capped: Vec<usize> = (0..tenants.len())
            .filter(open)
            .filter(|index| part(*index) > cap(tenants[*index].1))
            .collect();
        if capped.is_empty() {
            return (0..tenants.len())
                .map(|index| parts[index].unwrap_or_else(|| part(index)))
                .collect();
        }
        capped
            .into_iter()
            .for_each(|index| parts[index] = Some(cap(tenants[index].1)));
    }
}

/// The largest distance between what tenants got in any second and what they are entitled to, as a part of all workers.
fn farthest(report: &Report, workers: usize, entitled: &[f64]) -> f64 {
    let seconds = SECOND..report.used_ns.len();
    let distance = |to: usize, tenant: usize| {
        let got = report.used_between(tenant, to - SECOND, to) as f64 / SECOND_NS as f64;
        (got - entitled[tenant]).abs() / workers as f64
    };
    seconds
        .flat_map(|to| (0..entitled.len()).map(move |tenant| (to, tenant)))
        .map(|(to, tenant)| distance(to, tenant))
        .fold(0.0, f64::max)
}

fn fair_policy() -> impl Strategy<Value = PolicyKind> {
    prop_oneof![Just(PolicyKind::Fair), Just(PolicyKind::Deadline)]
}

fn any_policy() -> impl Strategy<Value = PolicyKind> {
    prop_oneof![
        Just(PolicyKind::Fair),
        Just(PolicyKind::Deadline),
        Just(PolicyKind::Fifo)
    ]
}

/// What else a host may have to do, by other tenants.
#[derive(Clone, Debug)]
enum Neighbour {
    Greedy { actors: usize, turn_ns: u64 },
    Bursty { burst: u64, pause_ns: u64, turn_ns: u64 },
    OverBudget { actors: usize, part: f64 },
}

fn neighbour() -> impl Strategy<Value = Neighbour> {
    prop_oneof![
        (1..50_usize, 5_000..5_000_000_u64).prop_map(|(actors, turn_ns)| Neighbour::Greedy { actors, turn_ns }),
        (1..500_u64, 1_000_000..200_000_000_u64, 5_000..1_000_000_u64).prop_map(|(burst, pause_ns, turn_ns)| {
            Neighbour::Bursty {
                burst,
                pause_ns,
                turn_ns,
            }
        }),
        (1..50_usize, 0.01..0.5).prop_map(|(actors, part)| Neighbour::OverBudget { actors, part }),
    ]
}

/// Adds tenants to a workload.
fn add(workload: &mut Workload, neighbours: &[(u32, Neighbour)]) {
    for (weight, neighbour) in neighbours {
        let tenant = u32::try_from(workload.shares.len()).expect("they are few");
        let mut share = Share {
            weight: *weight,
            fuel_per_s: None,
        };
        match *neighbour {
            Neighbour::Greedy { actors, turn_ns } => workload.actors.extend(endless(tenant, actors, turn_ns)),
            Neighbour::Bursty {
                burst,
                pause_ns,
                turn_ns,
            } => {
                let messages = bursts(burst, pause_ns, turn_ns, workload.until_ns);
                workload.actors.push(with_messages(tenant, None, messages));
            }
            Neighbour::OverBudget { actors, part } => {
                share.fuel_per_s = Some(fuel_of(part));
                workload.actors.extend(endless(tenant, actors, 300_000));
            }
        }
        workload.shares.push(share);
    }
}

/// The fuel that this part of a worker burns in a second.
fn fuel_of(part: f64) -> u64 {
    let per_mille = (0..1_000)
        .take_while(|per_mille| f64::from(*per_mille) < part * 1e3)
        .count() as u64;
    SECOND_NS * FUEL_PER_NS / 1_000 * per_mille.max(1)
}

fn workload(workers: usize, seconds: u64) -> Workload {
    Workload {
        workers,
        slice_ns: SLICE_NS,
        shares: Vec::new(),
        actors: Vec::new(),
        until_ns: seconds * SECOND_NS,
    }
}

/// How many messages are late where whatever has the earliest deadline runs at every moment, which meets every deadline that
/// can be met on one worker.
fn late_at_best(jobs: &mut [(u64, u64, u64)]) -> usize {
    jobs.sort_unstable();
    let mut ready = std::collections::BinaryHeap::new();
    let (mut now_ns, mut late, mut next) = (0, 0, 0);
    loop {
        while let Some(&(arrival_ns, work_ns, deadline_ns)) = jobs.get(next).filter(|job| job.0 <= now_ns) {
            ready.push(std::cmp::Reverse((deadline_ns, arrival_ns, work_ns)));
            next += 1;
        }
        let until_ns = jobs.get(next).map(|job| job.0);
        let Some(std::cmp::Reverse((deadline_ns, arrival_ns, work_ns))) = ready.pop() else {
            let Some(until_ns) = until_ns else { return late };
            now_ns = until_ns;
            continue;
        };
        let ran_ns = until_ns.map_or(work_ns, |until_ns| work_ns.min(until_ns - now_ns));
        now_ns += ran_ns;
        if ran_ns < work_ns {
            ready.push(std::cmp::Reverse((deadline_ns, arrival_ns, work_ns - ran_ns)));
        } else if now_ns > deadline_ns {
            late += 1;
        }
    }
}

#[test]
fn greedy_tenants_get_their_weights_whether_they_have_one_actor_or_a_thousand() {
    for choice in [PolicyKind::Fair, PolicyKind::Deadline] {
        for workers in [1, 2] {
            for actors in [
                [1, 1, 1],
                [10, 10, 10],
                [1000, 1000, 1000],
                [1000, 10, 1],
                [1, 10, 1000],
            ] {
                let mut work = workload(workers, 2);
                work.shares = [1, 2, 4].map(weight).to_vec();
                for (tenant, actors) in (0..).zip(actors) {
                    work.actors.extend(endless(tenant, actors, 300_000));
                }
                let sizes: Vec<_> = [1, 2, 4].into_iter().zip(actors).collect();
                let distance = farthest(&run(choice, &work), workers, &entitled(workers, &sizes));
                assert!(distance < 0.02, "{choice} {workers} {actors:?}: {distance}");
            }
        }
    }
}

#[test]
fn least_laxity_misses_the_fewest_deadlines_at_every_load() {
    for (tenants, load) in [1, 4]
        .into_iter()
        .flat_map(|tenants| (10..20).map(move |step| (tenants, f64::from(step) * 0.05)))
    {
        let work = tight_and_loose(2, tenants, load, 1, 5 * SECOND_NS);
        let [deadline, fair, fifo] =
            [PolicyKind::Deadline, PolicyKind::Fair, PolicyKind::Fifo].map(|choice| run(choice, &work).miss_rate());
        assert!(
            deadline <= fair && deadline <= fifo,
            "{tenants} tenants at {load}: {deadline} {fair} {fifo}"
        );
        assert!(4.0 * deadline <= fifo, "{tenants} tenants at {load}: {deadline} {fifo}");
    }
}

#[test]
fn what_waits_for_a_full_mailbox_makes_its_reader_urgent() {
    // A pipeline whose second operator has little room, next to one of the same tenant that is loose and never lets up.
    let mut work = workload(1, 2);
    work.shares.push(weight(1));
    let messages = bursts(64, 20_000_000, 20_000, work.until_ns - SECOND_NS / 2);
    work.actors.push(Actor {
        sends: Some((1, 60_000)),
        ..with_messages(0, Some(10_000_000), messages)
    });
    work.actors.push(Actor {
        room: Some(4),
        ..with_messages(0, Some(10_000_000), Vec::new())
    });
    work.actors.extend((0..20).map(|_| Actor {
        slo_ns: Some(500_000_000),
        ..endless(0, 1, 5_000_000).remove(0)
    }));
    let report = run(PolicyKind::Deadline, &work);
    assert_eq!(
        (report.missed[1], report.met[1] % 64),
        (0, 0),
        "64 messages take 5.1 of their 10 ms"
    );
    assert!(run(PolicyKind::Fair, &work).missed[1] > 0, "taking turns is not enough");
}

#[test]
fn whatever_arrives_leaves() {
    for choice in [PolicyKind::Deadline, PolicyKind::Fair, PolicyKind::Fifo] {
        let mut work = tight_and_loose(3, 3, 0.7, 7, SECOND_NS);
        let arrive = |actor: &Actor| match &actor.input {
            Input::Messages(messages) => messages.len() as u64,
            Input::Endless(_) => 0,
        };
        let arrived: u64 = work.actors.iter().map(arrive).sum();
        work.until_ns = 10 * SECOND_NS;
        let report = run(choice, &work);
        let left: u64 = report.met.iter().chain(&report.missed).sum();
        assert_eq!(left, arrived, "{choice}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn shares_follow_weights_within_two_percent_over_any_second(
        choice in fair_policy(),
        workers in 1..5_usize,
        tenants in prop::collection::vec(
            (1..9_u32, prop_oneof![Just(1), Just(2), Just(10), Just(200)], 5_000..5_000_000_u64),
            2..6,
        ),
    ) {
        let mut work = workload(workers, 3);
        for (index, (share, actors, turn_ns)) in (0..).zip(&tenants) {
            work.shares.push(weight(*share));
            work.actors.extend(endless(index, *actors, *turn_ns));
        }
        let report = run(choice, &work);
        let sizes: Vec<_> = tenants.iter().map(|(weight, actors, _)| (*weight, *actors)).collect();
        let entitled = entitled(workers, &sizes);
        let distance = farthest(&report, workers, &entitled);
        prop_assert!(distance < 0.02, "{distance} from {entitled:?}");
    }

    #[test]
    fn neighbours_take_nothing_of_a_share_however_they_sleep_and_wake(
        choice in fair_policy(),
        workers in 1..5_usize,
        own in 1..9_u32,
        neighbours in prop::collection::vec((1..9_u32, neighbour()), 1..5),
    ) {
        let mut work = workload(workers, 2);
        work.shares.push(weight(own));
        work.actors.extend(endless(0, workers, 150_000));
        add(&mut work, &neighbours);
        let report = run(choice, &work);
        let weights: u32 = work.shares.iter().map(|share| share.weight).sum();
        let tenants = work.shares.len() as u64;
        // What each of the others may be ahead by, and a slice of every worker at either end.
        let slack_ns = tenants * (CREDIT_NS + LONGEST_NS) + 2 * workers as u64 * LONGEST_NS;
        for span in [1, 10, SECOND] {
            for to in span..report.used_ns.len() {
                let span_ns = span as u64 * TICK_NS * workers as u64;
                let owed_ns = span_ns * u64::from(own) / u64::from(weights);
                let got_ns = report.used_between(0, to - span, to);
                prop_assert!(got_ns + slack_ns >= owed_ns, "{got_ns} of {owed_ns} ns in {span} ticks to {to}");
            }
        }
    }

    #[test]
    fn a_tenant_that_scales_gains_nothing_of_what_others_may_have(
        choice in fair_policy(),
        workers in 1..5_usize,
        (own, other) in (1..9_u32, 1..9_u32),
        executors in 2..32_usize,
        (from_ms, turn_ns) in (200..1_500_u64, 5_000..5_000_000_u64),
    ) {
        let mut work = workload(workers, 3);
        work.shares = vec![weight(own), weight(other)];
        work.actors.extend(endless(0, workers, 150_000));
        // One executor, and from some moment on many more, each of which always has something to do.
        work.actors.extend(endless(1, 1, turn_ns));
        let from_ns = from_ms * 1_000_000;
        let arrivals = (from_ns..work.until_ns).step_by(turn_ns as usize);
        let messages: Vec<Message> = arrivals.map(|arrival_ns| Message { arrival_ns, turn_ns }).collect();
        work.actors.extend((1..executors).map(|_| with_messages(1, None, messages.clone())));
        let report = run(choice, &work);
        let slack_ns = 2 * (CREDIT_NS + LONGEST_NS) + 2 * workers as u64 * LONGEST_NS;
        for span in [10, SECOND] {
            for to in span..report.used_ns.len() {
                let span_ns = span as u64 * TICK_NS * workers as u64;
                let owed_ns = span_ns * u64::from(own) / u64::from(own + other);
                let got_ns = report.used_between(0, to - span, to);
                prop_assert!(got_ns + slack_ns >= owed_ns, "{got_ns} of {owed_ns} ns in {span} ticks to {to}");
            }
        }
    }

    #[test]
    fn nothing_ready_waits_longer_than_the_stated_bound(
        choice in fair_policy(),
        workers in 1..5_usize,
        (own, actors) in (1..9_u32, 1..20_usize),
        neighbours in prop::collection::vec((1..9_u32, neighbour()), 0..5),
    ) {
        let mut work = workload(workers, 2);
        work.shares.push(weight(own));
        work.actors.extend(endless(0, actors, 150_000));
        add(&mut work, &neighbours);
        let report = run(choice, &work);
        prop_assert!(report.slice_ns <= LONGEST_NS);
        // A round of the tenant's own actors, and what the others get meanwhile by weight, by credit and by slices that are
        // under way; all workers work on it.
        let round_ns = actors as u64 * LONGEST_NS;
        let others = work.shares.iter().skip(1);
        let work_ns: u64 = others
            .map(|share| round_ns * u64::from(share.weight) / u64::from(own) + CREDIT_NS + 2 * LONGEST_NS)
            .sum();
        let bound_ns = (work_ns + round_ns) / workers as u64 + LONGEST_NS;
        let waited_ns = report.waited_ns[..actors].iter().max().copied().unwrap_or(0);
        prop_assert!(waited_ns <= bound_ns, "{waited_ns} > {bound_ns}");
    }

    #[test]
    fn a_tenant_that_uses_less_than_its_share_waits_for_slices_under_way_only(
        choice in fair_policy(),
        workers in 1..5_usize,
        seed in any::<u64>(),
        greedy in prop::collection::vec((1..5_u32, 1..50_usize, 5_000..5_000_000_u64), 1..20),
    ) {
        let mut work = workload(workers, 2);
        let weights: u32 = 1 + greedy.iter().map(|(weight, ..)| weight).sum::<u32>();
        // Turns of 20 us, so far apart that they take a quarter of its share, and of a worker.
        let gap_ns = 80_000.0 * (f64::from(weights) / workers as f64).max(1.0);
        let mut messages = Seeded::new(seed).messages(gap_ns, (20_000, 20_001), work.until_ns);
        // No nearer to each other than half of that.
        let mut free_ns = 0;
        messages.retain(|message| {
            let is_far = message.arrival_ns >= free_ns;
            free_ns = if is_far { message.arrival_ns + (gap_ns / 2.0).round().abs() as u64 } else { free_ns };
            is_far
        });
        work.shares.push(weight(1));
        work.actors.push(with_messages(0, None, messages));
        for (index, (share, actors, turn_ns)) in (1..).zip(&greedy) {
            work.shares.push(weight(*share));
            work.actors.extend(endless(index, *actors, *turn_ns));
        }
        let report = run(choice, &work);
        prop_assert!(report.waited_ns[0] <= LONGEST_NS, "{} ns", report.waited_ns[0]);
    }

    #[test]
    fn no_tenant_burns_more_than_its_budget_or_much_less(
        choice in any_policy(),
        workers in 1..5_usize,
        actors in 1..20_usize,
        part in 0.01..0.2_f64,
        neighbours in prop::collection::vec((1..3_u32, 1..20_usize), 0..4),
    ) {
        // Under fifo, an actor that is never done keeps a worker: neighbours there have an end.
        let mut work = workload(workers, 2);
        let fuel_per_s = Some(fuel_of(part));
        work.shares.push(Share { weight: 4, fuel_per_s });
        work.actors.extend(endless(0, actors, 300_000));
        for (index, (share, actors)) in (1..).zip(&neighbours) {
            work.shares.push(weight(*share));
            let messages = bursts(1, 20_000_000, 20_000, work.until_ns);
            let actor = || with_messages(index, None, messages.clone());
            work.actors.extend(std::iter::repeat_with(actor).take(*actors));
        }
        let report = run(choice, &work);
        let budget_ns = fuel_of(part) / FUEL_PER_NS;
        for span in [1, 10, SECOND] {
            for to in span..report.used_ns.len() {
                let span_ns = span as u64 * TICK_NS;
                let earned_ns = budget_ns * (span_ns + BURST_NS) / SECOND_NS;
                let got_ns = report.used_between(0, to - span, to);
                let most_ns = earned_ns + 2 * workers as u64 * LONGEST_NS;
                prop_assert!(got_ns <= most_ns, "{got_ns} of {most_ns} ns in {span} ticks to {to}");
                if span == SECOND {
                    prop_assert!(got_ns >= budget_ns * 95 / 100, "{got_ns} of {budget_ns} ns in the second to {to}");
                }
            }
        }
    }

    #[test]
    fn no_deadline_is_missed_that_could_be_met(
        seed in any::<u64>(),
        load in 0.3..0.9_f64,
        pipelines in prop::collection::vec((10_000..3_000_000_u64, 1..200_u64, prop::option::of(10_000..500_000_u64)), 1..6),
    ) {
        let mut work = workload(1, 2);
        work.shares.push(weight(1));
        let mut seeded = Seeded::new(seed);
        let actors = pipelines.iter().map(|(_, _, second)| 1 + usize::from(second.is_some())).sum::<usize>() as u64;
        // Whatever runs may go on for a slice before what is more urgent. Each actor may do so before one message; and once more, since two that are
        // equally urgent take turns.
        let slack_ns = 2 * (actors + 1) * LONGEST_NS;
        let mut jobs = Vec::new();
        for (turn_ns, slo_turns, second) in &pipelines {
            let path_ns = turn_ns + second.unwrap_or(0);
            let slo_ns = path_ns * (1 + slo_turns) + slack_ns;
            let gap_ns = path_ns as f64 * pipelines.len() as f64 / load;
            let messages = seeded.messages(gap_ns, (*turn_ns, turn_ns + 1), work.until_ns - SECOND_NS / 2);
            jobs.extend(messages.iter().map(|message| {
                (message.arrival_ns, path_ns, message.arrival_ns + slo_ns - slack_ns)
            }));
            let first = work.actors.len();
            work.actors.push(Actor {
                sends: second.map(|turn_ns| (first + 1, turn_ns)),
                ..with_messages(0, Some(slo_ns), messages)
            });
            if second.is_some() {
                work.actors.push(with_messages(0, Some(slo_ns), Vec::new()));
            }
        }
        prop_assume!(late_at_best(&mut jobs) == 0);
        let report = run(PolicyKind::Deadline, &work);
        let missed: u64 = report.missed.iter().sum();
        prop_assert_eq!(missed, 0, "of {}", report.met.iter().sum::<u64>());
    }
}
