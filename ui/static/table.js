// The table of flows, the newest on top, bounded.
import { isDropped, isVerdict, port, time, who } from "./names.js";

export const most = 500; // rows

export class FlowTable {
  #body;
  #on;
  #reason;
  #waiting = [];
  #flows = new WeakMap(); // of rows

  // on(flow) is called for a row that is chosen; reason(flow) is its text.
  constructor(body, reason, on) {
    this.#body = body;
    this.#reason = reason;
    this.#on = on;
    body.addEventListener("click", (e) => this.#choose(e.target.closest("tr")));
    body.addEventListener("keydown", (e) => this.#key(e));
  }

  // add takes a flow, or the text of a gap. What has no room to wait is not shown.
  add(what) {
    if (this.#waiting.push(what) > 2 * most) {
      this.#waiting.splice(0, most);
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
    if (!this.#body.querySelector("tr[tabindex='0']")) {
      this.#body.querySelector("tr:not(.gap)")?.setAttribute("tabindex", 0);
    }
  }

  clear() {
    this.#waiting = [];
    this.#body.replaceChildren();
  }

  // judged is what a policy said of the connection that a flow belongs to, if it is still
  // in the table.
  judged(flow) {
    const same = (f) => f && isVerdict(f) && f.verdict === flow.verdict && f.node_name === flow.node_name &&
      f.IP?.source === flow.IP?.source && f.IP?.destination === flow.IP?.destination && JSON.stringify(ports(f)) === JSON.stringify(ports(flow));
    const ports = (f) => port(f);
    return [...this.#body.children].map((row) => this.#flows.get(row)).find(same);
  }

  #row(what) {
    const row = document.createElement("tr");
    const cells = typeof what === "string" ? this.#gap(row, what) : this.#cells(row, what);
    row.append(...cells);
    return row;
  }

  #gap(row, text) {
    row.className = "gap";
    const cell = document.createElement("td");
    cell.colSpan = 6;
    cell.textContent = text;
    return [cell];
  }

  #cells(row, flow) {
    this.#flows.set(row, flow);
    row.className = isDropped(flow) ? "dropped" : "";
    row.tabIndex = -1;
    const p = port(flow);
    const texts = [
      time(flow.time), who(flow.source, flow.source_service, flow.IP?.source), who(flow.destination, flow.destination_service, flow.IP?.destination),
      p.destination ? `${p.destination}/${p.protocol}` : p.protocol, (flow.verdict ?? "").toLowerCase(), this.#reason(flow),
    ];
    return texts.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = cell.title = text;
      return cell;
    });
  }

  #choose(row) {
    if (row && this.#flows.has(row)) {
      this.#body.querySelector("tr[tabindex='0']")?.setAttribute("tabindex", -1);
      row.tabIndex = 0;
      row.focus();
      this.#on(this.#flows.get(row));
    }
  }

  #key(e) {
    const row = e.target.closest("tr");
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[e.key];
    if (step) {
      e.preventDefault();
      let to = row[step];
      while (to && !this.#flows.has(to)) {
        to = to[step];
      }
      if (to) {
        row.tabIndex = -1;
        to.tabIndex = 0;
        to.focus();
      }
    } else if (e.key === "Enter") {
      this.#choose(row);
    }
  }
}
