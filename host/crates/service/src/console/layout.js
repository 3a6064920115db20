// Where the parts of a graph are drawn: in layers, from what is read to what is written, with few crossings.

/** How often the order within layers is improved; after a few times it hardly changes. */
const SWEEPS = 6;

/**
 * Places nodes and edges. `nodes` are ids, `edges` have `from` and `to`; there are no circles. Gives `nodes`, by id their places, `edges`, by index the
 * points that each goes through, and the size of the whole. Layers lie next to one another, or below one another where `isTall`.
 */
export function layout(nodes, edges, { width, height, gap, layerGap, isTall }) {
  const layerOf = layers(nodes, edges);
  const depth = Math.max(0, ...layerOf.values()) + 1;
  const rows = Array.from({ length: depth }, () => []);
  for (const id of nodes) rows[layerOf.get(id)].push(id);
  // An edge over several layers has a place in each, so that it goes round what is there.
  const links = [];
  const ways = edges.map((edge, index) => {
    const way = [edge.from];
    for (let layer = layerOf.get(edge.from) + 1; layer < layerOf.get(edge.to); layer += 1) {
      const id = `\0${index} ${layer}`;
      rows[layer].push(id);
      way.push(id);
    }
    way.push(edge.to);
    for (let at = 1; at < way.length; at += 1) links.push([way[at - 1], way[at]]);
    return way;
  });
  untangle(rows, links);

  const isBend = (id) => id.startsWith("\0");
  const [across, along] = isTall ? [width, height] : [height, width];
  const extent = (id) => (isBend(id) ? across / 3 : across);
  const extents = rows.map((row) => row.reduce((total, id) => total + extent(id) + gap, -gap));
  const widest = Math.max(...extents, 0);
  const places = new Map();
  rows.forEach((row, layer) => {
    let at = (widest - extents[layer]) / 2;
    for (const id of row) {
      const [x, y] = [layer * (along + layerGap), at];
      places.set(id, isTall ? { x: y, y: x } : { x, y });
      at += extent(id) + gap;
    }
  });
  const length = depth * (along + layerGap) - layerGap;
  const end = (id, isStart) => {
    const { x, y } = places.get(id);
    if (isBend(id)) return isTall ? { x: x + across / 6, y: y + along / 2 } : { x: x + along / 2, y: y + across / 6 };
    if (isTall) return { x: x + width / 2, y: y + (isStart ? height : 0) };
    return { x: x + (isStart ? width : 0), y: y + height / 2 };
  };
  return {
    nodes: new Map(nodes.map((id) => [id, places.get(id)])),
    edges: ways.map((way) => way.map((id, at) => end(id, at === 0))),
    width: isTall ? widest : length,
    height: isTall ? length : widest,
  };
}

/** The layer of each node: one more than that of the last before it. Those that write are not pulled to the end, so edges stay short. */
function layers(nodes, edges) {
  const layerOf = new Map(nodes.map((id) => [id, 0]));
  // Each pass moves what depends on what the pass before moved, so there are at most as many as there are nodes.
  for (let pass = 0; pass < nodes.length; pass += 1) {
    let hasMoved = false;
    for (const { from, to } of edges) {
      if (layerOf.get(to) <= layerOf.get(from)) {
        layerOf.set(to, layerOf.get(from) + 1);
        hasMoved = true;
      }
    }
    if (!hasMoved) break;
  }
  return layerOf;
}

/** Orders each layer by where its neighbours are, forth and back. */
function untangle(rows, links) {
  const neighbours = new Map();
  const note = (id, other) => neighbours.set(id, [...(neighbours.get(id) ?? []), other]);
  for (const [from, to] of links) {
    note(`> ${to}`, from);
    note(`< ${from}`, to);
  }
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const isForth = sweep % 2 === 0;
    const order = isForth ? rows.slice(1).map((row, at) => [row, rows[at]]) : rows.slice(0, -1).map((row, at) => [row, rows[at + 1]]).reverse();
    for (const [row, before] of order) {
      const middle = (id, own) => {
        const others = neighbours.get(`${isForth ? ">" : "<"} ${id}`);
        if (!others) return own / Math.max(1, row.length);
        return others.reduce((total, other) => total + (before.indexOf(other) + 0.5), 0) / others.length / before.length;
      };
      const weights = new Map(row.map((id, own) => [id, middle(id, own)]));
      row.sort((a, b) => weights.get(a) - weights.get(b));
    }
  }
}
