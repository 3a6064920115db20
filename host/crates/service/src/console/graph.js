// The graph of a pipeline as a drawing: parts as boxes, edges with their rates.

import { keep, mark, put, say, svg } from "./dom.js";
import * as format from "./format.js";
import { layout } from "./layout.js";
import { originOf } from "./rank.js";

const BOX = { width: 176, height: 76, gap: 30, layerGap: 104 };
const TALL_BOX = { width: 158, height: 76, gap: 18, layerGap: 66, isTall: true };
/** Within a box, left and right of what stands in it. */
const PADDING = 14;
const MARGIN = 12;

/**
 * Draws the parts and edges of a pipeline in `node`. `tapped` is called with the name of the edge or part that was chosen.
 * Boxes and lines are made once for each shape of the graph; what is shown in them changes.
 */
export class Graph {
  #shape = null;
  #boxes = new Map();
  #edges = new Map();

  constructor(node, tapped) {
    Object.assign(this, { node, tapped });
  }

  /** `parts` have `id`, `kind`, `figures`, `isFull`, `share`; `edges` have `from`, `to`, `rate`, `queued`, `cause`. */
  show(parts, edges) {
    const isTall = this.node.clientWidth < 640;
    const shape = JSON.stringify([parts.map((part) => [part.id, part.kind]), edges.map((edge) => [edge.from, edge.to]).sort(), isTall]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#draw(parts, edges, isTall);
    }
    for (const part of parts) this.#fillBox(this.#boxes.get(part.id), part);
    for (const edge of edges) this.#fillEdge(this.#edges.get(nameOf(edge)), edge);
  }

  #draw(parts, edges, isTall) {
    const ids = new Set(parts.map((part) => part.id));
    const box = isTall ? TALL_BOX : BOX;
    const drawn = edges.map((edge) => ({ ...edge, from: originOf(edge.from, ids), name: nameOf(edge), output: edge.from }));
    const placed = layout([...ids], drawn, box);
    const [width, height] = [placed.width + 2 * MARGIN, placed.height + 2 * MARGIN];
    const root = svg("svg", { viewBox: `${-MARGIN} ${-MARGIN} ${width} ${height}`, width, height, role: "group", "aria-label": "Graph of the pipeline" });
    this.#boxes.clear();
    this.#edges.clear();
    drawn.forEach((edge, index) => root.append(this.#edge(edge, placed.edges[index], isTall)));
    for (const part of parts) root.append(this.#box(part, placed.nodes.get(part.id), box));
    put(this.node, root);
  }

  #edge(edge, points, isTall) {
    const line = curve(points, isTall);
    const at = points[Math.floor((points.length - 1) / 2)];
    const next = points[Math.floor((points.length - 1) / 2) + 1];
    const [x, y] = [(at.x + next.x) / 2, (at.y + next.y) / 2];
    const [rate, queued] = [svg("text", { x, y: y - 7, class: "rate" }), svg("text", { x, y: y + 15, class: "queued" })];
    const visible = svg("path", { d: line, class: "edge" });
    const group = svg(
      "g",
      { class: "link", role: "button", tabindex: "0", "aria-label": `Look at the events from ${edge.output} to ${edge.to}`, ...this.#chooses(edge.name) },
      svg("path", { d: line, class: "touch" }),
      visible,
      rate,
      queued,
    );
    group.parts = { rate, queued };
    this.#edges.set(edge.name, group);
    return group;
  }

  #box(part, { x, y }, { width, height }) {
    const gauge = { x: PADDING, y: height - 9, height: 3, rx: 1.5 };
    const share = svg("rect", { ...gauge, width: 0, class: "share" });
    const track = part.kind === "operator" && svg("rect", { ...gauge, width: width - 2 * PADDING, class: "track" });
    const lines = [svg("text", { x: PADDING, y: 42, class: "figure" }), svg("text", { x: PADDING, y: 58, class: "figure more" })];
    const group = svg(
      "g",
      { class: "part", "data-kind": part.kind, transform: `translate(${x} ${y})`, role: "button", tabindex: "0", "aria-label": `Look at the events of ${part.id}`, ...this.#chooses(part.id) },
      svg("rect", { width, height, rx: 8, class: "box" }),
      svg("rect", { width: 4, height: height - 16, x: 0, y: 8, rx: 2, class: "side" }),
      svg("text", { x: PADDING, y: 22, class: "name" }, shortened(part.id, Math.floor((width - 74) / 7.2))),
      svg("text", { x: width - 10, y: 21, class: "kind" }, part.kind),
      lines,
      track || [],
      share,
      svg("title", {}, part.id),
    );
    group.parts = { lines, share, width };
    this.#boxes.set(part.id, group);
    return group;
  }

  #chooses(name) {
    const choose = () => this.tapped(name);
    return { onclick: choose, onkeydown: (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), event.stopPropagation(), choose()) };
  }

  #fillBox(group, part) {
    part.figures.forEach((figure, index) => say(group.parts.lines[index], figure));
    mark(group.parts.share, "width", ((group.parts.width - 2 * PADDING) * Math.min(1, part.share ?? 0)).toFixed(1));
    mark(group, "data-full", part.isFull);
    mark(group, "data-bad", part.isBad);
  }

  #fillEdge(group, edge) {
    say(group.parts.rate, edge.rate === null || edge.rate === undefined ? "" : `${format.rate(edge.rate)}/s`);
    say(group.parts.queued, edge.queued ? `${format.count(edge.queued)} wait` : "");
    mark(group, "data-cause", edge.cause);
    mark(group, "data-flows", edge.rate > 0);
  }

  /** Shows which edge or part is looked at. */
  choose(name) {
    for (const [own, group] of [...this.#edges, ...this.#boxes]) mark(group, "data-chosen", own === name);
  }
}

/** The name of an edge, as the API has it. */
export const nameOf = (edge) => `${edge.from}..${edge.to}`;

function curve(points, isTall) {
  const [first, ...rest] = points;
  let path = `M${first.x} ${first.y}`;
  let from = first;
  for (const to of rest) {
    const half = isTall ? (to.y - from.y) / 2 : (to.x - from.x) / 2;
    const [a, b] = isTall ? [{ x: from.x, y: from.y + half }, { x: to.x, y: to.y - half }] : [{ x: from.x + half, y: from.y }, { x: to.x - half, y: to.y }];
    path += `C${a.x} ${a.y} ${b.x} ${b.y} ${to.x} ${to.y}`;
    from = to;
  }
  return path;
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** The edges in their order of rank, as a list. */
export function showRanking(list, edges, chosen) {
  keep(
    list,
    edges,
    nameOf,
    (edge) => {
      const parts = { name: document.createElement("b"), cause: document.createElement("span"), says: document.createElement("small"), rate: document.createElement("i") };
      const item = document.createElement("button");
      item.type = "button";
      item.append(parts.name, parts.cause, parts.rate, parts.says);
      item.addEventListener("click", () => chosen(nameOf(edge)));
      const line = document.createElement("li");
      line.append(item);
      line.parts = parts;
      return line;
    },
    (line, edge) => {
      say(line.parts.name, `${edge.from} → ${edge.to}`);
      say(line.parts.cause, { sink: "sink", budget: "budget", cpu: "CPU share", downstream: "downstream", source: "source", none: "" }[edge.cause]);
      mark(line.parts.cause, "data-cause", edge.cause);
      say(line.parts.rate, `${format.rate(edge.rate)}/s${edge.queued ? ` · ${format.count(edge.queued)} wait` : ""}`);
      say(line.parts.says, edge.says);
    },
  );
}
