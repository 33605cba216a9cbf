// Where everything on the map stands. It depends only on who is there, who speaks to whom,
// and the width, so that the same always looks the same.
import { rank } from "./layers.js";

// In pixels: of a workload, and around those of a card.
export const box = { least: 96, most: 180, height: 28 };
export const card = { pad: 11, head: 27 };
const loose = [{ boxes: 26, cards: 40 }, { boxes: 18, cards: 28 }, { boxes: 12, cards: 16 }]; // above each other, as there is room
const between = { cards: 48, goodCards: 72, mostCards: 120, columns: 50, edge: 16 };
const tallest = 10; // workloads in a column
const sweeps = 6;

// layout gives {at, cards, columns, width, height}: each place's {x, y, width,
// column}, each namespace's {name, x, y, width, height}, and of each column of places from
// where to where it goes, {x, width}.
export function layout(places, edges, width, height) {
  const groups = grouped(places, edges);
  let plan;
  for (const columns of [3, 2, 1]) {
    plan = beside(groups, edges, columns);
    if (plan.least <= width) {
      break;
    }
  }
  return placed(plan, edges, width, height);
}

// grouped are the namespaces, each with its places, and the layer that it stands in.
function grouped(places, edges) {
  const groups = new Map(), of = new Map();
  for (const p of [...places].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    of.set(p.id, p.group);
    groups.set(p.group, [...(groups.get(p.group) ?? []), p.id]);
  }
  const links = edges.map((e) => [of.get(e.from), of.get(e.to)]);
  const layers = rank([...groups.keys()], links);
  return [...groups].map(([name, ids]) => ({ name, ids, layer: layers.get(name), links: edges.filter((e) => of.get(e.from) === name && of.get(e.to) === name).map((e) => [e.from, e.to]) }))
    .sort((a, b) => a.layer - b.layer || (a.name < b.name ? -1 : 1));
}

// beside stands cards in layers from left to right, and workloads in columns of their card.
function beside(groups, edges, columns) {
  const layers = [];
  for (const g of groups) {
    const ranks = rank(g.ids, g.links);
    const lanes = [];
    for (const id of g.ids) {
      const lane = Math.min(ranks.get(id), columns - 1);
      (lanes[lane] ??= []).push(id);
    }
    const cut = lanes.filter(Boolean).flatMap((ids) => Array.from({ length: Math.ceil(ids.length / tallest) }, (_, i) => ids.slice(i * tallest, (i + 1) * tallest)));
    (layers[g.layer] ??= []).push({ name: g.name, columns: cut });
  }
  const filled = layers.filter(Boolean);
  const wide = filled.map((cards) => Math.max(...cards.map((c) => c.columns.length)));
  const boxes = wide.reduce((sum, n) => sum + n, 0);
  const fixed = 2 * between.edge + filled.length * 2 * card.pad + (boxes - filled.length) * between.columns;
  return { layers: filled, wide, boxes, fixed, least: fixed + boxes * box.least + (filled.length - 1) * between.cards };
}

// placed gives a plan its coordinates. Room that is left makes boxes and gaps wider.
function placed(plan, edges, width, height) {
  const gaps = plan.layers.length - 1;
  const clamp = (least, n, most) => Math.max(least, Math.min(most, Math.floor(n)));
  const boxWidth = clamp(box.least, (width - plan.fixed - gaps * between.goodCards) / plan.boxes, box.most);
  const gap = gaps ? clamp(between.cards, (width - plan.fixed - plan.boxes * boxWidth) / gaps, between.mostCards) : 0;
  const total = plan.fixed - 2 * between.edge + plan.boxes * boxWidth + gaps * gap;
  const start = Math.max(between.edge, (width - total) / 2);
  const tight = loose.at(-1);
  for (let i = 0; i < sweeps; i++) {
    order(plan, edges, coordinates(plan, boxWidth, gap, start, tight));
  }
  const tried = loose.map((gaps) => coordinates(plan, boxWidth, gap, start, gaps)).map((at) => ({ ...at, tall: Math.max(...at.cards.map((c) => c.y + c.height)) + between.edge }));
  const { tall, ...at } = tried.find((t) => t.tall <= height) ?? tried.at(-1);
  const down = Math.max(0, (height - tall) / 2);
  at.cards.forEach((c) => (c.y += down));
  at.at.forEach((p) => (p.y += down));
  return { ...at, width: Math.max(width, total + 2 * between.edge), height: Math.max(height, tall) };
}

function coordinates(plan, boxWidth, gap, start, gaps) {
  const cardHeight = (c) => card.head + card.pad + Math.max(...c.columns.map((ids) => ids.length)) * (box.height + gaps.boxes) - gaps.boxes;
  const at = new Map(), cards = [], columns = [];
  const heights = plan.layers.map((all) => all.reduce((sum, c) => sum + cardHeight(c) + gaps.cards, -gaps.cards));
  const tall = Math.max(...heights);
  let x = start;
  plan.layers.forEach((all, layer) => {
    const first = columns.length, step = boxWidth + between.columns;
    for (let i = 0; i < plan.wide[layer]; i++) {
      columns.push({ x: x + card.pad + i * step, width: boxWidth });
    }
    let y = between.edge + (tall - heights[layer]) / 2;
    for (const c of all) {
      const high = cardHeight(c);
      cards.push({ name: c.name, x, y, width: 2 * card.pad + c.columns.length * step - between.columns, height: high });
      c.columns.forEach((ids, i) => {
        const inside = high - card.head - card.pad, needs = ids.length * (box.height + gaps.boxes) - gaps.boxes;
        ids.forEach((id, row) => at.set(id, { ...columns[first + i], y: y + card.head + (inside - needs) / 2 + row * (box.height + gaps.boxes), column: first + i }));
      });
      y += high + gaps.cards;
    }
    x += 2 * card.pad + plan.wide[layer] * step - between.columns + gap;
  });
  return { at, cards, columns };
}

// order puts cards, and workloads in their columns, near to whom they speak with.
function order(plan, edges, { at }) {
  const near = new Map([...at.keys()].map((id) => [id, []]));
  for (const e of edges.filter((e) => e.from !== e.to)) {
    near.get(e.from).push(at.get(e.to).y);
    near.get(e.to).push(at.get(e.from).y);
  }
  const mean = (list, other) => (list.length ? list.reduce((a, b) => a + b, 0) / list.length : other);
  const pull = new Map([...near].map(([id, list]) => [id, mean(list, at.get(id).y)]));
  const sort = (list, of) => list.map((v) => [of(v), v]).sort((a, b) => a[0] - b[0]).map(([, v]) => v);
  for (const cards of plan.layers) {
    for (const c of cards) {
      c.columns = c.columns.map((ids) => sort(ids, (id) => pull.get(id)));
    }
    cards.splice(0, cards.length, ...sort(cards, (c) => mean(c.columns.flat().map((id) => pull.get(id)), 0)));
  }
}
