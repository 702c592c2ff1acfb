// Elements from text alone: nothing that a record says is ever read as HTML.

export const byId = (id) => document.getElementById(id);

/** Returns an element; `properties` are set as they are, `children` are elements or texts. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "style") Object.assign(made.style, value);
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Writes a text where it is another one: what stands still costs no layout. */
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** A table of texts; `numeric`: places of the columns that are numbers. */
export function table(heads, rows, numeric = [], caption = "") {
  const cell = (tag, text, place) =>
    element(tag, { className: numeric.includes(place) ? "number" : "", ...(tag === "th" ? { scope: "col" } : {}) }, text);
  return element(
    "table",
    {},
    caption ? element("caption", {}, caption) : null,
    element("thead", {}, element("tr", {}, ...heads.map((text, place) => cell("th", text, place)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((text, place) => cell("td", text, place))))),
  );
}

/** A horizontal bar of `share` in [0, 1] with its number as text beside it. */
export function bar(name, share, text, kind = "") {
  const width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return element(
    "div",
    { className: "measure" },
    element("span", { className: "name", title: name }, name),
    element("span", { className: "track" }, element("span", { className: `fill ${kind}`, style: { width } })),
    element("span", { className: "number" }, text),
  );
}

/** A bar to the left or right of a middle; `share` in [-1, 1]. */
export function signedBar(name, share, text) {
  const half = Math.min(1, Math.abs(share)) * 50;
  const style = { width: `${half}%`, left: share < 0 ? `${50 - half}%` : "50%" };
  return element(
    "div",
    { className: "measure" },
    element("span", { className: "name", title: name }, name),
    element("span", { className: "track signed" }, element("span", { className: `fill ${share < 0 ? "down" : "up"}`, style })),
    element("span", { className: "number" }, text),
  );
}
