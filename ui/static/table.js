// The table of flows, the newest on top, bounded. It stands still while somebody reads in
// it, and tells how many flows wait.
import { isDropped, isVerdict, port, sides, time } from "./names.js";

export const most = 500; // rows
const still = 1500; // milliseconds for which a pointer that moved holds the rows

function element(kind, className, ...children) {
  const e = document.createElement(kind);
  e.className = className;
  e.append(...children);
  return e;
}

export class FlowTable {
  #body;
  #list;
  #on;
  #reason;
  #waiting = [];
  #flows = new WeakMap(); // of rows
  #moved = -Infinity;
  #current = null; // the row that is explained

  // on has explain(flow), for a row that is chosen, and isOpen(): one is explained.
  // reason(flow) is the text of the last column. list is what scrolls.
  constructor(list, body, reason, on) {
    this.#list = list;
    this.#body = body;
    this.#reason = reason;
    this.#on = on;
    body.addEventListener("click", (e) => this.#choose(e.target.closest("tr")));
    body.addEventListener("keydown", (e) => this.#key(e));
    body.addEventListener("pointermove", () => (this.#moved = performance.now()));
    body.addEventListener("pointerleave", () => (this.#moved = -Infinity));
  }

  // add takes a flow, or the text of a gap. What has no room to wait is not shown.
  add(what) {
    if (this.#waiting.push(what) > 2 * most) {
      this.#waiting.splice(0, most);
    }
  }

  // waiting is how many flows are not drawn.
  get waiting() {
    return Math.min(this.#waiting.length, most);
  }

  get empty() {
    return this.#body.childElementCount === 0;
  }

  // held reports whether somebody reads: scrolled down, in a row, or about to click one.
  get held() {
    return !this.empty && (this.#list.scrollTop > 4 || this.#body.contains(document.activeElement) || performance.now() - this.#moved < still);
  }

  // release goes back to the newest.
  release() {
    this.#list.scrollTop = 0;
    this.#moved = -Infinity;
    if (this.#body.contains(document.activeElement)) {
      document.activeElement.blur();
    }
  }

  // draw shows what waits.
  draw() {
    if (this.#waiting.length === 0) {
      return;
    }
    const rows = this.#waiting.slice(-most).reverse().map((what) => this.#row(what));
    this.#waiting = [];
    this.#body.prepend(...rows);
    while (this.#body.childElementCount > most) {
      this.#body.lastElementChild.remove();
    }
    if (!this.#body.contains(document.activeElement)) { // the tabulator goes to the newest
      this.#body.querySelector("tr[tabindex='0']")?.setAttribute("tabindex", -1);
      this.#body.querySelector("tr:not(.gap)")?.setAttribute("tabindex", 0);
    }
  }

  clear() {
    this.#waiting = [];
    this.#current = null;
    this.#body.replaceChildren();
    this.#list.scrollTop = 0;
  }

  // mark shows which row is explained; none: null.
  mark(row) {
    this.#current?.removeAttribute("aria-selected");
    this.#current = row;
    row?.setAttribute("aria-selected", "true");
  }

  // judged is what a policy said of the connection that a flow belongs to, if it is still
  // in the table.
  judged(flow) {
    const ports = JSON.stringify(port(flow));
    const same = (f) => f && isVerdict(f) && f.verdict === flow.verdict && f.node_name === flow.node_name &&
      f.IP?.source === flow.IP?.source && f.IP?.destination === flow.IP?.destination && JSON.stringify(port(f)) === ports;
    return [...this.#body.children].map((row) => this.#flows.get(row)).find(same);
  }

  #row(what) {
    const row = element("tr", "");
    row.setAttribute("role", "row");
    const cells = typeof what === "string" ? this.#gap(row, what) : this.#cells(row, what);
    cells.forEach((c) => c.setAttribute("role", "cell"));
    row.append(...cells);
    return row;
  }

  #gap(row, text) {
    row.className = "gap";
    const cell = element("td", "", text);
    cell.colSpan = 6;
    return [cell];
  }

  #cells(row, flow) {
    this.#flows.set(row, flow);
    const dropped = isDropped(flow);
    row.className = `${dropped ? "dropped" : ""} ${isVerdict(flow) ? "judged" : ""}`.trim();
    row.tabIndex = -1;
    const p = port(flow), why = this.#reason(flow);
    const number = p.destination ? `${p.destination}/${p.protocol}` : p.protocol;
    const cells = [
      element("td", "time", time(flow.time)), ...sides(flow).map((side, i) => this.#end(side, ["source", "destination"][i])), element("td", "port", number),
      element("td", "verdict", element("span", `badge ${dropped ? "bad" : "good"}`, dropped ? "Dropped" : "Forwarded")), element("td", "reason", why),
    ];
    cells[3].title = number;
    cells[5].title = why;
    return cells;
  }

  #end({ space, name, address }, className) {
    const cell = element("td", className, element("span", "space", space), element("span", "name", name));
    if (address) {
      cell.append(" ", element("span", "space", address));
    }
    cell.title = cell.textContent;
    return cell;
  }

  #choose(row) {
    if (row && this.#flows.has(row)) {
      this.#reach(row);
      this.#on.explain(this.#flows.get(row));
      this.mark(row);
    }
  }

  // reach makes a row the one that the keyboard is in.
  #reach(row) {
    this.#body.querySelector("tr[tabindex='0']")?.setAttribute("tabindex", -1);
    row.tabIndex = 0;
    row.focus();
  }

  #key(e) {
    const row = e.target.closest("tr");
    const to = { ArrowDown: () => this.#next(row, "nextElementSibling"), ArrowUp: () => this.#next(row, "previousElementSibling"), Home: () => this.#next(null, "nextElementSibling"), End: () => this.#next(null, "previousElementSibling") }[e.key];
    if (to) {
      e.preventDefault();
      const reached = to();
      if (reached && this.#on.isOpen()) {
        this.#choose(reached);
      } else if (reached) {
        this.#reach(reached);
      }
    } else if (e.key === "Enter" || e.key === " ") {
      e.preventDefault();
      this.#choose(row);
    }
  }

  // next is the flow beside a row or, without one, at the end where one begins to look.
  #next(row, step) {
    let to = row ? row[step] : this.#body[step === "nextElementSibling" ? "firstElementChild" : "lastElementChild"];
    while (to && !this.#flows.has(to)) {
      to = to[step];
    }
    return to;
  }
}
