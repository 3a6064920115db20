// Who holds back whom, and why.
//
// A part that is full makes those before it wait. Of several that are full, the one furthest downstream is the cause: the others wait for it. Where none is
// full and events are late all the same, it is the part at which most of them wait. What it lacks follows from what was measured: a sink that does not take more, a tenant that has used up its budget, a share of the workers.

/** From here on an operator keeps its workers busy. */
const BUSY = 0.75;
/** From here on events are late enough for someone to ask why, in ms. */
const BEHIND_MS = 1_000;
/** From here on there is no worker to spare. */
const NO_ROOM = 0.9;

/** The node that an edge leaves: the outputs of a process have names of their own, such as `guard.alerts` of `guard`. */
export function originOf(from, ids) {
  if (ids.has(from)) return from;
  const dot = from.lastIndexOf(".");
  return dot > 0 && ids.has(from.slice(0, dot)) ? from.slice(0, dot) : from;
}

/**
 * The edges of a pipeline, the ones that are held back first. Each has `by`, the part that holds it back, `cause`, one of `sink`, `budget`, `cpu`,
 * `downstream`, `source` and `none`, and `says`, the reason in words.
 *
 * `rates` has: `edge(edge)` in events a second, `busy(operator)` in workers, `tenantHeld` and `tenantDenied`, the growth of these a second, `used`, the
 * workers that all tenants keep busy, or null.
 */
export function ranked(pipeline, rates, workers) {
  const sources = new Map((pipeline.sources ?? []).map((source) => [source.id, source]));
  const operators = new Map((pipeline.operators ?? []).map((operator) => [operator.id, operator]));
  const sinks = new Map((pipeline.sinks ?? []).map((sink) => [sink.id, sink]));
  const ids = new Set([...sources.keys(), ...operators.keys(), ...sinks.keys()]);
  const edges = (pipeline.edges ?? []).map((edge) => ({ ...edge, origin: originOf(edge.from, ids) }));
  const part = (id) => operators.get(id) ?? sinks.get(id);
  const receivers = [...operators.values(), ...sinks.values()];
  const isLate = (pipeline.behind_ms ?? 0) >= BEHIND_MS && !receivers.some((receiver) => receiver.is_full);
  const slowest = isLate && receivers.filter((receiver) => receiver.queued > 0).sort((a, b) => b.queued - a.queued)[0]?.id;
  const holds = (id) => part(id)?.is_full || id === slowest;
  const fullAfter = (id) => edges.find((edge) => edge.origin === id && part(edge.to)?.is_full)?.to;

  const reason = (id) => {
    if (sinks.has(id)) return ["sink", `${id} takes no more than it writes now`];
    const next = fullAfter(id);
    if (next) return ["downstream", `${id} itself waits for ${next}`];
    if (rates.tenantHeld > 0.01) {
      return ["budget", `${pipeline.tenant} has used up its fuel_per_second: what it has ready waits`];
    }
    if (rates.tenantDenied > 0) return ["budget", `${pipeline.tenant} has used up its memory`];
    const busy = rates.busy(id) ?? 0;
    if (busy >= BUSY) return ["cpu", `${id} keeps ${busy.toFixed(2)} of ${workers} workers busy and needs more for each event`];
    if ((rates.used ?? 0) >= workers * NO_ROOM) {
      return ["cpu", `all ${workers} workers are busy, and the share of ${pipeline.tenant} is used up`];
    }
    const few = `has events of one key, or of few, and takes them one after the other`;
    // A tenant does not see what the others take.
    return ["cpu", rates.used === null ? `${id} ${few}, or the share of ${pipeline.tenant} is used up` : `${id} ${few}`];
  };

  const found = edges.map((edge) => {
    const rate = rates.edge(edge);
    if (holds(edge.to)) {
      const [cause, says] = reason(edge.to);
      return { ...edge, rate, by: edge.to, cause, says: `${edge.to} holds back ${edge.origin}: ${says}` };
    }
    const source = sources.get(edge.origin);
    if (source && edge.queued === 0) {
      const says = source.has_ended
        ? `${edge.origin} has ended`
        : edge.origin === pipeline.bottleneck || !pipeline.bottleneck
          ? `nothing waits: ${edge.to} takes what ${edge.origin} gives`
          : `${edge.to} has room`;
      return { ...edge, rate, by: edge.origin, cause: "source", says };
    }
    const says = edge.queued > 0 ? `events wait, and ${edge.to} has room for more` : "nothing waits";
    return { ...edge, rate, by: null, cause: "none", says };
  });
  const weight = { sink: 0, budget: 1, cpu: 2, downstream: 3, none: 4, source: 5 };
  return found.sort((a, b) => weight[a.cause] - weight[b.cause] || b.queued - a.queued || (b.rate ?? 0) - (a.rate ?? 0));
}

/** What the whole pipeline is as slow as, in words; none where it does not run. */
export function verdict(pipeline, edges) {
  if (pipeline.state !== "running") return null;
  const first = edges.find((edge) => ["sink", "budget", "cpu"].includes(edge.cause));
  if (first) return { cause: first.cause, part: first.by, says: first.says };
  const ended = (pipeline.sources ?? []).every((source) => source.has_ended);
  if (ended && pipeline.sources?.length) return { cause: "none", says: "its sources have ended" };
  return { cause: "source", says: "nothing holds it back: it is as fast as its sources" };
}
