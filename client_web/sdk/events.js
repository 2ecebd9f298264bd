// @ts-check
// Listeners by the name of their event.

/** Kept for a listener that never comes, there are at most so many: the newest, since an hour without a server tells a lot. */
const MOST_KEPT = 16;

export class Events {
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map();
  /** What happened before anybody could listen: what is wrong with a stream is known before relight() resolves. @type {Map<string, unknown[]>} */
  #kept;

  /** @param {string[]} kept names of the events whose first listener gets those before it */
  constructor(kept) {
    this.#kept = new Map(kept.map((name) => [name, []]));
  }

  /** @param {string} name @param {(detail: any) => void} listener @returns {() => void} takes the listener off */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    for (const detail of this.#kept.get(name) ?? []) queueMicrotask(() => listener(detail));
    this.#kept.delete(name);
    return () => void listeners.delete(listener);
  }

  /** Calls the listeners; one that throws is reported and does not stop the others. @param {string} name @param {unknown} detail */
  emit(name, detail) {
    const kept = this.#kept.get(name);
    if (kept && kept.push(detail) > MOST_KEPT) kept.shift();
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        reportError(error);
      }
    }
  }
}
