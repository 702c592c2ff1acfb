// Coverage, attention and data quality of the chosen instrument, in bars with their numbers as text.

import { bar, byId, element, signedBar, table } from "./dom.js";
import { clock, ratio, seconds, signed, whole } from "./numbers.js";

const WANTED = 0.9;
const ENOUGH = 100;
const REGIMES = { "-1": "regime not known", 0: "calm market", 1: "wild market" };
const FLAGS = {
  warming: "windows behind it are still filling",
  stale: "nothing is heard of the instrument",
  "book-gap": "its order book is not known",
};

export function showCoverage(detail) {
  const lines = Object.entries(detail.coverage).map(([horizon, state]) => {
    if (!state?.count) return bar(horizon, 0, "none yet", "empty");
    const line = bar(horizon, state.ratio, ratio(state.ratio), verdict(state));
    line.querySelector(".track").append(element("span", { className: "goal", style: { left: `${WANTED * 100}%` } }));
    line.title = `${whole(state.count)} outcomes; the last ${whole(state.recent_count)}: ${ratio(state.recent_ratio)}`;
    return line;
  });
  const state = detail.coverage[detail.horizon];
  byId("coverage").replaceChildren(
    element("h3", {}, "Coverage of the 90 % band"),
    ...lines,
    element("p", { className: "note" }, state?.count ? told(detail.horizon, state) : `Nothing has happened yet against which a forecast of ${detail.horizon} can be held.`),
  );
}

function verdict(state) {
  if (state.count < ENOUGH) return "few";
  return Math.abs(state.ratio - WANTED) <= 0.05 ? "good" : "off";
}

function told(horizon, state) {
  const recent = state.recent_count ? `; of the last ${whole(state.recent_count)}: ${ratio(state.recent_ratio)}` : "";
  const few = state.count < ENOUGH ? " Too few to judge." : "";
  return `${horizon}: ${whole(state.count)} outcomes held in ${ratio(state.ratio)}${recent}. The line marks 90 %. Now: ${REGIMES[state.regime] ?? ""}.${few}`;
}

export function showAttention(detail) {
  const attention = detail.attention;
  const target = byId("attention");
  if (!attention) {
    target.replaceChildren(element("h3", {}, "Attention"), element("p", { className: "note" }, "No network has made a forecast yet: there is no attention to show."));
    return;
  }
  const masses = Object.entries(attention.modalities).sort((one, other) => other[1] - one[1]);
  const most = Math.max(...masses.map(([, mass]) => mass), 1e-9);
  target.replaceChildren(
    element("h3", {}, "Attention by modality"),
    ...masses.map(([name, mass]) => bar(name, mass / most, ratio(mass))),
    element("h4", {}, "by look-back, head by head"),
    heads(attention.heads),
    element("p", { className: "note" }, faith(attention, detail.explained)),
  );
}

function heads(all) {
  const rows = all.map((head, place) => [
    String(place + 1),
    seconds(head.mean_look_back_seconds),
    seconds(head.half_life_seconds),
    head.top.slice(0, 2).map(([name, back]) => `${name} \u2212${seconds(back)}`).join(", "),
  ]);
  return element("div", { className: "scroll" }, table(["head", "mean", "half-life", "looks most at"], rows, [0, 1, 2]));
}

function faith(attention, explained) {
  const faithful = attention.faithfulness
    ? `Rank correlation with true effects: ${attention.faithfulness[0].toFixed(2)} over ${attention.faithfulness[1]} forecasts.`
    : "How faithful attention is has not been measured yet.";
  return explained ? `${faithful} Last explained: ${clock(explained.origin_ns)} UTC.` : faithful;
}

/** What the shortest horizon of an explained forecast loses without each modality. */
export function contributions(explained, horizon) {
  const chosen = explained.contributions[horizon] ?? Object.values(explained.contributions)[0] ?? {};
  const shares = Object.entries(chosen).sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]));
  const most = Math.max(...shares.map(([, share]) => Math.abs(share)), 1e-9);
  return shares.map(([name, share]) => signedBar(name, share / most, signed(share)));
}

export function showQuality(detail) {
  const flags = detail.latest?.quality ?? [];
  const ages = Object.entries(detail.ages);
  const heard = ages.filter(([, age]) => age !== null).sort((one, other) => one[1] - other[1]);
  const never = ages.filter(([, age]) => age === null).map(([name]) => name);
  byId("quality").replaceChildren(
    element("h3", {}, "Data quality"),
    flags.length
      ? element("ul", { className: "flags" }, ...flags.map((flag) => element("li", {}, element("b", {}, flag), ` ${FLAGS[flag] ?? ""}`)))
      : element("p", { className: "fine" }, detail.latest ? "No flag: windows are full, data flow." : "No forecast yet."),
    ...(heard.length ? [element("h4", {}, "last heard before the row")] : []),
    ...heard.map(([name, age]) => bar(name, 1 - Math.min(1, Math.log10(1 + age) / 3), seconds(age), age > 60 ? "few" : "")),
    element("p", { className: "note" }, [never.length ? `Never heard: ${never.join(", ")}.` : "", detail.late ? `${whole(detail.late)} late events left out.` : "No late events."].filter(Boolean).join(" ")),
  );
}
