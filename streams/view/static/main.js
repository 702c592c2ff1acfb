// Puts the page together: what comes from the server goes to the parts, what people do goes to the server.

import { Chart } from "./chart.js";
import { byId, element, table, write } from "./dom.js";
import { Health } from "./health.js";
import { bindHelp, bindKeys } from "./keys.js";
import { List } from "./list.js";
import { clock, moment, parts, percent, seconds, tiny, volatilityText } from "./numbers.js";
import { showAttention, showCoverage, showQuality } from "./panels.js";
import { held, Points } from "./points.js";
import { Receipt } from "./receipt.js";
import { Stream } from "./stream.js";

const NUMBERED = 40;
const DELAYS = 400;
const REPLAYED_SECONDS = 3600;

const about = await (await fetch("/about")).json();
const chosen = { instrument: "", horizon: about.horizons[0] };
const points = new Points();
const receipt = new Receipt();
const health = new Health();
let detail = null;
let isFetching = false;

const list = new List((name) => choose(name, chosen.horizon));
const chart = new Chart({ older: fetchOlder, cursor: (point) => tellPoint(point), open: (point) => openReceipt(point) });
const stream = new Stream({ news: takeNews, health: (told) => health.take(told), state: takeState });

function choose(instrument, horizon) {
  if (instrument === chosen.instrument && horizon === chosen.horizon && detail) return;
  Object.assign(chosen, { instrument, horizon });
  history.replaceState(null, "", `#${new URLSearchParams({ instrument, horizon })}`);
  for (const button of byId("horizons").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.textContent === horizon));
  points.clear();
  chart.choose(horizon, about.row_interval_ms / 1000);
  list.mark(instrument);
  stream.choose(horizon, instrument);
}

function takeNews(told) {
  list.take(told.rows, told.whole, chosen.horizon);
  if (!chosen.instrument && list.shown.length) choose(list.shown[0], chosen.horizon);
  else if (told.whole) list.mark(chosen.instrument);
  if (told.detail && told.detail.name === chosen.instrument) takeDetail(told.detail);
  byId("detail").hidden = !detail;
  byId("empty").hidden = Boolean(detail);
  if (!told.whole) measure(told.rows);
}

/** How long after its record was written the page showed it: told in the stack's panel. */
function measure(rows) {
  const written = rows.map((row) => row.record_ms).filter(Boolean);
  if (!written.length) return;
  requestAnimationFrame(() => {
    const shown = Date.now();
    const fresh = written.filter((at) => at > (measure.until ?? 0)).map((at) => shown - at);
    measure.until = Math.max(measure.until ?? 0, ...written);
    health.delays.push(...fresh);
    health.delays.splice(0, health.delays.length - DELAYS);
    performance.mark("shown", { detail: fresh });
    performance.clearMarks("shown");
  });
}

function takeDetail(told) {
  const isOther = detail?.name !== told.name || detail?.horizon !== told.horizon;
  if (told.whole) points.clear();
  detail = told;
  points.take(told.points);
  points.takeLatest(told.latest, told.horizon);
  chart.show(points);
  showTitle(isOther);
  showFacts();
  showCoverage(told);
  showAttention(told);
  showQuality(told);
  tellPoint(chart.under());
  if (byId("numbers").open) showNumbers();
}

function showTitle(isOther) {
  if (isOther) {
    const [instrument, venue] = parts(detail.name);
    byId("name").replaceChildren(instrument, element("small", {}, venue));
    write(byId("chart-title"), `Volatility a year, forecast for the next ${detail.horizon}, against what happened`);
  }
  const { latest } = detail;
  const badges = latest ? [element("span", { className: `badge ${latest.status}` }, latest.status), ...latest.quality.map((flag) => element("span", { className: "badge flagged" }, flag))] : [];
  byId("badges").replaceChildren(...badges);
}

function showFacts() {
  const { latest, horizon } = detail;
  const one = latest?.horizons[horizon];
  const at = (level) => volatilityText(one?.quantiles[level], horizon);
  const lag = latest ? latest.record_ms / 1000 - latest.origin_ms / 1000 : null;
  const facts = [
    [`median, next ${horizon}`, at("0.5"), "a year"],
    ["90 % band", `${percent(number(at("0.05")), "")}\u2013${at("0.95")}`, ""],
    ["uncertainty", one ? one.uncertainty.toFixed(2) : "\u2013", "rank in its own past"],
    ["made for", latest ? clock(latest.origin_ns) : "\u2013", "UTC"],
    ["behind the market", lag === null ? "\u2013" : lag > REPLAYED_SECONDS ? "replayed" : seconds(lag), lag > REPLAYED_SECONDS ? "recorded data" : "origin to record"],
  ];
  byId("facts").replaceChildren(...facts.map(([name, value, unit]) => element("div", {}, element("dt", {}, name), element("dd", {}, value, unit ? element("small", {}, unit) : null))));
}

