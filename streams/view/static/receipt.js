// One forecast as its record has it: horizons, experts, receipt, explanation; and what computing it again says.

import { bar, byId, element, signedBar, table } from "./dom.js";
import { moment, parts, percent, ratio, seconds, signed, volatility, volatilityText } from "./numbers.js";
import { contributions } from "./panels.js";

export class Receipt {
  constructor() {
    this.dialog = byId("receipt");
    this.asked = 0;
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  /** Opens the receipt of a forecast by its id. */
  async open(id, computes) {
    const asked = ++this.asked;
    this.fill(id, element("p", { className: "note" }, "reading the log ..."));
    if (!this.dialog.open) this.dialog.showModal();
    try {
      const answer = await fetch(`/forecast?${new URLSearchParams({ id })}`);
      const told = answer.ok ? await answer.json() : null;
      if (asked !== this.asked) return;
      this.fill(id, ...(told ? this.whole(told, computes) : [element("p", { className: "problem" }, await answer.text())]));
    } catch (error) {
      if (asked === this.asked) this.fill(id, element("p", { className: "problem" }, `The server does not answer: ${error.message}`));
    }
  }

  fill(id, ...children) {
    const close = element("button", { className: "chip", title: "Close (Esc)", "aria-label": "Close", onclick: () => this.dialog.close() }, "\u00d7");
    const at = id.lastIndexOf("@");
    const [instrument, venue] = parts(id.slice(0, at));
    this.dialog.replaceChildren(
      element("div", { className: "head" }, element("div", {}, element("h2", {}, instrument, element("small", {}, venue)), element("p", { className: "note" }, `made for ${moment(id.slice(at + 1))} UTC`)), close),
      element("div", { className: "body" }, ...children),
    );
  }

  whole(told, computes) {
    const record = JSON.parse(told.record);
    return [
      element("p", { className: "badges" }, element("span", { className: `badge ${record.status}` }, record.status), ...record.quality.map((flag) => element("span", { className: "badge flagged" }, flag)), record.reason ? element("span", { className: "note" }, record.reason) : null),
      horizons(record, told.outcomes),
      experts(record),
      explanation(told.attention),
      this.again(told.id, computes),
      receipt(record, told),
      raw(told),
    ];
  }

  again(id, computes) {
    const output = element("div", { className: "output", ariaLive: "polite" });
    const button = (kind, text) => element("button", { onclick: (event) => compute(kind, id, event.target, output), disabled: !computes }, text);
    return element(
      "section",
      {},
      element("h3", {}, "Compute it again"),
      element("p", {}, button("rebuild", "Rebuild bit for bit"), " ", button("explain", "Explain by Shapley values")),
      computes ? null : element("p", { className: "note" }, "Others can open this page: it computes nothing. Use the commands below."),
      output,
      element("pre", { className: "commands" }, `foreshock rebuild '${id}'\nforeshock explain '${id}'`),
    );
  }
}

function horizons(record, outcomes) {
  const rows = Object.entries(record.horizons).map(([horizon, one]) => {
    const outcome = outcomes[horizon];
    const at = (level) => volatilityText(one.quantiles[level], horizon);
    const inside = outcome ? (outcome.coverage["0.9"] ?? (outcome.realised_variance >= one.quantiles["0.05"] && outcome.realised_variance <= one.quantiles["0.95"])) : null;
    const happened = outcome ? `${volatilityText(outcome.realised_variance, horizon)} ${inside ? "inside" : "outside"}` : "not known yet";
    return [horizon, at("0.5"), `${at("0.05")} to ${at("0.95")}`, one.uncertainty.toFixed(2), happened];
  });
  if (!rows.length) return element("p", { className: "note" }, "It holds no numbers: there was nothing to forecast from yet.");
  return element("section", {}, element("h3", {}, "Volatility a year"), element("div", { className: "scroll" }, table(["horizon", "median", "90 % band", "uncertainty", "what happened"], rows, [1, 2, 3, 4])));
}

function experts(record) {
  const all = Object.entries(record.experts);
  if (!all.length) return null;
  const named = Object.keys(record.horizons);
  const rows = all.map(([name, expert]) => [name, ratio(expert.weight), ...named.map((horizon) => percent(volatility(expert.means[horizon], horizon)))]);
  return element("section", {}, element("h3", {}, "Experts behind it"), element("div", { className: "scroll" }, table(["expert", "weight", ...named.map((horizon) => `mean ${horizon}`)], rows, rows[0].map((_, place) => place).slice(1))));
}

function explanation(attention) {
  const title = element("h3", {}, "Why");
  if (!attention) return element("section", {}, title, element("p", { className: "note" }, "No attention stands beside it: no network made it."));
  const masses = Object.entries(attention.modalities).sort((one, other) => other[1] - one[1]);
  const most = Math.max(...masses.map(([, mass]) => mass), 1e-9);
  const shortest = Object.keys(attention.contributions)[0];
  const effects = shortest
    ? [element("h4", {}, `what ${shortest} would lose without it (log of the variance)`), ...contributions(attention, shortest)]
    : [element("p", { className: "note" }, "It is not among the forecasts that were explained while they were made; explain it below.")];
  return element("section", {}, title, element("div", { className: "two" }, element("div", {}, element("h4", {}, "attention by modality"), ...masses.map(([name, mass]) => bar(name, mass / most, ratio(mass)))), element("div", {}, ...effects)));
}

function receipt(record, told) {
  const [topic, partition, first, last] = record.receipt.rows[0] ?? ["", "", "", ""];
  const pairs = [
    ["record", `${told.topic} partition ${told.partition}`],
    ["rows", `${topic} partition ${partition}, offsets ${first} to ${last}`],
    ["tensors, SHA-256", record.receipt.features_hash],
    ["batch", record.receipt.batch[0] ? `place ${record.receipt.batch[1]} of ${record.receipt.batch[0]}` : "in none"],
    ["model", `${record.model.name} ${record.model.version}`],
    ["model hash", record.model.hash],
    ["feature set", record.feature_set_id],
    ...Object.entries(record.calibration).map(([horizon, shift]) => [`calibration ${horizon}`, `log quantiles ${signed(shift.shift[0])} and ${signed(shift.shift[1])}, rank ${shift.rank.toFixed(2)}`]),
  ];
  return element("section", {}, element("h3", {}, "Receipt"), element("dl", { className: "pairs" }, ...pairs.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)])));
}

