// Numbers as people read them. Records hold realised variance over the horizon; people read volatility a year.

const SECONDS = { "1m": 60, "5m": 300, "1h": 3600, "1d": 86400 };
const YEAR_SECONDS = 365 * 86400;
export const LEVELS = ["0.05", "0.1", "0.25", "0.5", "0.75", "0.9", "0.95"];
const NONE = "\u2013";

/** Annualised volatility in percent of a variance over a horizon, null of none. */
export function volatility(variance, horizon) {
  if (variance === null || variance === undefined || !(variance >= 0)) return null;
  return Math.sqrt((variance * YEAR_SECONDS) / SECONDS[horizon]) * 100;
}

export function percent(value, unit = "\u2009%") {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return value.toFixed(digits) + unit;
}

export const volatilityText = (variance, horizon) => percent(volatility(variance, horizon));

export const ratio = (value, digits = 1) =>
  value === null || value === undefined ? NONE : `${(value * 100).toFixed(digits)}\u2009%`;

export const signed = (value) => (value > 0 ? "+" : value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(3);

export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (value < 10) return `${Math.max(0, value).toFixed(1)}\u2009s`;
  if (value < 120) return `${Math.round(value)}\u2009s`;
  if (value < 7200) return `${Math.round(value / 60)}\u2009min`;
  return value < 172800 ? `${Math.round(value / 3600)}\u2009h` : `${Math.round(value / 86400)}\u2009d`;
}

export const whole = (value) => value.toLocaleString("en-US");

/** The time of day in UTC of nanoseconds as text. */
export const clock = (originNs) => new Date(Number(BigInt(originNs) / 1000000n)).toISOString().slice(11, 19);

/** Day and time in UTC of nanoseconds as text. */
export const moment = (originNs) =>
  new Date(Number(BigInt(originNs) / 1000000n)).toISOString().slice(0, 19).replace("T", " ");

/** Significant digits for variances, which are tiny. */
export const tiny = (value) => (value === null || value === undefined ? NONE : value.toPrecision(4));

/** "binance:BTC-USDT" in two: ["BTC-USDT", "binance"]. */
export function parts(name) {
  const colon = name.lastIndexOf(":");
  return colon < 0 ? [name, ""] : [name.slice(colon + 1), name.slice(0, colon)];
}
