// Tenants: what each takes of the workers and the memory, and how often it was held.

import { apiLine, el, keep, mark, put, say } from "./dom.js";
import * as format from "./format.js";
import { showTiles } from "./overview.js";

const COLUMNS = ["Tenant", "Workers", "Weight", "Pipelines", "Worker time", "Memory peak", "Memory denied", "Held", "Waited for an instance", "Log lines left out"];
const TEXT = new Set(["Tenant"]);

export function tenantsPage(shared) {
  const figures = el("dl", { class: "tiles" });
  const stack = el("div", { class: "stack", role: "img" });
  const body = el("tbody");
  const heads = COLUMNS.map((name) => el("th", { scope: "col", class: TEXT.has(name) ? "text" : "" }, name));
  const node = el(
    "div",
    {},
    el("div", { class: "title" }, el("h1", {}, "Tenants")),
    figures,
    el("section", { class: "card" }, el("h2", {}, "Who has the workers now"), stack),
    el("section", { class: "card flush" }, el("table", { class: "plain" }, el("thead", {}, el("tr", {}, heads)), body)),
    el("p", { class: "hint" }, "Held: for how long a tenant had burnt its fuel, so that what it had ready waited. All but the first column of figures count from the start of the service."),
    apiLine("GET /api/v1/activity", "GET /api/v1/tenants"),
  );

  function update() {
    const { live } = shared;
    const { tenants = [], workers } = live.activity;
    const rows = tenants.map((tenant) => ({ ...tenant, busy: live.tenantRate(tenant.name, "worker_s") }));
    rows.sort((a, b) => (b.busy ?? 0) - (a.busy ?? 0) || a.name.localeCompare(b.name));
    const busy = rows.reduce((total, row) => total + (row.busy ?? 0), 0);
    showTiles(figures, [
      ["Tenants", `${rows.length}`],
      ["Workers busy", format.percent(busy / workers), `of ${workers}`],
      ["Held now", `${rows.filter((row) => live.tenantRate(row.name, "held_s") > 0).length}`],
    ]);
    keep(
      stack,
      rows.filter((row) => row.busy > 0),
      (row) => row.name,
      () => el("span"),
      (part, row) => {
        part.style.setProperty("--share", String(row.busy / Math.max(workers, busy)));
        say(part, row.name);
        mark(part, "title", `${row.name}: ${format.percent(row.busy / workers)} of the workers`);
      },
    );
    mark(stack, "aria-label", rows.map((row) => `${row.name} ${format.percent((row.busy ?? 0) / workers)}`).join(", "));
    keep(body, rows, (row) => row.name, make, (line, row) => fill(line, row, workers));
  }

  function make(row) {
    const cells = COLUMNS.map((name) => el("td", { "data-name": name, class: TEXT.has(name) ? "text" : "" }));
    put(cells[0], el("b", {}, row.name));
    const [bar, share] = [el("i"), el("span")];
    put(cells[1], el("span", { class: "bar" }, bar), share);
    const line = el("tr", {}, cells);
    line.parts = { cells, bar, share };
    return line;
  }

  function fill(line, row, workers) {
    const { cells, bar, share } = line.parts;
    const part = row.busy === null ? null : row.busy / workers;
    bar.style.setProperty("--share", String(Math.min(1, part ?? 0)));
    say(share, format.percent(part));
    const usage = row.usage;
    const values = [
      usage && String(usage.weight),
      String(row.pipelines),
      usage && format.duration(usage.worker_s * 1_000),
      usage && format.bytes(usage.memory_peak),
      usage && format.count(usage.memory_denied),
      usage && format.duration(usage.held_s * 1_000),
      usage && format.count(usage.actors_waited),
      usage && format.count(usage.log_lines_left_out),
    ];
    values.forEach((value, index) => say(cells[index + 2], value ?? "–"));
    mark(cells[6], "data-bad", usage?.memory_denied > 0);
    mark(cells[7], "data-bad", usage?.held_s > 0);
  }

  return { node, update, title: "Tenants" };
}
