// Rates: what changed between two answers of the API. Counters of a pipeline begin anew with each of its runs.

/** Over how long rates are taken, in ms: long enough to be calm, short enough to follow. */
const WINDOW_MS = 3_000;
/** How many rates of each pipeline are kept for its trend. */
export const TREND = 60;

export const keyOf = (pipeline) => `${pipeline.tenant}/${pipeline.name}`;
const sum = (items, of) => (items ?? []).reduce((total, item) => total + of(item), 0);

/** The counters of a pipeline, by name. */
function countersOf(pipeline) {
  const counters = new Map();
  for (const source of pipeline.sources ?? []) {
    counters.set(`source ${source.id}`, source.events + source.dead_letters);
    counters.set(`units ${source.id}`, source.units_read);
  }
  for (const operator of pipeline.operators ?? []) {
    counters.set(`in ${operator.id}`, operator.events_in);
    counters.set(`out ${operator.id}`, operator.events_out);
    counters.set(`worker ${operator.id}`, operator.worker_ns);
    counters.set(`traps ${operator.id}`, operator.traps);
  }
  for (const sink of pipeline.sinks ?? []) counters.set(`sink ${sink.id}`, sink.events);
  for (const edge of pipeline.edges ?? []) counters.set(`edge ${edge.from}..${edge.to}`, edge.received);
  counters.set("in", sum(pipeline.sources, (source) => source.events + source.dead_letters));
  counters.set("out", sum(pipeline.sinks, (sink) => sink.events));
  counters.set("worker", sum(pipeline.operators, (operator) => operator.worker_ns));
  counters.set("dead", pipeline.dead_letters);
  return counters;
}

/** The answers of the last seconds, and the rates between them. */
export class Live {
  #answers = [];
  #trends = new Map();
  /** The last answer. */
  activity = null;

  /** Takes an answer of `/api/v1/activity`. */
  take(activity) {
    const pipelines = new Map();
    for (const pipeline of activity.pipelines) {
      pipelines.set(keyOf(pipeline), { since: pipeline.since_ms, counters: countersOf(pipeline) });
    }
    const tenants = new Map((activity.tenants ?? []).map((tenant) => [tenant.name, tenant.usage]));
    this.activity = activity;
    this.#answers.push({ at: activity.at_ms, pipelines, tenants });
    // One that is older than the window stays, so that there is one to compare with.
    while (this.#answers.length > 2 && this.#answers[1].at <= activity.at_ms - WINDOW_MS) this.#answers.shift();
    for (const pipeline of activity.pipelines) {
      const key = keyOf(pipeline);
      const trend = this.#trends.get(key) ?? [];
      trend.push(this.rate(pipeline, "in") ?? 0);
      if (trend.length > TREND) trend.shift();
      this.#trends.set(key, trend);
    }
    for (const key of this.#trends.keys()) if (!pipelines.has(key)) this.#trends.delete(key);
  }

  #span() {
    const [first, last] = [this.#answers[0], this.#answers.at(-1)];
    return first && last.at > first.at ? { first, last, seconds: (last.at - first.at) / 1_000 } : null;
  }

  /** By how much a counter grows in a second; none while that is not known. */
  rate(pipeline, counter) {
    const span = this.#span();
    const [then, now] = [span?.first.pipelines.get(keyOf(pipeline)), span?.last.pipelines.get(keyOf(pipeline))];
    if (!then || !now || then.since !== now.since) return null;
    const grown = now.counters.get(counter) - then.counters.get(counter);
    return grown >= 0 ? grown / span.seconds : null;
  }

  /** How many workers a pipeline, or one of its operators, keeps busy. */
  workers(pipeline, operator) {
    const ns = this.rate(pipeline, operator === undefined ? "worker" : `worker ${operator}`);
    return ns === null ? null : ns / 1e9;
  }

  /** By how much what a tenant used grows in a second, such as its `worker_s`. */
  tenantRate(tenant, field) {
    const span = this.#span();
    const [then, now] = [span?.first.tenants.get(tenant)?.[field], span?.last.tenants.get(tenant)?.[field]];
    return then === undefined || now === undefined || now < then ? null : (now - then) / span.seconds;
  }

  /** The rates at which events came in lately, the latest last. */
  trend(pipeline) {
    return this.#trends.get(keyOf(pipeline)) ?? [];
  }
}