function raw(told) {
  return element("details", {}, element("summary", {}, "The record"), element("pre", {}, told.record));
}

async function compute(kind, id, button, output) {
  button.disabled = true;
  const began = performance.now();
  const told = element("p", { className: "note" }, "");
  const tick = () => (told.textContent = `computing in a process of its own, ${seconds((performance.now() - began) / 1000)} ...`);
  const timer = setInterval(tick, 500);
  tick();
  output.replaceChildren(told);
  try {
    const answer = await fetch(`/compute/${kind}?${new URLSearchParams({ id })}`, { method: "POST", headers: { "X-Foreshock-View": "1" } });
    const isJson = answer.headers.get("content-type")?.startsWith("application/json");
    const found = isJson ? await answer.json() : { problem: await answer.text() };
    output.replaceChildren(...(found.out ? (kind === "rebuild" ? verdict(found) : shapley(found)) : [element("p", { className: "problem" }, found.problem || "it said nothing")]));
  } catch (error) {
    output.replaceChildren(element("p", { className: "problem" }, `The server does not answer: ${error.message}`));
  }
  clearInterval(timer);
  button.disabled = false;
}

function verdict(found) {
  const made = JSON.parse(found.out.trim().split("\n").pop());
  if (made.verdict === "identical") return [element("p", { className: "fine big" }, "\u2713 identical, bit for bit")];
  const first = made.first ? `${made.first.path}: recorded ${JSON.stringify(made.first.recorded)}, computed ${JSON.stringify(made.first.rebuilt)}` : made.problem ?? "";
  return [element("p", { className: "problem" }, `${made.verdict}: ${first}`)];
}

function shapley(found) {
  const made = JSON.parse(found.out);
  const shares = Object.entries(made.shares.shapley).sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]));
  const most = Math.max(...shares.map(([, share]) => Math.abs(share)), 1e-9);
  const moved = made.value - made.reference;
  return [
    element("p", {}, `${made.model} for ${made.horizon}, against ${made.against}: the log of the expected variance moved by ${signed(moved)} (\u00d7 ${Math.exp(moved).toFixed(2)}).`),
    ...shares.map(([name, share]) => signedBar(name, share / most, signed(share))),
  ];
}

