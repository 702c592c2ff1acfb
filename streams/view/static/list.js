// The list of instruments: one line each, changed in place.

import { byId, element, write } from "./dom.js";
import { parts, percent, ratio, seconds, volatility } from "./numbers.js";

const MOST = 500;
const STALE_SECONDS = 15;

export class List {
  constructor(onChoose) {
    this.lines = new Map();
    this.chosen = "";
    this.horizon = "";
    this.scale = 0;
    this.list = byId("list");
    this.search = byId("search");
    this.onChoose = onChoose;
    this.search.addEventListener("input", () => this.filter());
    this.list.addEventListener("click", (event) => {
      const line = event.target.closest("[role=option]");
      if (line) onChoose(line.dataset.name);
    });
    setInterval(() => this.tellAges(), 1000);
  }

  /** Takes rows as the server tells them; `whole`: there are no others. */
  take(rows, whole, horizon) {
    if (whole) {
      const names = new Set(rows.map((row) => row.name));
      for (const name of this.lines.keys()) if (!names.has(name)) this.drop(name);
    }
    this.horizon = horizon;
    let added = false;
    for (const row of rows) {
      added = !this.lines.has(row.name) || added;
      const line = this.lines.get(row.name) ?? this.add(row.name);
      line.row = row;
    }
    this.rescale();
    for (const row of rows) this.show(this.lines.get(row.name));
    if (added) this.sort();
    while (this.lines.size > MOST) this.drop(this.lines.keys().next().value);
  }

  add(name) {
    const [instrument, venue] = parts(name);
    const line = {
      name,
      volatility: element("span", { className: "number strong" }),
      band: element("span", { className: "range" }),
      middle: element("span", { className: "tick" }),
      held: element("span", { className: "number" }),
      flag: element("span", { className: "flag" }),
    };
    line.element = element(
      "div",
      { className: "row", role: "option", id: `line-${this.lines.size}-${Date.now()}`, tabIndex: -1 },
      element("span", { className: "label", title: name }, instrument, element("small", {}, venue)),
      line.volatility,
      element("span", { className: "track" }, line.band, line.middle),
      line.held,
      line.flag,
    );
    line.element.dataset.name = name;
    this.lines.set(name, line);
    return line;
  }

  drop(name) {
    this.lines.get(name).element.remove();
    this.lines.delete(name);
  }

  sort() {
    const ordered = [...this.lines.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
    this.list.append(...ordered.map((line) => line.element));
    this.filter();
  }

  /** One scale for all bands, so that lines compare; it moves by steps, or all would tremble. */
  rescale() {
    const tops = [...this.lines.values()].map((line) => this.top(line.row)).filter((top) => top > 0);
    tops.sort((one, other) => one - other);
    const top = tops[Math.floor(0.95 * (tops.length - 1))] ?? 1;
    const scale = 2 ** (Math.ceil(Math.log2(top) * 2) / 2);
    if (scale === this.scale) return;
    this.scale = scale;
    for (const line of this.lines.values()) this.show(line);
  }

  top(row) {
    return row.forecast ? volatility(row.forecast.quantiles["0.95"], this.horizon) : 0;
  }

  show(line) {
    const { row } = line;
    const at = (level) => (row.forecast ? volatility(row.forecast.quantiles[level], this.horizon) : null);
    const [low, middle, high] = ["0.05", "0.5", "0.95"].map(at);
    const place = (value) => `${Math.min(1, (value ?? 0) / this.scale) * 100}%`;
    write(line.volatility, percent(middle));
    line.band.style.left = place(low);
    line.band.style.right = `calc(100% - ${place(high)})`;
    line.middle.style.left = place(middle);
    line.band.hidden = line.middle.hidden = middle === null;
    write(line.held, row.coverage?.count ? ratio(row.coverage.ratio, 0) : "");
    line.element.classList.toggle("apart", row.status !== undefined && row.status !== "model");
    this.tellFlag(line);
    const band = middle === null ? "no forecast" : `${percent(middle)}, 90 % band ${percent(low)} to ${percent(high)}`;
    line.element.setAttribute("aria-label", `${line.name}: ${band}, ${row.status ?? ""} ${(row.quality ?? []).join(" ")}`);
  }

  tellFlag(line) {
    const { row } = line;
    const age = row.record_ms ? (Date.now() - row.record_ms) / 1000 : 0;
    const old = age > STALE_SECONDS;
    const troubled = row.status === "fallback" ? "F" : row.status === "unavailable" ? "U" : row.quality?.length ? "!" : "";
    write(line.flag, old ? seconds(age) : troubled);
    line.flag.title = old ? "the newest forecast is so old" : [row.status, row.reason, ...(row.quality ?? [])].filter(Boolean).join(", ");
    line.flag.classList.toggle("bad", row.status === "fallback" || row.status === "unavailable");
  }

  tellAges() {
    for (const line of this.lines.values()) this.tellFlag(line);
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const line of this.lines.values()) {
      line.element.hidden = !words.every((word) => line.name.toLowerCase().includes(word));
    }
    const shown = this.shown.length;
    write(byId("count"), shown === this.lines.size ? `${shown}` : `${shown} of ${this.lines.size}`);
  }

  get shown() {
    return [...this.list.children].filter((line) => !line.hidden).map((line) => line.dataset.name);
  }

  /** Marks the chosen line and brings it into sight. */
  mark(name) {
    this.lines.get(this.chosen)?.element.setAttribute("aria-selected", "false");
    this.chosen = name;
    const line = this.lines.get(name);
    if (!line) return;
    line.element.setAttribute("aria-selected", "true");
    this.list.setAttribute("aria-activedescendant", line.element.id);
    line.element.scrollIntoView({ block: "nearest" });
  }

  /** Chooses the line so many below the chosen one. */
  step(by) {
    const { shown } = this;
    if (!shown.length) return;
    const place = shown.indexOf(this.chosen);
    const next = place < 0 ? 0 : Math.max(0, Math.min(shown.length - 1, place + by));
    this.onChoose(shown[next]);
  }
}
