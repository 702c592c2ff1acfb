// The server's events, and whether they still come. The server sends a sign of life every 2 s.

const SILENT_MS = 7000;
const SETTLE_MS = 60;

export class Stream {
  /** `on`: {news, health, state}; state is told "open" or "lost". */
  constructor(on) {
    this.on = on;
    this.source = null;
    this.timer = 0;
    this.heard = 0;
    setInterval(() => this.watch(), 1000);
  }

  /** Listens for another instrument or horizon; of many in a row the last one counts. */
  choose(horizon, instrument) {
    this.wish = `/events?${new URLSearchParams({ horizon, instrument })}`;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.source ? SETTLE_MS : 0);
  }

  open() {
    this.source?.close();
    const source = new EventSource(this.wish);
    this.source = source;
    this.heard = performance.now();
    const hears = (name, take) =>
      source.addEventListener(name, (event) => {
        if (this.source !== source) return;
        this.heard = performance.now();
        this.on.state("open");
        take(event.data === undefined ? null : JSON.parse(event.data));
      });
    hears("news", this.on.news);
    hears("health", this.on.health);
    hears("alive", () => {});
    source.onerror = () => this.source === source && this.on.state("lost");
  }

  watch() {
    if (!this.source || performance.now() - this.heard < SILENT_MS) return;
    this.on.state("lost");
    this.open();
  }
}
