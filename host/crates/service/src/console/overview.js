// All pipelines that the token sees, those first that take the most worker time.

import { apiLine, el, keep, mark, put, say, svg } from "./dom.js";
import { TREND, keyOf } from "./figures.js";
import * as format from "./format.js";
import { ranked, verdict } from "./rank.js";

/** More rows than anyone reads; the filter finds the others. */
const ROWS_MAX = 250;
const sum = (items, of) => items.reduce((total, item) => total + (of(item) ?? 0), 0);

const COLUMNS = [
  { name: "Pipeline", by: (row) => row.key, isText: true },
  { name: "State", by: (row) => row.pipeline.state, isText: true },
  { name: "Workers", by: (row) => row.workers, title: "Share of the workers that its operators take" },
  { name: "In / s", by: (row) => row.in },
  { name: "Trend", by: (row) => row.in, title: "Events in, over the last minute", class: "trend" },
  { name: "Out / s", by: (row) => row.out },
  { name: "In flight", by: (row) => row.pipeline.in_flight },
  { name: "Behind", by: (row) => row.pipeline.behind_ms, title: "How long the oldest event on its way has been" },
  { name: "p99", by: (row) => row.pipeline.latency_ms?.p99, title: "Latency from source to sink since the run began" },
  { name: "Dead letters", by: (row) => row.pipeline.dead_letters },
  { name: "Held back by", by: (row) => row.verdict?.part ?? "", isText: true },
];

