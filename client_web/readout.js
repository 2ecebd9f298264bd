// @ts-check
// The read-out shows the delay of the picture, what it is made of, and the last minute as a graph.
// The delay is an estimate: the server's own measurement plus what this browser can measure. Camera exposure,
// the server's encoder and the screen cannot be seen from here, and the page says so.

import { delayParts } from "./delay.js";
import { find, make, write } from "./dom.js";

/** @typedef {import("./sdk/relight.js").Stats} Stats */
/** @typedef {import("./sdk/peer.js").NetworkReport} NetworkReport */

const MINUTE_POINTS = 120; // twice a second
const [GRAPH_W, GRAPH_H] = [320, 56];
const TITLES = /** @type {Record<string, string>} */ ({
  wait: "Waiting",
  track: "Face tracking",
  matte: "Person mask",
  source: "Present light",
  prepare: "Preparation in all",
  alpha: "Edges",
  surface: "Surface",
  shadow: "Cast shadow",
  shade: "Shading",
  relight: "Painting",
  render: "Relighting in all",
  view: "Compare and hint",
  hint: "Shading hint",
  move: "Motion",
  "look-up": "Where pixels come from",
  remap: "Moving the portrait",
  mouth: "Mouth",
  compose: "Background",
  encode: "Into latents",
  features: "Adapters",
  denoise: "Denoising",
  decode: "Out of latents",
});

export class ReadOut {
  /** @type {NetworkReport | null} */
  #network = null;
  /** @type {{delay: number, fps: number}[]} */
  #points = [];
  #rows = find("#stages");

  /** Takes what this browser measured, for the next `show`. @param {NetworkReport} report @returns {void} */
  network(report) {
    this.#network = report;
  }

  /** @param {Stats} stats @param {boolean} slow true: the delay is shown in seconds @returns {void} */
  show(stats, slow) {
    const net = this.#network;
    const parts = /** @type {[string, number, number | null][]} */ ([
      ["Your encoder", net?.encode_ms ?? 0, null],
      ["Network, both ways", net?.rtt_ms ?? 0, null],
      ["Server", stats.latency_ms.p50, stats.latency_ms.p95],
      ["Smoothing buffer", net?.jitter_ms ?? 0, null],
      ["Your decoder", net?.decode_ms ?? 0, null],
    ]);
    const delay = parts.reduce((sum, [, value]) => sum + value, 0);
    const [number, unit] = delayParts(delay, slow);
    write(find("#delay"), number);
    write(find("#delay-unit"), unit);
    write(find("#meter"), `${number} ${unit} · ${Math.round(stats.fps_out)} fps`);
    write(find("#fps"), stats.fps_out.toFixed(0));
    write(find("#size"), stats.width ? `${stats.width}×${stats.height}` : "–");
    write(find("#drops"), String(stats.drops));
    write(find("#kbps"), net ? (net.kbps / 1000).toFixed(1) : "–");
    this.#points.push({ delay, fps: stats.fps_out });
    if (this.#points.length > MINUTE_POINTS) this.#points.shift();
    this.#graph();
    if (/** @type {HTMLDetailsElement} */ (find("#breakdown")).open) this.#breakdown(parts, stats);
  }

  /** Clears the numbers and the graph while there is no connection. @returns {void} */
  clear() {
    this.#network = null;
    this.#points = [];
    this.#graph();
    for (const id of ["#delay", "#fps", "#size", "#drops", "#kbps"]) write(find(id), "–");
    write(find("#meter"), "");
    this.#rows.replaceChildren();
  }

  #graph() {
    const points = this.#points;
    const top = Math.max(100, ...points.map(({ delay }) => delay)) * 1.1;
    const x = (/** @type {number} */ i) => GRAPH_W - ((points.length - 1 - i) / (MINUTE_POINTS - 1)) * GRAPH_W;
    const line = (/** @type {(p: {delay: number, fps: number}) => number} */ share) =>
      points.map((point, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${(GRAPH_H * (1 - share(point))).toFixed(1)}`).join("");
    const delay = line((point) => point.delay / top);
    find("#graph-delay").setAttribute("d", delay);
    find("#graph-area").setAttribute("d", points.length > 1 ? `${delay}V${GRAPH_H}H${x(0).toFixed(1)}Z` : "");
    find("#graph-fps").setAttribute("d", line((point) => Math.min(1, point.fps / 36)));
  }

  /** @param {[string, number, number | null][]} parts @param {Stats} stats */
  #breakdown(parts, stats) {
    const stages = Object.entries(stats.stages).map(
      ([name, { p50_ms, p95_ms }]) =>
        /** @type {[string, number, number | null]} */ ([TITLES[name] ?? name.replaceAll("_", " "), p50_ms, p95_ms]),
    );
    const most = Math.max(1, ...parts.map(([, value]) => value), ...stages.map(([, value]) => value));
    const row = (/** @type {[string, number, number | null]} */ [title, value, p95], /** @type {string} */ kind) => {
      const bar = make("i", { class: "bar-fill" });
      bar.style.width = `${(100 * value) / most}%`;
      const number = p95 === null ? value.toFixed(1) : `${value.toFixed(1)} / ${p95.toFixed(1)}`;
      return make("li", { class: kind }, make("span", {}, title), make("b", {}, number), make("i", { class: "bar-track" }, bar));
    };
    this.#rows.replaceChildren(
      ...parts.flatMap((part) => [row(part, "part"), ...(part[0] === "Server" ? stages.map((s) => row(s, "stage-row")) : [])]),
    );
  }
}
