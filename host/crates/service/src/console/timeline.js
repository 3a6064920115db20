// The last hour of a pipeline: a chart of its rates, its states below, and a slider that goes to a moment.

import { get, pipelinePath } from "./api.js";
import { el, mark, put, say, svg } from "./dom.js";
import * as format from "./format.js";

const HOUR_MS = 3_600_000;
/** The least that the chart shows: the history of a service that has just started would look like much. */
const SPAN_MS_MIN = 300_000;
const LOOK_MS = 5_000;
const [WIDTH, HEIGHT] = [1_000, 90];

/** Calls `moved` with what the pipeline was doing at the moment of the slider, or with null where it is at the present. */
export class Timeline {
  #history = null;
  #at = null;
  #asked = 0;
  #isAsking = false;

  constructor(tenant, name, moved) {
    Object.assign(this, { tenant, name, moved });
    this.chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": "Events in and out over the last hour" });
    this.slider = el("input", { type: "range", min: "0", max: String(HOUR_MS), step: String(LOOK_MS), value: String(HOUR_MS), "aria-label": "Time over the last hour", oninput: () => this.#move() });
    this.says = el("output", {}, "now");
    this.most = el("span");
    this.begin = el("span", {}, "1 h ago");
    this.back = el("button", { type: "button", hidden: true, onclick: () => this.toNow() }, "Back to now");
    this.node = el(
      "div",
      { class: "timeline" },
      el("div", { class: "legend" }, this.most, el("i", {}, "in"), el("i", { class: "out" }, "out")),
      this.chart,
      this.slider,
      el("div", { class: "scale" }, this.begin, this.says, this.back, el("span", {}, "now")),
    );
  }

  toNow() {
    this.slider.value = this.slider.max;
    this.#move();
  }

  /** How much of the past is shown: what there is, in whole minutes. */
  #span() {
    const { samples, until_ms: end } = this.#history;
    const known = Math.ceil((end - (samples[0]?.at_ms ?? end)) / 60_000) * 60_000;
    return Math.max(SPAN_MS_MIN, Math.min(HOUR_MS, known));
  }

  /** The slider keeps its moment as the span grows. */
  #stretch(span) {
    if (this.slider.max === String(span)) return;
    const back = Number(this.slider.max) - Number(this.slider.value);
    this.slider.max = String(span);
    this.slider.value = String(span - back);
    say(this.begin, `${format.ago(span)} ago`);
  }

  /** Asks for what is new, at most every few seconds. */
  async update() {
    const now = Date.now();
    if (now - this.#asked < LOOK_MS || this.#isAsking) return;
    this.#isAsking = true;
    try {
      const last = this.#history?.samples.at(-1)?.at_ms;
      const answer = await get(pipelinePath(this.tenant, this.name, last === undefined ? "/history" : `/history?from_ms=${last}`));
      const before = last === undefined ? [] : this.#history.samples.filter((sample) => sample.at_ms < answer.samples[0]?.at_ms && sample.at_ms > answer.until_ms - HOUR_MS - LOOK_MS);
      this.#history = { ...answer, samples: [...before, ...answer.samples] };
      this.#asked = now;
      this.#stretch(this.#span());
      this.#draw();
      if (this.#at !== null) this.#move();
    } finally {
      this.#isAsking = false;
    }
  }

  #draw() {
    const { samples, until_ms: end } = this.#history;
    const span = this.#span();
    const x = (at) => (Math.max(0, at - end + span) / span) * WIDTH;
    const steps = rates(samples, end);
    const most = Math.max(1, ...steps.map((step) => Math.max(step.in, step.out)));
    const y = (rate) => HEIGHT - 12 - (rate / most) * (HEIGHT - 18);
    const curve = (field) => steps.map((step, index) => `${index ? "L" : "M"}${x(step.from).toFixed(1)} ${y(step[field]).toFixed(1)}H${x(step.to).toFixed(1)}`).join("");
    const area = steps.length ? `${curve("in")}V${HEIGHT - 12}H${x(steps[0].from).toFixed(1)}Z` : "";
    const states = samples.map((sample, index) => {
      const to = samples[index + 1]?.at_ms ?? end;
      return svg("rect", { x: x(sample.at_ms).toFixed(1), width: Math.max(0, x(to) - x(sample.at_ms)).toFixed(1), y: HEIGHT - 6, height: 6, class: "was", "data-state": sample.state });
    });
    const versions = samples.filter((sample, index) => index > 0 && sample.version !== samples[index - 1].version);
    const upgrades = versions.map((sample) => svg("path", { d: `M${x(sample.at_ms).toFixed(1)} 0V${HEIGHT - 8}`, class: "upgrade" }, svg("title", {}, `version ${sample.version}`)));
    put(this.chart, svg("path", { d: area, class: "area" }), svg("path", { d: curve("in"), class: "line" }), svg("path", { d: curve("out"), class: "line out" }), upgrades, states, this.#needle(x));
    say(this.most, `up to ${format.rate(most)}/s`);
  }

  #needle(x) {
    return this.#at !== null && svg("path", { d: `M${x(this.#at).toFixed(1)} 0V${HEIGHT}`, class: "needle" });
  }

  #move() {
    if (!this.#history) return;
    const { samples, until_ms: end } = this.#history;
    const back = Number(this.slider.max) - Number(this.slider.value);
    this.#at = back < LOOK_MS ? null : end - back;
    this.back.hidden = this.#at === null;
    this.#draw();
    if (this.#at === null) {
      say(this.says, "now");
      return this.moved(null);
    }
    say(this.says, `${format.clock(this.#at)}, ${format.ago(back)} ago`);
    const sample = samples.findLast((sample) => sample.at_ms <= this.#at);
    const step = rates(samples, end).find((step) => step.from <= this.#at && this.#at < step.to);
    this.moved({ at: this.#at, sample: sample ?? null, in: step?.in ?? 0, out: step?.out ?? 0, workers: step?.workers ?? 0 });
  }
}

/** Rates between samples. Counts begin anew with each run: what a run had counted at its first sample came since the sample before. */
function rates(samples, end) {
  const steps = [];
  for (let index = 1; index < samples.length; index += 1) {
    const [before, after] = [samples[index - 1], samples[index]];
    const seconds = (after.at_ms - before.at_ms) / 1_000;
    if (seconds <= 0) continue;
    const grown = (field) => (after[field] >= before[field] ? after[field] - before[field] : after[field]) / seconds;
    steps.push({ from: before.at_ms, to: after.at_ms, in: grown("events_in"), out: grown("events_out"), workers: grown("worker_ns") / 1e9 });
  }
  const last = samples.at(-1);
  if (last && end > last.at_ms) steps.push({ from: last.at_ms, to: end, in: 0, out: 0, workers: 0 });
  return steps;
}
