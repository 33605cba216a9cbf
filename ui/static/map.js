// The service map: a card for each namespace, workloads in it, and an arrow for each pair
// that speaks. What is drawn already stays, so that nobody clicks on what has just gone.
import { along, lines, path } from "./curves.js";
import { isRed, rate } from "./graph.js";
import { box, layout } from "./layout.js";
import { amount } from "./names.js";
import { words } from "./words.js";

const labelled = 80; // edges; of more only drops are written on
const arrows = ["good", "bad", "idle", "lit"];

function make(kind, attributes, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) {
    e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

function element(kind, className, ...children) {
  const e = document.createElement(kind);
  e.className = className;
  e.append(...children);
  return e;
}

function set(e, text) {
  if (e.textContent !== text) {
    e.textContent = text;
  }
}

// stand moves an element, and makes it so big.
function stand(e, { x, y, width, height }) {
  e.style.translate = `${x}px ${y}px`;
  e.style.width = `${width}px`;
  e.style.height = `${height}px`;
}

export class ServiceMap {
  #map;
  #on;
  #shape = "";
  #svg = make("svg", { "aria-hidden": "true" });
  #cards = element("div", "cards");
  #words = element("div", "words");
  #boxes = element("div", "boxes");
  #nodes = new Map(); // of places, by id
  #edges = new Map(); // {g, line, hit, word, edge}, by key

  // on has pick(place) and explain(flow).
  constructor(map, on) {
    this.#map = map;
    this.#on = on;
    this.#svg.append(make("defs", {}, ...arrows.map((name) =>
      make("marker", { id: `arrow-${name}`, class: name, viewBox: "0 0 8 8", refX: 7.5, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, make("path", { d: "M0 0.5L8 4L0 7.5z" })))));
    map.append(this.#cards, this.#svg, this.#words, this.#boxes);
  }

  // size is how many places are drawn.
  get size() {
    return this.#nodes.size;
  }

  // draw shows a graph; chosen is the text of the filter.
  draw(graph, now, chosen) {
    const edges = [...graph.edges.values()];
    const { clientWidth: width, clientHeight: height } = this.#map.parentElement;
    const title = this.#map.parentElement.firstElementChild.offsetHeight;
    const shape = JSON.stringify([width, height, [...graph.places.keys()].sort(), edges.map((e) => [e.key, isRed(e, now)]).sort()]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#arrange(graph, edges, now, width, height - title);
    }
    edges.forEach((edge) => this.#paint(edge, now, edges.length <= labelled));
    for (const [id, node] of this.#nodes) {
      node.setAttribute("aria-pressed", graph.places.get(id).find === chosen);
    }
  }

  #arrange(graph, edges, now, width, height) {
    const plan = graph.places.size ? layout(graph.places.values(), edges, width, height) : { at: new Map(), cards: [], columns: [], width: 0, height: 0 };
    const drawn = lines(edges, plan);
    plan.height = Math.max(plan.height, ...[...drawn.values()].flatMap((line) => along(line, 9).map((p) => p.y + 12)));
    const written = words(edges, drawn, plan, (e) => isRed(e, now));
    this.#map.style.width = `${plan.width}px`;
    this.#map.style.height = `${plan.height}px`;
    this.#svg.setAttribute("width", plan.width);
    this.#svg.setAttribute("height", plan.height);
    this.#cards.replaceChildren(...plan.cards.map((c) => {
      const name = element("h3", "", c.name);
      name.title = c.name;
      const card = element("div", "card", name);
      stand(card, c);
      return card;
    }));
    this.#keep(this.#nodes, graph.places, (place) => this.#node(place), (node) => node.remove());
    for (const [id, node] of this.#nodes) {
      stand(node, { ...plan.at.get(id), height: box.height });
    }
    this.#keep(this.#edges, graph.edges, (edge) => this.#edge(edge), (drawn) => { drawn.g.remove(); drawn.word.remove(); });
    for (const [key, e] of this.#edges) {
      const d = path(drawn.get(key)), at = written.get(key);
      e.line.setAttribute("d", d);
      e.hit.setAttribute("d", d);
      e.room = at !== undefined;
      e.word.style.translate = at ? `calc(${at.x}px - 50%) calc(${at.y}px - 50%)` : "";
    }
  }

  // keep makes what is new and lets go of what is no more.
  #keep(drawn, wanted, add, remove) {
    for (const [key, e] of drawn) {
      if (!wanted.has(key)) {
        remove(e);
        drawn.delete(key);
      }
    }
    for (const [key, what] of wanted) {
      if (!drawn.has(key)) {
        drawn.set(key, add(what));
      }
    }
  }

  #node(place) {
    const node = element("button", `node ${place.kind === "service" || place.kind === "outside" ? place.kind : "workload"}`, element("span", "", place.name));
    node.type = "button";
    node.title = `${place.id} (${place.kind === "outside" ? "not a pod" : place.kind}): show its flows`;
    node.addEventListener("click", () => this.#on.pick(place));
    for (const [event, is] of [["pointerenter", true], ["pointerleave", false], ["focus", true], ["blur", false]]) {
      node.addEventListener(event, () => this.#trace(place.id, is));
    }
    this.#boxes.append(node);
    return node;
  }

  // trace makes the lines of one stand out.
  #trace(id, is) {
    this.#map.classList.toggle("tracing", is);
    for (const { g, edge } of this.#edges.values()) {
      g.classList.toggle("lit", is && (edge.from === id || edge.to === id));
    }
  }

  #edge(edge) {
    const line = make("path", { class: "line" }), hit = make("path", { class: "hit" }), title = make("title", {});
    const g = make("g", { class: "edge" }, title, line, hit);
    const word = element("button", "word");
    word.type = "button";
    const drawn = { g, line, hit, title, word, edge, room: false };
    const explain = () => this.#on.explain(isRed(drawn.edge, Date.now()) ? drawn.edge.drop : drawn.edge.last);
    hit.addEventListener("click", explain);
    word.addEventListener("click", explain);
    this.#svg.append(g);
    this.#words.append(word);
    return drawn;
  }

  // paint says how much there is. What is the same is not touched.
  #paint(edge, now, isLabelled) {
    const drawn = this.#edges.get(edge.key);
    const perSecond = rate(edge, now), red = isRed(edge, now), kind = red ? "bad" : perSecond === 0 ? "idle" : "good";
    drawn.edge = edge; // counted anew, maybe, since it was drawn
    for (const name of ["good", "bad", "idle"]) {
      drawn.g.classList.toggle(name, name === kind);
    }
    drawn.line.setAttribute("stroke-width", (1.4 + Math.min(3, Math.log10(1 + perSecond) * 1.3)).toFixed(1));
    const text = red ? `✕ ${edge.drops.toLocaleString("en")}` : isLabelled ? amount(perSecond) : "";
    const says = `${edge.from} to ${edge.to}: ${amount(perSecond) || "nothing now"}${edge.drops ? `, ${edge.drops} dropped` : ""}`;
    set(drawn.word, text);
    set(drawn.title, says);
    drawn.word.className = `word ${kind}`;
    drawn.word.hidden = !text || !drawn.room;
    drawn.word.tabIndex = red ? 0 : -1;
    drawn.word.title = `${says}. Explain the last ${red ? "drop" : "flow"}`;
    drawn.word.setAttribute("aria-label", drawn.word.title);
  }
}
