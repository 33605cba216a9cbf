// Who stands left of whom: an order of things in which most arrows go from left to right.

// rank gives each id its layer, from 0: who is asked stands behind who asks. links are
// pairs of ids. Of a circle, the arrows that the order turns back are left out.
export function rank(ids, links) {
  const next = new Map(ids.map((id) => [id, new Set()]));
  for (const [from, to] of links) {
    if (from !== to) {
      next.get(from).add(to);
    }
  }
  const order = line(ids, next);
  const position = new Map(order.map((id, i) => [id, i]));
  const out = new Map(ids.map((id) => [id, 0]));
  for (const id of order) {
    for (const to of next.get(id)) {
      if (position.get(to) > position.get(id)) {
        out.set(to, Math.max(out.get(to), out.get(id) + 1));
      }
    }
  }
  return out;
}

// line puts ids in a row: again and again whom nobody asks to the front, who asks nobody to
// the end, and else who asks most more than it is asked to the front (Eades, Lin and Smyth).
function line(ids, next) {
  const left = new Set([...ids].sort());
  const asks = new Map(ids.map((id) => [id, next.get(id).size])), asked = new Map(ids.map((id) => [id, 0]));
  const before = new Map(ids.map((id) => [id, []]));
  for (const [from, all] of next) {
    for (const to of all) {
      asked.set(to, asked.get(to) + 1);
      before.get(to).push(from);
    }
  }
  const front = [], back = [];
  const take = (id) => {
    left.delete(id);
    next.get(id).forEach((to) => asked.set(to, asked.get(to) - 1));
    before.get(id).forEach((from) => asks.set(from, asks.get(from) - 1));
  };
  while (left.size > 0) {
    const all = [...left];
    const sink = all.find((id) => asks.get(id) === 0);
    const source = all.find((id) => asked.get(id) === 0);
    const id = sink ?? source ?? all.reduce((best, id) => (asks.get(id) - asked.get(id) > asks.get(best) - asked.get(best) ? id : best));
    take(id);
    if (sink) {
      back.unshift(id);
    } else {
      front.push(id);
    }
  }
  return [...front, ...back];
}
