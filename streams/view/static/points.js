// The points of one instrument and horizon, by time; bounded, so that scrolling back for hours stays light.

import { LEVELS } from "./numbers.js";

const MOST = 6000;

export class Points {
  constructor() {
    this.clear();
  }

  clear() {
    this.byOrigin = new Map();
    this.sorted = [];
    this.begins = false;
  }

  /** Takes points [origin_ns, status, quantiles, mean, realised]; later news of an origin win. */
  take(points) {
    for (const [originNs, status, quantiles, mean, realised] of points) {
      this.byOrigin.set(originNs, { originNs, at: Number(BigInt(originNs) / 1000000n) / 1000, status, quantiles, mean, realised });
    }
    if (points.length) this.arrange();
  }

  /** The newest forecast stands at the end even where it is not the first of its step. */
  takeLatest(latest, horizon) {
    const one = latest?.horizons[horizon];
    if (this.loose && this.loose !== latest?.origin_ns) this.byOrigin.delete(this.loose);
    this.loose = null;
    if (one && !this.byOrigin.has(latest.origin_ns)) {
      this.take([[latest.origin_ns, latest.status, LEVELS.map((level) => one.quantiles[level]), one.mean, null]]);
      this.loose = latest.origin_ns;
    } else this.arrange();
  }

  arrange() {
    this.sorted = [...this.byOrigin.values()].sort((one, other) => one.at - other.at);
    if (this.sorted.length > MOST) {
      for (const old of this.sorted.splice(0, this.sorted.length - MOST)) this.byOrigin.delete(old.originNs);
    }
  }

  get first() {
    return this.sorted[0];
  }

  get last() {
    return this.sorted[this.sorted.length - 1];
  }
}

/** Whether what happened lay in the 90 % band; null: not known. */
export function held(point) {
  if (point.realised === null) return null;
  return point.realised >= point.quantiles[0] && point.realised <= point.quantiles[6];
}