export function overviewPage(shared) {
  const order = { column: 2, isDown: true };
  let selected = 0;
  let rows = [];

  const filter = el("input", { type: "search", placeholder: "Filter by name, tenant or state", "aria-label": "Filter", autocomplete: "off" });
  const figures = el("dl", { class: "tiles" });
  const failed = el("div", { class: "alerts" });
  const body = el("tbody");
  const note = el("p", { class: "hint" });
  const heads = COLUMNS.map((column, index) =>
    el(
      "th",
      { scope: "col", class: [column.isText ? "text" : "", column.class ?? ""].join(" ").trim() },
      el("button", { type: "button", title: column.title, onclick: () => sortBy(index) }, column.name),
    ),
  );
  const table = el("table", { class: "pipelines" }, el("thead", {}, el("tr", {}, heads)), body);
  const empty = el("div", { class: "empty", hidden: true });
  const node = el(
    "div",
    {},
    el("div", { class: "title" }, el("h1", {}, "Pipelines"), filter),
    figures,
    failed,
    el("section", { class: "card flush" }, table, empty),
    note,
    el("p", { class: "keys" }, ...keysOf([["↑ ↓", "select"], ["Enter", "open"], ["/", "filter"], ["Esc", "clear"], ["1 2 3", "pages"]])),
    apiLine("GET /api/v1/activity"),
  );

  function sortBy(index) {
    order.isDown = order.column === index ? !order.isDown : !COLUMNS[index].isText;
    order.column = index;
    update();
  }

  function update() {
    const { live } = shared;
    const { activity } = live;
    if (!activity) return;
    const used = sum(activity.tenants ?? [], (tenant) => live.tenantRate(tenant.name, "worker_s"));
    const all = activity.pipelines.map((pipeline) => rowOf(live, pipeline, activity.workers, shared.caller?.tenant === null ? used : null));
    const words = filter.value.toLowerCase().split(/\s+/).filter((word) => word);
    rows = all.filter((row) => words.every((word) => row.text.includes(word)));
    const { by, isText } = COLUMNS[order.column];
    const sign = order.isDown ? -1 : 1;
    rows.sort((a, b) => {
      const compared = isText ? by(a).localeCompare(by(b)) : (by(a) ?? -1) - (by(b) ?? -1);
      return compared * sign || (b.in ?? 0) - (a.in ?? 0) || a.key.localeCompare(b.key);
    });
    selected = Math.max(0, Math.min(selected, rows.length - 1, ROWS_MAX - 1));
    heads.forEach((head, index) => mark(head, "aria-sort", index === order.column && (order.isDown ? "descending" : "ascending")));
    keep(body, rows.slice(0, ROWS_MAX), (row) => row.key, make, fillRow);
    [...body.children].forEach((child, index) => mark(child, "aria-selected", index === selected && "true"));

    const running = all.filter((row) => row.pipeline.state === "running");
    showTiles(figures, [
      ["Running", `${running.length}`, `of ${all.length}`],
      ["Events in / s", format.rate(sum(running, (row) => row.in))],
      ["Events out / s", format.rate(sum(running, (row) => row.out))],
      ["In flight", format.count(sum(running, (row) => row.pipeline.in_flight))],
      ["Dead letters", format.count(sum(all, (row) => row.pipeline.dead_letters))],
      ["Workers busy", format.percent(used / activity.workers), `of ${activity.workers}`],
    ]);
    keep(failed, all.filter((row) => row.pipeline.state === "failed").slice(0, 3), (row) => row.key, makeAlert, fillAlert);
    table.hidden = rows.length === 0;
    empty.hidden = rows.length > 0;
    if (!rows.length && empty.dataset.of !== String(all.length > 0)) {
      empty.dataset.of = String(all.length > 0);
      put(
        empty,
        all.length
          ? el("p", {}, "No pipeline matches the filter.")
          : [el("p", {}, "There are no pipelines yet."), el("p", { class: "hint" }, "Drop a pipeline file here, or run ", el("code", {}, "dirigo deploy pipeline.toml"))],
      );
    }
    say(note, rows.length > ROWS_MAX ? `The first ${ROWS_MAX} of ${rows.length} are shown: the filter finds the others.` : "");
  }

  function make(row) {
    const cells = Object.fromEntries(COLUMNS.map((column) => [column.name, el("td", { "data-name": column.name, class: [column.isText ? "text" : "", column.class ?? ""].join(" ").trim() })]));
    const bar = el("i");
    const path = svg("path", { class: "line" });
    const area = svg("path", { class: "area" });
    const name = el("a", { href: addressOf(row.pipeline) }, row.pipeline.name);
    put(cells.Pipeline, name, el("small", {}, row.pipeline.tenant));
    const state = el("span", { class: "state" });
    put(cells.State, state);
    const share = el("span");
    put(cells.Workers, el("span", { class: "bar" }, bar), share);
    put(cells.Trend, svg("svg", { viewBox: `0 0 ${TREND} 20`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, path));
    const line = el("tr", { onclick: (event) => event.target.tagName !== "A" && shared.go(addressOf(row.pipeline)) }, Object.values(cells));
    line.parts = { cells, bar, path, area, state, share };
    return line;
  }

  function fillRow(line, row) {
    const { cells, bar, path, area, state, share } = line.parts;
    const { pipeline } = row;
    showState(state, pipeline);
    const part = row.workers === null ? null : row.workers / shared.live.activity.workers;
    bar.style.setProperty("--share", String(Math.min(1, part ?? 0)));
    say(share, format.percent(part));
    const [curve, filled] = trendOf(shared.live.trend(pipeline));
    mark(path, "d", curve);
    mark(area, "d", filled);
    const runs = pipeline.state === "running" || pipeline.state === "stopping";
    say(cells["In / s"], runs ? format.rate(row.in) : "–");
    say(cells["Out / s"], runs ? format.rate(row.out) : "–");
    say(cells["In flight"], format.count(pipeline.in_flight));
    say(cells.Behind, runs ? format.duration(pipeline.behind_ms) : "–");
    say(cells.p99, format.duration(pipeline.latency_ms?.p99));
    say(cells["Dead letters"], format.count(pipeline.dead_letters));
    mark(cells["Dead letters"], "data-bad", pipeline.dead_letters > 0);
    const says = row.verdict?.part ? `${row.verdict.part} (${WORDS[row.verdict.cause]})` : row.verdict ? WORDS[row.verdict.cause] : "";
    say(cells["Held back by"], says);
    mark(cells["Held back by"], "title", row.verdict?.says);
    mark(cells["Held back by"], "data-cause", row.verdict?.cause);
  }

  function makeAlert(row) {
    const why = el("span");
    const line = el("a", { class: "alert bad", href: addressOf(row.pipeline) }, el("b", {}, row.key), why);
    line.why = why;
    return line;
  }

  function fillAlert(line, row) {
    say(line.why, row.pipeline.reason ?? "failed");
  }

  filter.addEventListener("input", update);
  return {
    node,
    update,
    key(event, isTyping) {
      const move = { ArrowDown: 1, ArrowUp: -1, j: isTyping ? 0 : 1, k: isTyping ? 0 : -1 }[event.key];
      if (move) {
        selected = Math.max(0, Math.min(selected + move, rows.length - 1, ROWS_MAX - 1));
        update();
        body.children[selected]?.scrollIntoView({ block: "nearest" });
        return true;
      }
      if (event.key === "Enter" && rows[selected] && !/^(A|BUTTON)$/.test(event.target.tagName)) {
        shared.go(addressOf(rows[selected].pipeline));
        return true;
      }
      if (event.key === "/" && !isTyping) {
        filter.focus();
        filter.select();
        return true;
      }
      if (event.key === "Escape") {
        if (filter.value) {
          filter.value = "";
          update();
        }
        filter.blur();
        return true;
      }
      return false;
    },
  };
}

/** A cause in a word. */
export const WORDS = { sink: "sink", budget: "budget", cpu: "CPU share", downstream: "downstream", source: "source", none: "nothing" };

function rowOf(live, pipeline, workers, used) {
  const rates = {
    edge: (edge) => live.rate(pipeline, `edge ${edge.from}..${edge.to}`),
    busy: (operator) => live.workers(pipeline, operator),
    tenantHeld: live.tenantRate(pipeline.tenant, "held_s"),
    tenantDenied: live.tenantRate(pipeline.tenant, "memory_denied"),
    used,
  };
  return {
    pipeline,
    key: keyOf(pipeline),
    text: `${keyOf(pipeline)} ${pipeline.state}`.toLowerCase(),
    in: live.rate(pipeline, "in"),
    out: live.rate(pipeline, "out"),
    workers: live.workers(pipeline),
    verdict: verdict(pipeline, ranked(pipeline, rates, workers)),
  };
}

export function addressOf(pipeline) {
  return `#/pipelines/${encodeURIComponent(pipeline.tenant)}/${encodeURIComponent(pipeline.name)}`;
}

/** The state of a pipeline as a dot and a word. */
export function showState(node, pipeline) {
  mark(node, "data-state", pipeline.state);
  say(node, pipeline.state);
}

/** Figures with their names. */
export function showTiles(list, tiles) {
  keep(
    list,
    tiles,
    ([name]) => name,
    ([name]) => {
      const [value, more] = [el("b"), el("small")];
      const tile = el("div", {}, el("dt", {}, name), el("dd", {}, value, more));
      tile.parts = { value, more };
      return tile;
    },
    (tile, [, value, more, kind]) => {
      say(tile.parts.value, value);
      say(tile.parts.more, more ? ` ${more}` : "");
      mark(tile, "data-kind", kind);
    },
  );
}

/** Keys and what they do. */
export function keysOf(keys) {
  return keys.map(([key, does]) => el("span", {}, el("kbd", {}, key), does));
}

/** A curve of rates in a box of `TREND` by 20, and the area below it. */
function trendOf(rates) {
  if (rates.length < 2) return ["", ""];
  const most = Math.max(...rates, 1e-9);
  const points = rates.map((rate, index) => `${(TREND - rates.length + index + 1).toFixed(0)},${(19 - (rate / most) * 17).toFixed(1)}`);
  const curve = `M${points.join("L")}`;
  return [curve, `${curve}V20H${TREND - rates.length + 1}Z`];
}
