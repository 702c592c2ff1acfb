// The keyboard: everything that a mouse can do.

import { byId, element, table } from "./dom.js";

const KEYS = [
  ["\u2191 \u2193  or  k j", "instrument before, instrument after"],
  ["/", "search; Enter takes the first found, Esc clears"],
  ["1 2 3 4", "horizon"],
  ["\u2190 \u2192", "walk along the forecasts of the chart"],
  ["Enter or r", "receipt of that forecast, or of the newest"],
  ["h l", "older, newer; the mouse wheel does it too"],
  ["+ \u2212", "closer, wider; Ctrl and the mouse wheel do it too"],
  ["End", "back to now"],
  ["s", "stack health"],
  ["Esc", "close what is open"],
  ["?", "this"],
];

const PALETTE = "Colours are those of Okabe and Ito, told apart by all kinds of colour vision; nothing is told by colour alone.";

export function bindHelp() {
  const dialog = byId("help");
  const close = element("button", { className: "chip", "aria-label": "Close", onclick: () => dialog.close() }, "\u00d7");
  dialog.replaceChildren(
    element("div", { className: "head" }, element("h2", {}, "Keys"), close),
    element("div", { className: "body" }, table(["key", "what it does"], KEYS), ...reading()),
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  byId("help-button").addEventListener("click", () => dialog.showModal());
}

function reading() {
  return [
    element("h3", {}, "How to read the chart"),
    element("p", {}, "A band stands at the time a forecast was made, for the horizon that begins then. What happened stands at the same place, and is known one horizon later: the dashed line ends that much before the newest forecast. All numbers are volatility a year in percent; records hold realised variance over the horizon."),
    element("p", { className: "note" }, PALETTE),
  ];
}

/** `does`: by key, what is to be done. */
export function bindKeys(does, search) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target === search) {
      inSearch(event, does, search);
      return;
    }
    // A button that has the focus is what Enter and Space are meant for.
    if (event.target.closest("button, summary, input") && [" ", "Enter"].includes(event.key)) return;
    const act = does[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function inSearch(event, does, search) {
  if (event.key === "Escape") {
    search.value = "";
    search.dispatchEvent(new Event("input"));
    search.blur();
  } else if (event.key === "Enter") {
    does.first();
    search.blur();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    does[event.key]();
  }
}
