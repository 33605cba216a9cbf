// Where on lines there is room for words.
import { along } from "./curves.js";
import { box } from "./layout.js";

const word = { width: 44, height: 18, bad: 50 }; // pixels

// words gives edges, by key, the middle of what is written on them. The urgent come first; who
// finds no room that is free of boxes, headings and other words is not there, unless it is
// urgent.
export function words(edges, lines, plan, isUrgent) {
  const taken = [...plan.at.values()].map((b) => ({ x: b.x, y: b.y, width: b.width, height: box.height }));
  taken.push(...plan.cards.map((c) => ({ x: c.x, y: c.y, width: Math.min(c.width, 24 + c.name.length * 8), height: 24 })));
  const out = new Map();
  for (const edge of [...edges].sort((a, b) => isUrgent(b) - isUrgent(a))) {
    const wide = isUrgent(edge) ? word.bad : word.width;
    const all = along(lines.get(edge.key), 23);
    const tries = fromTheMiddle(all).map((p) => ({ ...p, room: { x: p.x - wide / 2, y: p.y - word.height / 2, width: wide, height: word.height } }));
    const free = tries.find((p) => inside(p.room, plan) && !taken.some((b) => meet(p.room, b))) ?? (isUrgent(edge) ? tries[0] : null);
    if (free) {
      taken.push(free.room);
      out.set(edge.key, { x: free.x, y: free.y });
    }
  }
  return out;
}

function fromTheMiddle(list) {
  const middle = (list.length - 1) / 2;
  return list.map((p, i) => [Math.abs(i - middle), p]).sort((a, b) => a[0] - b[0]).map(([, p]) => p);
}

const inside = (b, plan) => b.x >= 0 && b.y >= 0 && b.x + b.width <= plan.width && b.y + b.height <= plan.height;

const meet = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
