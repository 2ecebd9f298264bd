// @ts-check
// Decides which engine should run: it follows from what the caller prefers, whether an avatar is chosen and its portrait has
// arrived, and what the server can run and has not refused.

/** @typedef {import("./engines.js").EngineList} EngineList */
/** @typedef {import("./relight.js").EngineInfo} EngineInfo */

export class EngineChoice {
  /** Engines the caller prefers, the most wanted first; those of the other kind, and those not here, are passed over. @type {string[]} */
  preferred = [];
  /** The engine the server starts with. */
  #default = "";
  /** Engines that the server refused in this session. @type {Set<string>} */
  #refused = new Set();
  #sent = false;
  #engines;

  /** @param {EngineList} engines */
  constructor(engines) {
    this.#engines = engines;
  }

  /** Begins a session. @param {string} first the engine the server starts with @returns {void} */
  welcome(first) {
    this.#default = first;
    this.#refused.clear();
  }

  /** Prefers an engine to all others, and tries again one that was refused. @param {string} name @returns {void} */
  prefer(name) {
    this.#refused.delete(name);
    this.preferred = [name, ...this.preferred.filter((other) => other !== name)];
  }

  /** Passes an engine over from now on. @param {string} name @returns {void} */
  refuse(name) {
    this.#refused.add(name);
  }

  /**
   * Names the engine that should run.
   * @param {boolean} avatar true: an avatar is chosen, and the server has its portrait
   * @returns {string} "" as long as the server's own choice is not known
   */
  wanted(avatar) {
    return (avatar && this.#best(this.#engines.avatars)) || this.#best(this.#engines.cameras, this.#default);
  }

  /** Tells whether the server must be asked: it begins with its default by itself. @param {string} wanted @returns {boolean} */
  mustSend(wanted) {
    if (wanted && wanted !== this.#default) this.#sent = true;
    return Boolean(wanted) && this.#sent;
  }

  /** @param {EngineInfo[]} engines @param {...string} more preferred after those of the caller @returns {string} */
  #best(engines, ...more) {
    const usable = engines.filter(({ name, available }) => available && !this.#refused.has(name)).map(({ name }) => name);
    return [...this.preferred, ...more].find((name) => usable.includes(name)) ?? usable[0] ?? "";
  }
}