const number = (text) => Number.parseFloat(text);

function tellPoint(point) {
  const shown = point ?? points.last;
  byId("open").disabled = !shown;
  if (!shown) return write(byId("readout"), "");
  const at = (place) => volatilityText(shown.quantiles[place], chosen.horizon);
  const outcome = shown.realised === null ? "what happened is not known yet" : `happened ${volatilityText(shown.realised, chosen.horizon)}, ${held(shown) ? "inside" : "outside"} the 90 % band`;
  write(byId("readout"), `${point ? "" : "newest: "}${moment(shown.originNs)} UTC, ${shown.status}: median ${at(3)}, 50 % ${at(2)} to ${at(4)}, 90 % ${at(0)} to ${at(6)}; ${outcome}`);
}

function showNumbers() {
  const rows = points.sorted.slice(-NUMBERED).reverse().map((point) => [
    moment(point.originNs), point.status, ...[0, 3, 6].map((place) => volatilityText(point.quantiles[place], chosen.horizon)),
    tiny(point.quantiles[3]), tiny(point.realised), point.realised === null ? "" : held(point) ? "inside" : "outside",
  ]);
  const heads = ["made for (UTC)", "status", "5 %", "median", "95 %", "median variance", "realised variance", "90 % band"];
  byId("numbers").querySelector(".scroll").replaceChildren(table(heads, rows, [2, 3, 4, 5, 6]));
}

async function fetchOlder(before) {
  if (isFetching) return;
  isFetching = true;
  const { instrument, horizon } = chosen;
  try {
    const answer = await fetch(`/older?${new URLSearchParams({ instrument, horizon, before })}`);
    if (!answer.ok) throw new Error(await answer.text());
    const older = await answer.json();
    if (instrument !== chosen.instrument || horizon !== chosen.horizon) return;
    points.take(older);
    points.begins = !older.length;
  } catch {
    // Asked again with the next look: the broker may be back by then.
  } finally {
    isFetching = false;
  }
  chart.show(points);
}

function openReceipt(point) {
  const shown = point ?? chart.under() ?? points.last;
  if (shown) receipt.open(`${chosen.instrument}@${shown.originNs}`, about.computes);
}

function takeState(state) {
  health.connect(state === "open");
  const notice = byId("notice");
  notice.hidden = state === "open" && !health.told?.servers_problem;
  write(notice, state === "open" ? `${health.told?.servers_problem ?? ""} What you see is as old as it says.` : "The server of this page does not answer; it is asked again until it does. What you see is old.");
  write(byId("empty-text"), waiting());
}

function waiting() {
  const told = health.told;
  if (!told) return "connecting";
  if (told.servers_problem) return told.servers_problem;
  if (told.reading_problem && told.reading_problem !== "starting") return told.reading_problem;
  if (told.catching_up) return "The topics are being read.";
  return `No forecast has come on the topics of ${about.servers}. Start the stages with foreshock run, and a source: live feeds, or foreshock replay --market 600. The first forecasts come after about a minute of data.`;
}

function walk(by) {
  chart.move(by);
  tellPoint(chart.under());
}

byId("horizons").append(
  ...about.horizons.map((horizon, place) => element("button", { title: `Horizon ${horizon} (${place + 1})`, "aria-pressed": "false", onclick: () => choose(chosen.instrument, horizon) }, horizon)),
);
const does = {
  ArrowDown: () => list.step(1), ArrowUp: () => list.step(-1), j: () => list.step(1), k: () => list.step(-1),
  PageDown: () => list.step(10), PageUp: () => list.step(-10),
  ArrowLeft: () => walk(-1), ArrowRight: () => walk(1), h: () => chart.pan(-0.25), l: () => chart.pan(0.25),
  "+": () => chart.zoom(0.8), "-": () => chart.zoom(1.25), End: () => chart.goLive(),
  Enter: () => openReceipt(), r: () => openReceipt(), s: () => health.toggle(), Escape: () => health.toggle(false),
  "/": () => byId("search").focus(), "?": () => byId("help").showModal(),
  first: () => list.shown.length && choose(list.shown[0], chosen.horizon),
};
about.horizons.forEach((horizon, place) => (does[String(place + 1)] = () => choose(chosen.instrument, horizon)));
bindKeys(does, byId("search"));
bindHelp();
for (const [id, act] of [["older", does.h], ["newer", does.l], ["in", does["+"]], ["out", does["-"]], ["live", does.End], ["open", does.Enter]]) byId(id).addEventListener("click", act);
byId("numbers").addEventListener("toggle", showNumbers);

const asked = new URLSearchParams(location.hash.slice(1));
choose(asked.get("instrument") ?? "", about.horizons.includes(asked.get("horizon")) ? asked.get("horizon") : about.horizons[0]);
