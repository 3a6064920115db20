// The page of one pipeline.

import { Failure, ask, get, pipelinePath, sentence } from "./api.js";
import { apiLine, confirmed, el, keep, mark, put, say } from "./dom.js";
import { keyOf } from "./figures.js";
import * as format from "./format.js";
import { Graph, nameOf, showRanking } from "./graph.js";
import { addressOf, keysOf, showState, showTiles } from "./overview.js";
import { ranked, verdict } from "./rank.js";
import { Tap } from "./tap.js";
import { Timeline } from "./timeline.js";

/** How often what stands in the details, the log and the versions is asked for, in ms. */
const DETAILS_MS = 2_000;
const LINES = 200;
const TABS = ["Parts", "Events", "Log", "Failures", "Versions"];

export function pipelinePage(shared, tenant, name, tab) {
  const view = new PipelineView(shared, tenant, name);
  view.select(TABS.find((known) => known.toLowerCase() === tab) ?? "Parts");
  return {
    node: view.node,
    title: `${tenant}/${name}`,
    update: () => view.update(),
    close: () => view.close(),
    key: (event, isTyping) => view.key(event, isTyping),
  };
}

class PipelineView {
  #asked = 0;
  #details = null;
  #then = null;
  #isClosed = false;
  /** What all tenants had used of the workers when it was last asked, and how many workers they keep busy; null for one who does not see all. */
  #spent = null;
  #used = null;

  constructor(shared, tenant, name) {
    Object.assign(this, { shared, tenant, name });
    this.state = el("span", { class: "state" });
    this.since = el("span", { class: "hint" });
    this.tools = el("div", { class: "buttons" });
    this.why = el("div", { hidden: true });
    this.said = el("p", { class: "error", role: "alert" });
    this.figures = el("dl", { class: "tiles" });
    this.timeline = new Timeline(tenant, name, (then) => {
      this.#then = then;
      this.update();
    });
    this.drawing = el("div", { class: "graph" });
    this.graph = new Graph(this.drawing, (place) => this.look(place));
    this.ranking = el("ol", { class: "ranking" });
    this.verdict = el("p", { class: "verdict" });
    this.tap = new Tap(tenant, name, (place) => this.graph.choose(place));
    this.panels = {
      Parts: new Parts(),
      Events: this.tap,
      Log: new Log(tenant, name),
      Failures: new Failures(tenant, name),
      Versions: new Versions(tenant, name, (version) => this.rollBack(version)),
    };
    this.tabs = TABS.map((tab) => el("button", { type: "button", role: "tab", onclick: () => this.select(tab) }, tab));
    this.panel = el("div", { role: "tabpanel" });
    this.node = el(
      "div",
      {},
      el("div", { class: "title" }, el("h1", {}, el("a", { href: "#/" }, tenant), " / ", name), this.state, this.since, this.tools),
      this.said,
      this.why,
      this.figures,
      el("section", { class: "card" }, el("h2", {}, "The last hour"), this.timeline.node, apiLine(`GET ${pipelinePath(tenant, name, "/history")}`)),
      el(
        "div",
        { class: "split" },
        el("section", { class: "card" }, el("h2", {}, "Graph"), this.drawing, apiLine(`GET /api/v1/activity?tenant=${tenant}`)),
        el("section", { class: "card" }, el("h2", {}, "Who holds back whom"), this.verdict, this.ranking),
      ),
      el("section", { class: "card" }, el("div", { role: "tablist", class: "tabs" }, this.tabs), this.panel),
      el("p", { class: "keys" }, ...keysOf([["Esc", "back"], ["← →", "tabs"], ["Enter", "look at the events of a part"]])),
    );
  }

  close() {
    this.#isClosed = true;
    this.tap.stop();
  }

  select(tab) {
    this.chosen = tab;
    this.tabs.forEach((button, index) => {
      mark(button, "aria-selected", TABS[index] === tab ? "true" : "false");
      mark(button, "tabindex", TABS[index] === tab ? "0" : "-1");
    });
    put(this.panel, this.panels[tab].node);
    history.replaceState(null, "", `${addressOf(this)}/${tab.toLowerCase()}`);
    if (tab !== "Events") this.tap.stop();
    this.#asked = 0;
    if (this.shared.live.activity) this.update();
  }

  look(place) {
    this.select("Events");
    this.tap.start(place);
  }

