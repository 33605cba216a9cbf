// The service map: a band for each namespace, workloads in it, and an arrow for each pair
// that speaks.
import { isRed, rate } from "./graph.js";

const box = { width: 150, height: 28, gap: 22, band: 64, head: 26 };
const labelled = 80; // edges; of more only drops are written on

function make(kind, attributes, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) {
    e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

const short = (text) => (text.length > 20 ? `${text.slice(0, 19)}…` : text);

// layout gives each place its corner, and each namespace its band. It depends on who is
// there and on the width only, so that the map does not jump.
export function layout(places, width) {
  const groups = Map.groupBy([...places].sort((a, b) => a.id.localeCompare(b.id)), (p) => p.group);
  const across = Math.max(1, Math.floor((width - box.gap) / (box.width + box.gap)));
  const at = new Map();
  const bands = [];
  let y = 12;
  for (const [name, members] of [...groups].sort((a, b) => a[0].localeCompare(b[0]))) {
    const rows = Math.ceil(members.length / across);
    members.forEach((p, i) => at.set(p.id, { x: box.gap + (i % across) * (box.width + box.gap), y: y + box.head + Math.floor(i / across) * (box.height + box.gap * 1.6) }));
    const height = box.head + rows * (box.height + box.gap * 1.6) - box.gap * 0.6;
    bands.push({ name, y, height });
    y += height + box.band;
  }
  return { at, bands, height: y - box.band + 12, width: box.gap + across * (box.width + box.gap) };
}

// curve goes from box to box: down or up between bands, and in a bow beside each other.
function curve(from, to) {
  const x1 = from.x + box.width / 2, x2 = to.x + box.width / 2;
  if (from === to) {
    return { d: `M${x1 - 20} ${from.y}C${x1 - 50} ${from.y - 30} ${x1 + 50} ${from.y - 30} ${x1 + 20} ${from.y}`, x: x1, y: from.y - 14 };
  }
  if (from.y === to.y) {
    const bow = 18 + Math.abs(x1 - x2) / 30, side = x1 < x2 ? 0 : box.height, sign = x1 < x2 ? -1 : 1;
    return { d: `M${x1} ${from.y + side}Q${(x1 + x2) / 2} ${from.y + side + sign * 2 * bow} ${x2} ${to.y + side}`, x: (x1 + x2) / 2, y: from.y + side + sign * bow + 4 };
  }
  const down = from.y < to.y, y1 = down ? from.y + box.height : from.y, y2 = down ? to.y : to.y + box.height;
  const shift = down ? 8 : -8, middle = (y1 + y2) / 2; // there and back lie beside each other
  return { d: `M${x1 + shift} ${y1}C${x1 + shift} ${middle} ${x2 + shift} ${middle} ${x2 + shift} ${y2}`, x: (x1 + x2) / 2 + shift, y: middle + 4 };
}

export class ServiceMap {
  #svg;
  #on;
  #shape = "";
  #nodes = new Map();
  #edges = new Map();

  // on has pick(place) and explain(flow).
  constructor(svg, on) {
    this.#svg = svg;
    this.#on = on;
  }

  draw(graph, now) {
    const width = this.#svg.parentElement.clientWidth;
    const shape = JSON.stringify([width, [...graph.places.keys()].sort(), [...graph.edges.keys()].sort()]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#build(graph, layout(graph.places.values(), width));
    }
    for (const edge of graph.edges.values()) {
      this.#paint(edge, now);
    }
  }

  #build(graph, plan) {
    const focused = document.activeElement?.dataset?.id;
    this.#nodes.clear();
    this.#edges.clear();
    const arrow = make("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto" }, make("path", { d: "M0 0L8 4L0 8z" }));
    const bands = plan.bands.map((b) => this.#band(b, plan.width));
    const edges = [...graph.edges.values()].map((e) => this.#edge(e, plan.at));
    const nodes = [...graph.places.values()].sort((a, b) => a.id.localeCompare(b.id)).map((p) => this.#node(p, plan.at.get(p.id)));
    this.#svg.setAttribute("width", plan.width);
    this.#svg.setAttribute("height", Math.max(plan.height, 0));
    this.#svg.replaceChildren(make("defs", {}, arrow), ...bands, ...edges, ...nodes);
    this.#nodes.get(focused)?.focus();
  }

  #band(b, width) {
    const label = make("text", { x: 14, y: b.y + 16 });
    label.textContent = b.name;
    return make("g", { class: "band" }, make("rect", { x: 6, y: b.y, width: width - 12, height: b.height, rx: 6 }), label);
  }

  #node(place, at) {
    const label = make("text", { x: at.x + box.width / 2, y: at.y + 18, "text-anchor": "middle" });
    label.textContent = short(place.name);
    const title = make("title", {});
    title.textContent = `${place.id}: show its flows`;
    const g = make("g", { class: "node", tabindex: 0, role: "button", "aria-label": place.id }, title, make("rect", { ...at, width: box.width, height: box.height, rx: 5 }), label);
    g.dataset.id = place.id;
    g.addEventListener("click", () => this.#on.pick(place));
    g.addEventListener("keydown", (e) => {
      if (e.key === "Enter" || e.key === " ") {
        e.preventDefault();
        this.#on.pick(place);
      }
    });
    this.#nodes.set(place.id, g);
    return g;
  }

  #edge(edge, at) {
    const line = curve(at.get(edge.from), at.get(edge.to));
    const path = make("path", { d: line.d, "marker-end": "url(#arrow)" });
    const label = make("text", { x: line.x, y: line.y });
    const title = make("title", {});
    const g = make("g", { class: "edge" }, title, path, label);
    const drawn = { g, path, label, title, edge };
    g.addEventListener("click", () => drawn.edge.drop && this.#on.explain(drawn.edge.drop));
    this.#edges.set(edge.key, drawn);
    return g;
  }

  // paint says how much there is. Text is set only where it differs.
  #paint(edge, now) {
    const drawn = this.#edges.get(edge.key);
    drawn.edge = edge; // counted anew, maybe, since it was drawn
    const { g, path, label, title } = drawn;
    const perSecond = rate(edge, now), red = isRed(edge, now);
    const set = (e, text) => e.textContent !== text && (e.textContent = text);
    g.setAttribute("class", `edge${red ? " dropped" : perSecond === 0 ? " idle" : ""}`);
    path.setAttribute("stroke-width", (1.2 + Math.log10(1 + perSecond) * 1.6).toFixed(1));
    const text = perSecond ? `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)}/s` : "";
    set(label, this.#edges.size <= labelled || red ? text : "");
    set(title, `${edge.from} to ${edge.to}: ${text || "nothing now"}, ${edge.drops} dropped`);
  }
}
