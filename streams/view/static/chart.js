// Bands against what happened. The window moves by wheel, buttons and keys; at its old end more is fetched.

import { byId } from "./dom.js";
import { volatility } from "./numbers.js";
import { held } from "./points.js";

const WINDOW_STEPS = 300;
const FEWEST_STEPS = 30;
const STEP_SECONDS = { "1m": 1, "5m": 5, "1h": 60, "1d": 900 };
const GAP_STEPS = 6;
const LOW_HEIGHT = 230;
const HEIGHT = 300;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Chart {
  /** `on`: {older(beforeNs) when its old end is in sight, cursor(point), open(point)}. */
  constructor(on) {
    this.on = on;
    this.plot = null;
    this.points = null;
    this.live = true;
    this.to = 0;
    this.steps = WINDOW_STEPS;
    this.host = byId("plot");
    new ResizeObserver(() => this.resize()).observe(this.host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
    this.host.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  choose(horizon, rowSeconds) {
    this.horizon = horizon;
    this.step = Math.max(STEP_SECONDS[horizon], rowSeconds);
    this.live = true;
    this.steps = WINDOW_STEPS;
    this.rebuild();
  }

  show(points) {
    this.points = points;
    if (!this.plot) return;
    this.plot.setData(this.data(), false);
    this.scale();
  }

  data() {
    const columns = Array.from({ length: 9 }, () => []);
    let before = null;
    for (const point of this.points?.sorted ?? []) {
      // A line over a silence would tell of forecasts that nobody made.
      if (before !== null && point.at - before > GAP_STEPS * this.stepAt(point)) {
        columns[0].push(before + this.step);
        for (const column of columns.slice(1)) column.push(null);
      }
      before = point.at;
      this.push(columns, point);
    }
    return columns;
  }

  /** Older points of long horizons stand 5 minutes apart. */
  stepAt() {
    return this.step >= 60 ? Math.max(this.step, 300) : this.step;
  }

  push(columns, point) {
    const at = (variance) => volatility(variance, this.horizon);
    const [low, , lower, middle, upper, , high] = point.quantiles;
    const known = point.status !== "unavailable" && middle > 0;
    const real = at(point.realised);
    const values = known ? [high, low, upper, lower, middle].map(at) : [null, null, null, null, null];
    const missed = held(point) === false ? real : null;
    const fallback = known && point.status === "fallback" ? at(middle) : null;
    [point.at, ...values, real, missed, fallback].forEach((value, place) => columns[place].push(value));
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = new window.uPlot(this.options(), this.data(), this.host);
    this.plot.over.addEventListener("click", () => {
      const point = this.under();
      if (point) this.on.open(point);
    });
    this.scale();
  }

  options() {
    const [band, line, happened, missed, fallback] = ["--band", "--line", "--happened", "--missed", "--fallback"].map(colour);
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const none = { points: { show: false } };
    const only = (stroke, size, width) => ({ stroke, paths: () => null, points: { show: true, size, width, stroke, fill: "transparent" } });
    return {
      width: this.host.clientWidth || 600,
      height: this.height(),
      tzDate: (at) => window.uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      legend: { show: false },
      padding: [8, 8, 0, 0],
      cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
      scales: { x: { time: true, range: () => this.window() }, y: { range: (_, low, high) => reach(low, high) } },
      axes: [{ ...axis, size: 26, space: 90, values: (_, ticks, at, space, step) => ticks.map((tick) => timeText(tick, step)) }, { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => `${tick} %`) }],
      bands: [
        { series: [1, 2], fill: `${band}33` },
        { series: [3, 4], fill: `${band}66` },
      ],
      series: [
        {},
        { stroke: `${band}88`, width: 1, ...none },
        { stroke: `${band}88`, width: 1, ...none },
        { stroke: "transparent", width: 0, ...none },
        { stroke: "transparent", width: 0, ...none },
        { stroke: line, width: 2, ...none },
        { stroke: happened, width: 2, dash: [5, 3], spanGaps: false, points: { show: this.step >= 60, size: 6, fill: happened, stroke: happened } },
        only(missed, 8, 2),
        only(fallback, 6, 2),
      ],
      hooks: { setCursor: [() => this.on.cursor(this.under())] },
    };
  }

  height() {
    return window.innerWidth < 700 ? LOW_HEIGHT : HEIGHT;
  }

  resize() {
    if (this.plot && this.host.clientWidth) this.plot.setSize({ width: this.host.clientWidth, height: this.height() });
  }

  /** Begin and end of what is seen, in seconds. */
  window() {
    const last = this.points?.last?.at ?? Date.now() / 1000;
    const first = this.points?.first?.at ?? last;
    const span = this.steps * this.step;
    const to = this.live ? last + span * 0.02 : this.to;
    const from = this.live ? Math.max(to - span, Math.min(first, to - FEWEST_STEPS * this.step)) : to - span;
    return [from, to];
  }

  scale() {
    const [min, max] = this.window();
    this.plot.setScale("x", { min, max });
    const first = this.points?.first;
    if (first && first.at > min && !this.points.begins) this.on.older(first.originNs);
    byId("live").setAttribute("aria-pressed", String(this.live));
  }

  wheel(event) {
    event.preventDefault();
    const by = event.deltaX || event.deltaY;
    if (event.ctrlKey) this.zoom(by > 0 ? 1.25 : 0.8);
    else this.pan(Math.sign(by) * Math.min(0.25, Math.abs(by) / 1000));
  }

  /** Moves by a share of what is seen; positive is towards now. */
  pan(share) {
    const last = this.points?.last?.at;
    if (last === undefined) return;
    const [from, to] = this.window();
    const span = this.steps * this.step;
    this.to = Math.min(to + share * span, last + span * 0.02);
    const least = this.points.begins ? this.points.first.at + Math.min(span, last - this.points.first.at) : -Infinity;
    this.to = Math.max(this.to, least);
    this.live = this.to >= last && (share > 0 || to - from < span);
    this.scale();
  }

  zoom(factor) {
    this.to = this.window()[1];
    this.steps = Math.max(FEWEST_STEPS, Math.min(4000, this.steps * factor));
    this.scale();
  }

  goLive() {
    this.live = true;
    this.steps = WINDOW_STEPS;
    this.scale();
  }

  /** The point under the cursor. */
  under() {
    const at = this.plot?.cursor.idx;
    if (at === null || at === undefined || !this.points) return null;
    const seconds = this.plot.data[0][at];
    return this.points.sorted.find((point) => point.at === seconds) ?? null;
  }

  /** Moves the cursor by points, beginning at the newest that is seen. */
  move(by) {
    const seen = this.points?.sorted.filter((point) => point.at <= this.window()[1] && point.at >= this.window()[0]) ?? [];
    if (!seen.length) return;
    const place = seen.indexOf(this.under());
    const next = seen[Math.max(0, Math.min(seen.length - 1, place < 0 ? seen.length - 1 : place + by))];
    this.plot.setCursor({ left: this.plot.valToPos(next.at, "x"), top: 10 });
  }
}

/** The range of the y axis: a little more than what is seen, never below zero. */
function reach(low, high) {
  if (low === null || high === null) return [0, 100];
  const room = Math.max((high - low) * 0.08, high * 0.02, 0.01);
  return [Math.max(0, low - room), high + room];
}

/** A time in UTC as short as its neighbours allow. */
function timeText(tick, step) {
  const text = new Date(tick * 1000).toISOString();
  if (step >= 86400) return text.slice(5, 10);
  if (step >= 3600 * 3) return text.slice(5, 16).replace("T", " ");
  return step < 60 ? text.slice(11, 19) : text.slice(11, 16);
}
