// Events as they pass, at a place of the pipeline that the user chooses.

import { lines, pipelinePath } from "./api.js";
import { apiLine, el, put, say } from "./dom.js";
import * as format from "./format.js";

/** Events that are shown; older ones go. */
const EVENTS_MAX = 200;
/** How often what came is shown, in ms: events may come faster than a page can change. */
const SHOW_MS = 200;

export class Tap {
  #ending = null;
  #waiting = [];
  #timer = null;
  #seen = 0;

  /** `chosen` is called with the place that is looked at, or null. */
  constructor(tenant, name, chosen) {
    Object.assign(this, { tenant, name, chosen, places: [] });
    this.select = el("select", { "aria-label": "Where to look", onchange: () => this.start(this.select.value) }, el("option", { value: "" }, "Choose a place…"));
    this.button = el("button", { type: "button", onclick: () => (this.#ending ? this.stop() : this.start(this.select.value)) }, "Look");
    this.says = el("span", { class: "hint" }, "Choose an edge or a part here or in the graph. The pipeline does not wait for it.");
    this.list = el("ol", { class: "events" });
    this.api = el("div");
    this.node = el("div", {}, el("div", { class: "bar-of-tools" }, this.select, this.button, this.says), this.list, this.api);
    this.#path();
  }

  #path(at = "PLACE") {
    put(this.api, apiLine(`GET ${pipelinePath(this.tenant, this.name, `/tap?at=${encodeURIComponent(at)}`)}`));
  }

  /** The places where one can look. */
  offer(places) {
    if (places.join() === this.places.join()) return;
    this.places = places;
    const value = this.select.value;
    put(this.select, el("option", { value: "" }, "Choose a place…"), places.map((place) => el("option", { value: place }, place.replace("..", " → "))));
    this.select.value = places.includes(value) ? value : "";
  }

  async start(at) {
    this.stop();
    if (!at) return;
    if (!this.places.includes(at)) this.offer([...this.places, at]);
    this.select.value = at;
    this.chosen(at);
    this.#path(at);
    put(this.list);
    this.#seen = 0;
    const ending = new AbortController();
    this.#ending = ending;
    say(this.button, "Stop looking");
    say(this.says, "Waiting for events…");
    try {
      await lines(pipelinePath(this.tenant, this.name, `/tap?at=${encodeURIComponent(at)}`), (events) => this.#take(events), ending.signal);
      if (this.#ending === ending) this.stop("The pipeline has stopped.");
    } catch (failure) {
      if (this.#ending !== ending) return;
      this.stop([failure.message, failure.help].filter((text) => text).join(" "));
    }
  }

  stop(says) {
    this.#ending?.abort();
    this.#ending = null;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#waiting = [];
    say(this.button, "Look");
    this.chosen(null);
    if (says) say(this.says, says);
    else if (this.#seen) say(this.says, `${format.exact(this.#seen)} events seen.`);
  }

  #take(events) {
    this.#seen += events.length;
    this.#waiting = [...this.#waiting, ...events].slice(-EVENTS_MAX);
    this.#timer ??= setTimeout(() => this.#show(), SHOW_MS);
  }

  #show() {
    this.#timer = null;
    this.list.prepend(...this.#waiting.reverse().map(eventOf));
    this.#waiting = [];
    while (this.list.children.length > EVENTS_MAX) this.list.lastChild.remove();
    say(this.says, `${format.exact(this.#seen)} events seen: samples, up to 16 of a batch.`);
  }
}

function eventOf(event) {
  const value = el("code", { class: "value" }, event.value + (event.is_cut ? "…" : ""));
  const line = el("li", { tabindex: "0" }, el("time", {}, format.moment(event.time)), el("span", { class: "key" }, event.key ?? "–"), value);
  const open = () => {
    const isOpen = line.toggleAttribute("data-open");
    say(value, isOpen ? pretty(event.value) : event.value + (event.is_cut ? "…" : ""));
  };
  line.addEventListener("click", () => String(getSelection()) || open());
  line.addEventListener("keydown", (pressed) => pressed.key === "Enter" && (pressed.stopPropagation(), open()));
  return line;
}

function pretty(value) {
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
}