  key(event, isTyping) {
    if (event.key === "Escape") {
      if (isTyping) event.target.blur();
      else this.shared.go("#/");
      return true;
    }
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && !isTyping && event.target.type !== "range") {
      this.select(TABS[(TABS.indexOf(this.chosen) + step + TABS.length) % TABS.length]);
      this.tabs[TABS.indexOf(this.chosen)].focus();
      return true;
    }
    return false;
  }

  update() {
    const { live } = this.shared;
    const pipeline = live.activity?.pipelines.find((pipeline) => pipeline.tenant === this.tenant && pipeline.name === this.name);
    this.ask();
    this.timeline.update().catch((failure) => this.failed(failure));
    if (!pipeline) {
      if (live.activity) this.gone();
      return;
    }
    this.pipeline = pipeline;
    const parts = this.#withLast(pipeline);
    const workers = live.activity.workers;
    const edges = ranked(
      parts,
      {
        edge: (edge) => live.rate(pipeline, `edge ${nameOf(edge)}`),
        busy: (operator) => live.workers(pipeline, operator),
        tenantHeld: live.tenantRate(this.tenant, "held_s"),
        tenantDenied: live.tenantRate(this.tenant, "memory_denied"),
        used: this.#used,
      },
      workers,
    );
    showState(this.state, pipeline);
    say(this.since, `for ${format.ago(live.activity.at_ms - pipeline.since_ms)} · version ${pipeline.version}`);
    this.showTools(pipeline);
    this.showWhy(pipeline);
    this.showFigures(pipeline, workers);
    this.showGraph(pipeline, parts, edges, workers);
    this.panels.Parts.update(this.shared.live, pipeline, parts, this.#details, workers);
    this.panels.Failures.update(parts, this.#details, pipeline);
    this.tap.offer([...(parts.edges ?? []).map(nameOf), ...(parts.sources ?? []).map((part) => part.id), ...(parts.operators ?? []).map((part) => part.id), ...(parts.sinks ?? []).map((part) => part.id)]);
  }

  /** A pipeline that does not run is shown with the parts of its last run. */
  #withLast(pipeline) {
    const summary = this.#details?.summary;
    if (pipeline.edges?.length || pipeline.sources?.length || !summary) return pipeline;
    return {
      ...pipeline,
      isLast: true,
      sources: (summary.sources ?? []).map((source) => ({ ...source, has_ended: false, in_flight: 0 })),
      operators: (this.#details.operators ?? []).map((operator) => ({ ...operator, is_full: false })),
      sinks: Object.entries(summary.sinks ?? {}).map(([id, events]) => ({ id, events, queued: 0, is_full: false })),
      edges: summary.edges ?? [],
    };
  }

  /** Asks for what changes more slowly than the figures. */
  async ask() {
    const now = performance.now();
    if (now - this.#asked < DETAILS_MS) return;
    this.#asked = now;
    try {
      const [details, tenants] = await Promise.all([get(pipelinePath(this.tenant, this.name)), get("/api/v1/tenants"), this.panels[this.chosen].ask?.()]);
      this.#details = details;
      this.#note(tenants, now);
      say(this.said, "");
      if (!this.#isClosed) this.update();
    } catch (failure) {
      this.failed(failure);
    }
  }

  #note(tenants, now) {
    if (this.shared.caller?.tenant !== null) return;
    const spent = tenants.reduce((total, tenant) => total + (tenant.usage?.worker_s ?? 0), 0);
    if (this.#spent) this.#used = (spent - this.#spent.spent) / ((now - this.#spent.now) / 1_000);
    this.#spent = { spent, now };
  }

  failed(failure) {
    if (!(failure instanceof Failure)) throw failure;
    // That the service is away, or the token too old, is said by the page around.
    if (failure.isAway || failure.status === 401 || this.#isClosed) return;
    if (failure.status === 404) return this.gone();
    say(this.said, [failure.message, failure.help].filter((text) => text).map(sentence).join(" "));
  }

  gone() {
    put(this.tools);
    say(this.said, `There is no pipeline ${this.tenant}/${this.name}, or not any more.`);
    mark(this.state, "data-state", null);
    say(this.state, "");
    say(this.since, "");
  }

  showTools(pipeline) {
    const may = this.shared.caller?.may_change;
    const [canStart, canStop] = [["stopped", "finished", "failed"].includes(pipeline.state), ["running", "starting", "failed"].includes(pipeline.state)];
    const shape = `${may} ${canStart} ${canStop} ${pipeline.state === "deleting"}`;
    if (this.tools.dataset.shape === shape) return;
    this.tools.dataset.shape = shape;
    if (!may) return put(this.tools, el("span", { class: "hint" }, "This token may only look."));
    const button = (text, work, isShown, isDanger) => isShown && el("button", { type: "button", class: isDanger ? "danger" : "", onclick: work }, text);
    put(
      this.tools,
      button("Start", () => this.change("POST", "/start"), canStart),
      button("Stop", () => this.stop(), canStop),
      button("Delete", () => this.delete(), pipeline.state !== "deleting", true),
    );
  }

  async change(method, rest) {
    try {
      await ask(method, pipelinePath(this.tenant, this.name, rest));
      say(this.said, "");
      this.#asked = 0;
      this.update();
      return true;
    } catch (failure) {
      this.failed(failure);
      return false;
    }
  }

  async stop() {
    const says = "Its sources stop, and what they have read goes to its end within 20 s. Its state is kept: it resumes there when it is started.";
    if (await confirmed({ title: `Stop ${this.name}?`, says, action: "Stop" })) this.change("POST", "/stop");
  }

  async delete() {
    const says = "Its state and its versions go for good. What it wrote stays.";
    const answer = { title: `Delete ${this.name}?`, says, action: "Delete", isDanger: true, typed: this.name };
    if ((await confirmed(answer)) && (await this.change("DELETE", ""))) this.shared.go("#/");
  }

  async rollBack(version) {
    const says = `Version ${version} resumes from the state that the present version leaves.`;
    if (await confirmed({ title: `Roll back to version ${version}?`, says, action: "Roll back" })) this.change("POST", `/rollback?to=${version}`);
  }

  /** Why it does not run, or does not end. */
  showWhy(pipeline) {
    const findings = this.#details?.findings ?? [];
    const shape = JSON.stringify([pipeline.state, pipeline.reason, findings]);
    this.why.hidden = !pipeline.reason && pipeline.state !== "failed";
    const retry = this.#details?.retry_at_ms;
    if (this.why.dataset.shape !== shape) {
      this.why.dataset.shape = shape;
      this.retry = el("p", { class: "hint" });
      put(
        this.why,
        el(
          "section",
          { class: "card why", "data-state": pipeline.state },
          el("h2", {}, pipeline.state === "failed" ? "Why it does not run" : "What it waits for"),
          el("p", { class: "reason" }, pipeline.reason ?? "It cannot continue."),
          findings.map(findingOf),
          this.retry,
          apiLine(`GET ${pipelinePath(this.tenant, this.name)}`),
        ),
      );
    }
    const wait = retry && retry - Date.now();
    const again = retry ? (wait > 0 ? `It is started again in ${format.ago(wait)}, at ${format.clock(retry)}.` : "It is being started again.") : "It is not started again before it is upgraded or started.";
    say(this.retry, pipeline.state === "failed" ? again : "");
  }

  showFigures(pipeline, workers) {
    const { live } = this.shared;
    const then = this.#then;
    mark(this.figures, "data-then", then !== null);
    if (then) {
      const { sample } = then;
      return showTiles(this.figures, [
        ["State", sample?.state ?? "–", format.clock(then.at)],
        ["Events in / s", sample ? format.rate(then.in) : "–"],
        ["Events out / s", sample ? format.rate(then.out) : "–"],
        ["Workers", sample ? format.percent(then.workers / workers) : "–"],
        ["In flight", format.count(sample?.in_flight)],
        ["Behind", format.duration(sample?.behind_ms)],
        ["Dead letters", format.count(sample?.dead_letters)],
        ["Version", sample ? String(sample.version) : "–"],
      ]);
    }
    const checkpoints = this.#details?.summary?.checkpoints;
    const slo = this.#details?.summary?.slo;
    const runs = ["running", "stopping"].includes(pipeline.state);
    const busy = live.workers(pipeline);
    showTiles(this.figures, [
      ["Events in / s", runs ? format.rate(live.rate(pipeline, "in")) : "–"],
      ["Events out / s", runs ? format.rate(live.rate(pipeline, "out")) : "–"],
      ["Workers", runs && busy !== null ? format.percent(busy / workers) : "–", `of ${workers}`],
      ["In flight", format.count(pipeline.in_flight)],
      ["Behind", runs ? format.duration(pipeline.behind_ms) : "–"],
      ["Latency p50", format.duration(pipeline.latency_ms?.p50)],
      ["Latency p99", format.duration(pipeline.latency_ms?.p99), slo ? `target ${format.duration(slo.target_ms)}` : "", slo && pipeline.latency_ms?.p99 > slo.target_ms ? "bad" : undefined],
      ["Dead letters", format.count(pipeline.dead_letters), "", pipeline.dead_letters ? "bad" : undefined],
      ["Checkpoints", checkpoints ? format.count(checkpoints.taken) : "–", checkpoints ? `pause ≤ ${format.duration(checkpoints.pause_ms_max)}` : ""],
    ]);
  }

  showGraph(pipeline, parts, edges, workers) {
    const { live } = this.shared;
    const sources = (parts.sources ?? []).map((source) => ({
      id: source.id,
      kind: "source",
      figures: [`${format.rate(live.rate(pipeline, `source ${source.id}`))}/s`, source.has_ended ? "has ended" : `${format.count(source.events)} read`],
      isBad: source.dead_letters > 0,
    }));
    const operators = (parts.operators ?? []).map((operator) => {
      const busy = live.workers(pipeline, operator.id);
      const failed = operator.dead_letters ? ` · ${format.count(operator.dead_letters)} dead` : "";
      return {
        id: operator.id,
        kind: "operator",
        figures: [`${format.rate(live.rate(pipeline, `in ${operator.id}`))}/s · ${format.percent(busy === null ? null : busy / workers)}`, `${format.count(operator.queued)} wait${failed}`],
        share: busy === null ? 0 : busy / workers,
        isFull: operator.is_full,
        isBad: operator.dead_letters > 0,
      };
    });
    const sinks = (parts.sinks ?? []).map((sink) => ({
      id: sink.id,
      kind: "sink",
      figures: [`${format.rate(live.rate(pipeline, `sink ${sink.id}`))}/s`, sink.queued ? `${format.count(sink.queued)} to write` : `${format.count(sink.events)} written`],
      isFull: sink.is_full,
    }));
    const all = [...sources, ...operators, ...sinks];
    if (all.length) this.graph.show(all, edges);
    else if (!this.drawing.textContent) put(this.drawing, el("p", { class: "empty" }, "It has not run since the service started, so nothing is known of its parts."));
    showRanking(this.ranking, edges, (place) => this.look(place));
    const judged = verdict(pipeline, edges);
    say(this.verdict, judged ? sentence(judged.says) : parts.isLast ? "It does not run. The figures are those of its last run." : "It does not run.");
    mark(this.verdict, "data-cause", judged?.cause);
  }
}

/** What is wrong with a pipeline file, or worth knowing. */
export function findingOf(finding) {
  const place = [finding.file, finding.line, finding.column].filter((part) => part).join(":");
  return el(
    "div",
    { class: "finding", "data-severity": finding.severity },
    el("b", {}, finding.severity),
    el("span", {}, finding.message),
    place && el("code", {}, place),
    finding.help && el("small", {}, finding.help),
  );
}

/** A table whose rows stay as their figures change. */
class Table {
  constructor(columns) {
    this.columns = columns;
    this.body = el("tbody");
    const heads = columns.map(([name, , isText]) => el("th", { scope: "col", class: isText ? "text" : "" }, name));
    this.node = el("table", { class: "plain" }, el("thead", {}, el("tr", {}, heads)), this.body);
  }

  show(rows) {
    this.node.hidden = rows.length === 0;
    keep(
      this.body,
      rows,
      (row) => row.id,
      () => el("tr", {}, this.columns.map(([name, , isText]) => el("td", { "data-name": name, class: isText ? "text" : "" }))),
      (line, row) => this.columns.forEach(([, of], index) => say(line.children[index], of(row))),
    );
  }
}

/** The figures of each part. */
class Parts {
  constructor() {
    this.sources = new Table([
      ["Source", (row) => row.id, true],
      ["In / s", (row) => format.rate(row.rate)],
      ["Events", (row) => format.exact(row.events)],
      ["In flight", (row) => format.exact(row.in_flight)],
      ["Dead letters", (row) => format.exact(row.dead_letters)],
      ["Read", (row) => (row.units_total ? `${format.percent(row.units_read / row.units_total)}` : format.count(row.units_read))],
      ["Watermark", (row) => format.moment(row.watermark_ms), true],
    ]);
    this.operators = new Table([
      ["Operator", (row) => row.id, true],
      ["In / s", (row) => format.rate(row.rate)],
      ["Workers", (row) => format.percent(row.share)],
      ["Per event", (row) => (row.events_in ? format.microseconds(row.worker_ns / row.events_in / 1e3) : "–")],
      ["In", (row) => format.exact(row.events_in)],
      ["Out", (row) => format.exact(row.events_out)],
      ["Filtered", (row) => format.exact(row.filtered)],
      ["In windows", (row) => format.exact(row.absorbed)],
      ["Late", (row) => format.exact(row.late)],
      ["Dead letters", (row) => format.exact(row.dead_letters)],
      ["Waiting", (row) => format.exact(row.queued)],
      ["Instances", (row) => format.exact(row.instances)],
      ["Watermark", (row) => [format.moment(row.watermark_ms), row.held].filter((text) => text).join(", "), true],
    ]);
    this.sinks = new Table([
      ["Sink", (row) => row.id, true],
      ["Out / s", (row) => format.rate(row.rate)],
      ["Events", (row) => format.exact(row.events)],
      ["To write", (row) => format.exact(row.queued)],
      ["Is full", (row) => (row.is_full ? "yes" : "no"), true],
    ]);
    this.delivery = el("ul", { class: "delivery" });
    this.api = el("div");
    this.node = el("div", { class: "tables" }, this.sources.node, this.operators.node, this.sinks.node, this.delivery, this.api);
  }

  update(live, pipeline, parts, details, workers) {
    const time = new Map((details?.operators ?? []).map((operator) => [operator.id, operator.event_time]));
    this.sources.show((parts.sources ?? []).map((source) => ({ ...source, rate: live.rate(pipeline, `source ${source.id}`) })));
    this.operators.show(
      (parts.operators ?? []).map((operator) => {
        const busy = live.workers(pipeline, operator.id);
        const held = time.get(operator.id);
        return {
          ...operator,
          rate: live.rate(pipeline, `in ${operator.id}`),
          share: busy === null ? null : busy / workers,
          watermark_ms: operator.watermark_ms ?? held?.watermark,
          held: held?.behind_ms ? `${format.duration(held.behind_ms)} behind for ${held.held_back_by}` : "",
        };
      }),
    );
    this.sinks.show((parts.sinks ?? []).map((sink) => ({ ...sink, rate: live.rate(pipeline, `sink ${sink.id}`) })));
    keep(this.delivery, details?.delivery ?? [], (text) => text, (text) => el("li", {}, text));
    if (!this.api.firstChild) put(this.api, apiLine(`GET ${pipelinePath(pipeline.tenant, pipeline.name)}`));
  }
}

/** The latest lines of the log, the newest first. */
class Log {
  constructor(tenant, name) {
    Object.assign(this, { tenant, name });
    this.list = el("ol", { class: "log" });
    this.node = el("div", {}, this.list, apiLine(`GET ${pipelinePath(tenant, name, `/logs?lines=${LINES}`)}`));
  }

  async ask() {
    const lines = await get(pipelinePath(this.tenant, this.name, `/logs?lines=${LINES}`));
    const shape = JSON.stringify([lines.length, lines.at(-1)]);
    if (this.shape === shape) return;
    this.shape = shape;
    put(this.list, lines.length ? lines.reverse().map(lineOf) : el("li", { class: "empty" }, "It has said nothing yet."));
  }
}

function lineOf(line) {
  return el(
    "li",
    { "data-level": line.level },
    el("time", { title: format.moment(line.at_ms) }, format.clock(line.at_ms)),
    el("b", {}, line.level),
    el("span", { class: "key" }, line.operator ?? "service"),
    el("span", { class: "message" }, line.message),
  );
}

/** What failed: traps and dead letters by operator, and the latest of them. */
class Failures {
  constructor(tenant, name) {
    Object.assign(this, { tenant, name });
    this.table = new Table([
      ["Part", (row) => row.id, true],
      ["Traps", (row) => format.exact(row.traps)],
      ["Dead letters", (row) => format.exact(row.dead_letters)],
      ["Of its events", (row) => format.percent(row.share)],
      ["Late", (row) => format.exact(row.late)],
      ["Quarantines", (row) => format.exact(row.quarantines)],
    ]);
    this.none = el("p", { class: "empty" }, "Nothing has failed in this run.");
    this.list = el("ol", { class: "versions" });
    this.node = el("div", { class: "tables" }, this.table.node, this.none, this.list, apiLine(`GET ${pipelinePath(tenant, name, "/dead-letters/latest")}`, `GET ${pipelinePath(tenant, name)}`));
  }

  update(parts, details, pipeline) {
    const more = new Map((details?.operators ?? []).map((operator) => [operator.id, operator]));
    const operators = (parts.operators ?? []).map((operator) => ({
      ...operator,
      share: operator.events_in ? operator.dead_letters / operator.events_in : 0,
      quarantines: more.get(operator.id)?.quarantines,
    }));
    const sources = (parts.sources ?? []).filter((source) => source.dead_letters);
    const failed = [...sources, ...operators.filter((operator) => operator.traps || operator.dead_letters || operator.late)];
    this.table.show(failed);
    this.none.hidden = failed.length > 0;
    this.path = details?.summary?.dead_letters_path;
  }

  async ask() {
    const letters = await get(pipelinePath(this.tenant, this.name, "/dead-letters/latest"));
    if (this.letters?.[0]?.id === letters[0]?.id && this.letters?.length === letters.length) return;
    this.letters = letters;
    keep(this.list, letters, (letter) => letter.id, (letter) => this.#item(letter));
  }

  #item(letter) {
    const pipeline = `${this.tenant}/${this.name}`;
    const commands = [`dirigo dead-letters show ${pipeline} ${letter.id}`, `dirigo dead-letters retry ${pipeline} --id ${letter.id}`];
    return el(
      "li",
      {},
      el(
        "details",
        {},
        el("summary", {}, el("b", {}, `${letter.operator}: ${letter.kind}`), el("span", { class: "hint" }, letter.reason)),
        letter.backtrace && el("pre", { class: "backtrace" }, letter.backtrace),
        el("p", { class: "hint" }, `Dead letter ${letter.id}, of source ${letter.source}, key ${letter.key ?? "–"}, event time ${format.moment(letter.time_ms)}; ${format.count(letter.fuel)} fuel, attempt ${letter.attempt}.`),
        letter.value !== undefined && el("pre", { class: "failed" }, letter.value),
        el("p", { class: "hint" }, "Commands: ", this.path && el("code", { class: "command" }, `dirigo replay ${this.path} --id ${letter.id}`), commands.map((command) => el("code", { class: "command" }, command))),
      ),
    );
  }
}

/** The versions that are kept. */
class Versions {
  constructor(tenant, name, rollBack) {
    Object.assign(this, { tenant, name, rollBack });
    this.list = el("ol", { class: "versions" });
    this.node = el("div", {}, this.list, apiLine(`GET ${pipelinePath(tenant, name, "/versions")}`, `POST ${pipelinePath(tenant, name, "/rollback?to=VERSION")}`));
  }

  async ask() {
    const versions = await get(pipelinePath(this.tenant, this.name, "/versions"));
    const shape = JSON.stringify(versions);
    if (this.shape === shape) return;
    this.shape = shape;
    put(this.list, versions.map((version) => this.#item(version)));
  }

  #item(version) {
    const back = el("button", { type: "button", onclick: () => this.rollBack(version.version) }, "Roll back to it");
    const components = Object.entries(version.deployment.components ?? {});
    return el(
      "li",
      {},
      el(
        "details",
        {},
        el("summary", {}, el("b", {}, `Version ${version.version}`), version.is_current && el("span", { class: "tag" }, "current"), el("span", { class: "hint" }, `${format.moment(version.deployed_ms)} UTC, by ${version.by}`)),
        components.length > 0 && el("p", { class: "hint" }, "Components: ", components.map(([file, sha256]) => el("code", {}, `${file} ${sha256.slice(0, 12)}…`))),
        version.deployment.set?.length > 0 && el("p", { class: "hint" }, "Set: ", version.deployment.set.map((set) => el("code", {}, set))),
        el("pre", {}, version.deployment.pipeline),
      ),
      !version.is_current && back,
    );
  }
}
