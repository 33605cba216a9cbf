// The lines between boxes. A line is a list of Bézier curves, each of four points.
import { box, card } from "./layout.js";

const apart = 7; // pixels between two lines side by side
const straight = 20; // pixels between two boxes that a line needs to go straight
const clear = 5; // pixels between a line and a box that it passes

const sides = {
  left: (b, d) => ({ x: b.x, y: b.y + box.height / 2 + d, dx: -1, dy: 0 }),
  right: (b, d) => ({ x: b.x + b.width, y: b.y + box.height / 2 + d, dx: 1, dy: 0 }),
  top: (b, d) => ({ x: b.x + b.width / 2 + d, y: b.y, dx: 0, dy: -1 }),
  bottom: (b, d) => ({ x: b.x + b.width / 2 + d, y: b.y + box.height, dx: 0, dy: 1 }),
};

// leaves says at which sides of two boxes the line between them begins and ends.
function leaves(from, to) {
  if (from === to) {
    return ["right", "top"];
  }
  if (to.x - from.x - from.width >= straight) {
    return ["right", "left"];
  }
  if (from.x - to.x - to.width >= straight) {
    return ["left", "right"];
  }
  const down = to.y - from.y - box.height, up = from.y - to.y - box.height;
  if (down >= 0 && down < straight) {
    return ["bottom", "top"];
  }
  if (up >= 0 && up < straight) {
    return ["top", "bottom"];
  }
  return ["right", "right"]; // around those between
}

// lines gives each edge, by its key, its line. Lines that meet at a side of a box stand
// apart there, in the order of where they come from; others go around boxes.
export function lines(edges, plan) {
  const ports = new Map();
  const drawn = edges.map((edge) => {
    const from = plan.at.get(edge.from), to = plan.at.get(edge.to);
    const [out, into] = leaves(from, to);
    const ending = { edge, from, to, out, into };
    for (const [id, side, other, end] of [[edge.from, out, to, "begins"], [edge.to, into, from, "ends"]]) {
      const key = `${side} ${id}`;
      ports.set(key, [...(ports.get(key) ?? []), { ending, end, along: side === "left" || side === "right" ? other.y : other.x + other.width / 2 }]);
    }
    return ending;
  });
  for (const list of ports.values()) {
    const step = Math.min(apart, (box.height - 8) / Math.max(1, list.length - 1));
    list.sort((a, b) => a.along - b.along).forEach((p, i) => (p.ending[p.end] = (i - (list.length - 1) / 2) * step));
  }
  const ways = new Ways(plan);
  return new Map(drawn.map((d) => [d.edge.key, line(sides[d.out](d.from, d.begins), sides[d.into](d.to, d.ends), d, ways)]));
}

function line(a, b, { from, to, out, into }, ways) {
  if (from === to) {
    return [[a, { x: a.x + 34, y: a.y - 4 }, { x: b.x, y: b.y - 34 }, b]];
  }
  if (out === into) {
    const pull = 26 + Math.abs(a.y - b.y) * 0.22;
    return [[a, { x: a.x + pull, y: a.y }, { x: b.x + pull, y: b.y }, b]];
  }
  const direct = [bend(a, b)];
  return ways.isFree(direct, from, to) ? direct : ways.around(a, b, from, to);
}

// bend is a curve from point to point; each has the direction in which it is left.
function bend(a, b) {
  const pull = Math.max(14, Math.min(Math.hypot(a.x - b.x, a.y - b.y) * 0.45, 130));
  return [a, { x: a.x + a.dx * pull, y: a.y + a.dy * pull }, { x: b.x + b.dx * pull, y: b.y + b.dy * pull }, b];
}

// Ways are what is left between boxes, in each column of a map.
class Ways {
  #plan;
  #solid; // boxes and headings
  #shut; // of each column, [from, to] of what stands there
  #used; // of each column, where lines pass already

  constructor(plan) {
    this.#plan = plan;
    this.#solid = [...plan.at.values()].map((p) => ({ of: p, x: p.x - clear, y: p.y - clear, right: p.x + p.width + clear, bottom: p.y + box.height + clear }));
    this.#solid.push(...plan.cards.map((c) => ({ x: c.x, y: c.y, right: c.x + Math.min(c.width, 24 + c.name.length * 7), bottom: c.y + card.head - 4 })));
    this.#used = plan.columns.map(() => []);
    this.#shut = plan.columns.map((c, i) => [
      ...[...plan.at.values()].filter((p) => p.column === i).map((p) => [p.y - clear, p.y + box.height + clear]),
      ...plan.cards.filter((k) => k.x <= c.x && k.x + k.width >= c.x).flatMap((k) => [[k.y - 3, k.y + card.head + 3], [k.y + k.height - 3, k.y + k.height + 3]]),
    ]);
  }

  // isFree reports whether a line touches no box but those at its ends, and no heading.
  isFree(line, from, to) {
    return !along(line, 24).some((p) => this.#solid.some((b) => b.of !== from && b.of !== to && p.x > b.x && p.x < b.right && p.y > b.y && p.y < b.bottom));
  }

  // around goes through each column between both ends where there is room.
  around(a, b, from, to) {
    const sign = Math.sign(to.column - from.column), out = [];
    let last = a;
    for (let i = from.column + sign; sign !== 0 && i !== to.column; i += sign) {
      const c = this.#plan.columns[i], near = sign > 0 ? c.x : c.x + c.width, far = sign > 0 ? c.x + c.width : c.x;
      const y = this.#room(i, last.y + (b.y - last.y) * Math.min(1, Math.abs(near - last.x) / Math.max(1, Math.abs(b.x - last.x))));
      out.push(bend(last, { x: near, y, dx: -sign, dy: 0 }));
      last = { x: far, y, dx: sign, dy: 0 };
      out.push([{ x: near, y }, { x: near, y }, last, last]);
    }
    return [...out, bend(last, b)];
  }

  // room is the place in a column that is free and next to y.
  #room(column, y) {
    const shut = this.#shut[column], used = this.#used[column];
    const isFree = (at) => at >= 8 && !shut.some(([from, to]) => at > from && at < to) && !used.some((u) => Math.abs(u - at) < apart - 1);
    let at = y;
    for (let d = 0; d < 600; d += 2) {
      at = [y - d, y + d].find(isFree);
      if (at !== undefined) {
        break;
      }
    }
    used.push(at ?? y);
    return at ?? y;
  }
}

export function path(line) {
  const text = (p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`;
  return line.map(([a, b, c, d], i) => `${i ? "" : `M${text(a)}`}C${text(b)} ${text(c)} ${text(d)}`).join("");
}

// along are n points of a line between its ends.
export function along(line, n) {
  const lengths = line.map(([a, , , d]) => Math.hypot(a.x - d.x, a.y - d.y) + 1);
  const whole = lengths.reduce((sum, l) => sum + l, 0);
  return Array.from({ length: n }, (_, i) => {
    let left = ((i + 1) / (n + 1)) * whole, k = 0;
    while (k < line.length - 1 && left > lengths[k]) {
      left -= lengths[k++];
    }
    return point(line[k], Math.min(1, left / lengths[k]));
  });
}

function point([a, b, c, d], t) {
  const u = 1 - t, w = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return { x: w[0] * a.x + w[1] * b.x + w[2] * c.x + w[3] * d.x, y: w[0] * a.y + w[1] * b.y + w[2] * c.y + w[3] * d.y };
}
