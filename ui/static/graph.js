// Who speaks to whom, and how much: counts of the flows that came. It draws nothing.
import { ends, isAnswer, isDropped, isVerdict } from "./names.js";

const maxPlaces = 120;
const maxEdges = 400;
const slots = 10; // seconds that a rate is of
const redFor = 60_000; // milliseconds that a drop marks its edge
const forgotten = 300_000; // milliseconds after which an edge without flows goes

export class Graph {
  places = new Map(); // id -> {id, group, name, find}
  edges = new Map(); // key -> edge
  left = 0; // flows that had no room

  // add counts a flow that was seen at a time, now or earlier. Of a connection its packet
  // counts, not what policies said of it or what DNS answered in it, and an answer belongs to
  // the edge that it answers.
  add(flow, now, at) {
    if (isVerdict(flow) || isAnswer(flow)) {
      return;
    }
    const [from, to] = ends(flow);
    const key = JSON.stringify([from.id, to.id]);
    const edge = this.edges.get(key) ?? this.#open(key, from, to);
    if (!edge) {
      this.left++;
      return;
    }
    edge.seen = now;
    edge.last = flow;
    if (now - at < slots * 1000) {
      count(edge, Math.floor(Math.min(at, now) / 1000));
    }
    if (isDropped(flow)) {
      edge.dropped = Math.max(edge.dropped, at);
      edge.drop = flow;
      edge.drops++;
    }
  }

  #open(key, from, to) {
    const more = [from, to].filter((p) => !this.places.has(p.id)).length;
    if (this.edges.size >= maxEdges || this.places.size + more > maxPlaces) {
      return null;
    }
    this.places.set(from.id, from);
    this.places.set(to.id, to);
    const edge = { key, from: from.id, to: to.id, counts: Array(slots).fill(0), seconds: Array(slots).fill(0), seen: 0, last: null, dropped: -Infinity, drop: null, drops: 0 };
    this.edges.set(key, edge);
    return edge;
  }

  // expire forgets what nobody has used for long.
  expire(now) {
    const used = new Set();
    for (const edge of this.edges.values()) {
      if (now - edge.seen > forgotten) {
        this.edges.delete(edge.key);
      } else {
        used.add(edge.from).add(edge.to);
      }
    }
    for (const id of this.places.keys()) {
      if (!used.has(id)) {
        this.places.delete(id);
      }
    }
  }

  clear() {
    this.places.clear();
    this.edges.clear();
    this.left = 0;
  }
}

function count(edge, second) {
  const slot = second % slots;
  if (edge.seconds[slot] < second) {
    edge.seconds[slot] = second;
    edge.counts[slot] = 0;
  }
  edge.counts[slot] += edge.seconds[slot] === second ? 1 : 0;
}

// rate is the flows in a second, of the last ten, of which the last is not over.
export function rate(edge, now) {
  const second = Math.floor(now / 1000);
  return edge.counts.reduce((sum, n, i) => sum + (second - edge.seconds[i] < slots ? n : 0), 0) / (slots - 1 + (now % 1000) / 1000);
}

export function isRed(edge, now) {
  return now - edge.dropped < redFor;
}
