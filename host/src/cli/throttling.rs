//! Reports, while pipelines run, what throttles a tenant: its budget, or operators in backoff.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use dirigo::actor::Operator;
use dirigo::runtime::{Host, Job, TenantSummary};

use super::Log;
use super::output::grouped;

/// How often this is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches over tenants and operators until all pipelines have ended, and says each thing once.
pub(crate) struct ThrottlingMonitor {
    /// With the names of their pipelines. Those of one that has ended are not kept for this.
    operators: Vec<(String, Weak<Operator>)>,
    said: BTreeSet<String>,
}

impl ThrottlingMonitor {
    pub(crate) fn of(jobs: &[Job]) -> Self {
        let of_job = |job: &Job| {
            let name = job.pipeline().name.clone();
            let with_name = move |operator: &Arc<Operator>| (name.clone(), Arc::downgrade(operator));
            job.operators().iter().map(with_name).collect::<Vec<_>>()
        };
        Self {
            operators: jobs.iter().flat_map(of_job).collect(),
            said: BTreeSet::new(),
        }
    }

    /// Says them as they come up.
    pub(crate) async fn watch(mut self, host: &Host, log: &Log) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            for line in self.news(&host.tenants()) {
                log.say(&format!("note: {line}"));
            }
        }
    }

    /// What has come up since this was last asked.
    fn news(&mut self, tenants: &[TenantSummary]) -> Vec<String> {
        let of_operators = self.operators.iter().filter_map(|(pipeline, operator)| {
            let operator = operator.upgrade()?;
            let is_backing_off = operator.counters().read().quarantines > 0;
            let id = operator.id();
            is_backing_off.then(|| {
                format!("operator `{id}` of pipeline `{pipeline}` keeps trapping; its actor backs off each time")
            })
        });
        let of_tenants = tenants.iter().flat_map(|tenant| {
            let said = |throttling: Throttling| format!("tenant `{}` {}", tenant.name, throttling.now);
            of_tenant(tenant).map(said)
        });
        let lines: Vec<String> = of_tenants.chain(of_operators).collect();
        lines
            .into_iter()
            .filter(|line| self.said.insert(line.clone()))
            .collect()
    }
}

/// What throttles a tenant.
pub(crate) struct Throttling {
    /// What it has used up.
    pub(crate) budget: &'static str,
    /// What is said while it does.
    pub(crate) now: &'static str,
    /// What is said in the end.
    pub(crate) in_all: String,
}

/// What throttles a tenant, or did.
pub(crate) fn of_tenant(tenant: &TenantSummary) -> impl Iterator<Item = Throttling> + use<> {
    let times = |count: u64| match count {
        1 => "once".to_owned(),
        _ => format!("{} times", grouped(count)),
    };
    let all = [
        (
            tenant.held_s > 0.0,
            "fuel_per_second",
            "has used up its `fuel_per_second`; its ready actors wait for more fuel",
            format!("was out of `fuel_per_second` for {:.2} s", tenant.held_s),
        ),
        (
            tenant.memory_denied > 0,
            "memory",
            "has used up its `memory`: an operator was denied more",
            format!("was denied `memory` {}", times(tenant.memory_denied)),
        ),
        (
            tenant.actors_waited > 0,
            "active_actors",
            "has actors waiting for an instance: its `active_actors`, its `memory` or the host allows no more at once",
            format!("actors waited for an instance {}", times(tenant.actors_waited)),
        ),
        (
            tenant.log_lines_left_out > 0,
            "log",
            "has log lines left out: more than 100 in a second of one operator, or more than its budget allows",
            format!("log lines left out: {}", grouped(tenant.log_lines_left_out)),
        ),
        (
            tenant.dead_letters_left_out > 0,
            "dead_letters_per_second",
            "has used up its `dead_letters_per_second`: dead letters beyond it are not written",
            format!("dead letters not written: {}", grouped(tenant.dead_letters_left_out)),
        ),
    ];
    let holds = all.into_iter().filter(|(is_so, ..)| *is_so);
    holds.map(|(_, budget, now, in_all)| Throttling { budget, now, in_all })
}

/// What has throttled a tenant since an earlier look, if there was one.
pub(crate) fn since(before: Option<&TenantSummary>, now: &TenantSummary) -> impl Iterator<Item = Throttling> + use<> {
    let mut change = now.clone();
    if let Some(before) = before {
        change.held_s -= before.held_s;
        change.memory_denied -= before.memory_denied;
        change.actors_waited -= before.actors_waited;
        change.log_lines_left_out -= before.log_lines_left_out;
        change.dead_letters_left_out -= before.dead_letters_left_out;
    }
    of_tenant(&change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_holds_a_tenant_back_is_said_once() {
        let mut tenant = TenantSummary {
            name: "acme".into(),
            weight: 1,
            worker_s: 1.0,
            fuel: 5,
            held_s: 0.0,
            memory_peak: 0,
            memory_denied: 0,
            active_actors_peak: 1,
            actors_waited: 0,
            log_lines_left_out: 0,
            dead_letter_bytes: 0,
            dead_letters_left_out: 0,
        };
        let mut throttling = ThrottlingMonitor::of(&[]);
        assert!(throttling.news(&[tenant.clone()]).is_empty());
        tenant.held_s = 0.1;
        let news = throttling.news(&[tenant.clone()]);
        assert!(matches!(&news[..], [line] if line.contains("`acme`") && line.contains("`fuel_per_second`")));
        (tenant.held_s, tenant.log_lines_left_out) = (0.2, 1);
        let news = throttling.news(&[tenant]);
        assert!(matches!(&news[..], [line] if line.contains("left out")), "{news:?}");
    }
}
