// The stack behind the page: one chip that says whether all is well, and a panel that says why not.

import { byId, element, table, write } from "./dom.js";
import { ratio, whole } from "./numbers.js";

const FALLBACK_RATIO = 0.01;
const LAG_MANY = 5000;
/** Commits come with checkpoints, every ten seconds: so long without one, a stage stands. */
const STANDS_SECONDS = 45;

export class Health {
  constructor() {
    this.told = null;
    this.connected = false;
    this.delays = [];
    this.button = byId("health");
    this.panel = byId("stack");
    this.result = element("div", { className: "scroll" });
    this.button.addEventListener("click", () => this.toggle());
  }

  toggle(open = this.panel.hidden) {
    this.panel.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    this.show();
  }

  take(told) {
    this.told = told;
    this.show();
  }

  connect(connected) {
    this.connected = connected;
    this.show();
  }

  /** What is wrong, the worst first: [severity, text]. */
  troubles() {
    if (!this.connected) return [["error", "the page's server does not answer: is foreshock view running?"]];
    const { told } = this;
    if (!told) return [];
    const found = [];
    if (told.servers_problem) found.push(["error", told.servers_problem]);
    else if (told.reading_problem && told.reading_problem !== "starting") found.push(["error", told.reading_problem]);
    for (const group of told.groups) {
      if (!group.known) found.push(["error", `${group.name} never ran: foreshock run, or foreshock ${group.name}`]);
      else if (group.stands_seconds > STANDS_SECONDS) found.push(["error", `${group.name} has stood for ${whole(group.stands_seconds)} s with ${whole(group.lag)} records to read: foreshock doctor`]);
      else if (group.lag > LAG_MANY) found.push(["warning", `${group.name} is ${whole(group.lag)} records behind`]);
    }
    const share = this.share("fallback");
    if (share > FALLBACK_RATIO) found.push(["warning", `${ratio(share)} of the last forecasts are fallbacks: Triton gave no usable answer in time`]);
    return found;
  }

  share(status) {
    const counts = this.told?.statuses ?? {};
    const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
    return all ? (counts[status] ?? 0) / all : 0;
  }

  show() {
    const troubles = this.troubles();
    const worst = troubles.some(([severity]) => severity === "error") ? "error" : troubles.length ? "warning" : "ok";
    this.button.dataset.state = this.told || !this.connected ? worst : "waiting";
    const words = { ok: "stack well", warning: "look here", error: "trouble" };
    write(byId("health-text"), this.told || !this.connected ? words[worst] : "connecting");
    if (!this.panel.hidden) this.fill(troubles);
  }

  fill(troubles) {
    const { told } = this;
    const lines = troubles.map(([severity, text]) => element("li", { className: severity }, text));
    this.panel.replaceChildren(
      element("h3", {}, "Stack health"),
      troubles.length ? element("ul", { className: "troubles" }, ...lines) : element("p", { className: "fine" }, "Broker, groups and forecasts are as they should be."),
      ...(told ? this.facts(told) : []),
      element("p", {}, element("button", { onclick: (event) => this.doctor(event.target) }, "Ask the doctor"), element("span", { className: "note" }, " checks settings, topics, groups, Triton, bundles, clocks and disks; takes some seconds")),
      this.result,
    );
  }

  facts(told) {
    const stands = (group) => !group.known ? "never ran" : group.stands_seconds > STANDS_SECONDS ? `stands for ${whole(group.stands_seconds)} s` : "reads";
    const groups = told.groups.map((group) => [group.name, stands(group), whole(group.lag)]);
    const counts = (counted) => Object.entries(counted).map(([name, count]) => `${name} ${whole(count)}`).join(", ") || "none";
    const page = this.delays.length ? `${Math.round(median(this.delays))} ms behind the record (median)` : "no update yet";
    return [
      table(["stage", "now", "records behind"], groups, [2]),
      element("dl", { className: "pairs" },
        ...pair("last forecasts", `model ${ratio(this.share("model"))}, fallback ${ratio(this.share("fallback"))}, unavailable ${ratio(this.share("unavailable"))}`),
        ...pair("late events read", counts(told.late)),
        ...pair("dead letters read", counts(told.dead_letters)),
        ...pair("records not readable", whole(told.unreadable)),
        ...pair("this page", told.catching_up ? "catching up with the topics" : page)),
    ];
  }

  /** Runs `foreshock doctor` beside the server and shows what it finds wrong. */
  async doctor(button) {
    button.disabled = true;
    this.result.replaceChildren(element("p", { className: "note" }, "asking ..."));
    const { findings, problem } = await askDoctor();
    const shown = findings.filter((finding) => finding.severity !== "ok");
    const fine = `${findings.length - shown.length} of ${findings.length} checks are fine.`;
    this.result.replaceChildren(
      element("p", {}, problem || fine),
      ...(shown.length ? [table(["", "what", "what to do"], shown.map((one) => [one.severity, `${one.subject}: ${one.what}`, one.fix]))] : []),
    );
    button.disabled = false;
  }
}

async function askDoctor() {
  try {
    const answer = await fetch("/compute/doctor", { method: "POST", headers: { "X-Foreshock-View": "1" } });
    if (!answer.headers.get("content-type")?.startsWith("application/json")) return { findings: [], problem: await answer.text() };
    const { out = "", problem = "" } = await answer.json();
    return { findings: out.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line)), problem: out ? "" : problem };
  } catch (error) {
    return { findings: [], problem: String(error.message) };
  }
}

const pair = (name, text) => [element("dt", {}, name), element("dd", {}, text)];

const median = (values) => [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];

