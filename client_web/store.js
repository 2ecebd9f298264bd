// @ts-check
// Holds the participant's choices in one place: the controls write them here, the picture and the server follow.
// They are kept in localStorage, so that a reload or a lost connection changes nothing.

/** @typedef {import("./light_math.js").Adjust} Adjust */
/** @typedef {{name: string, title: string, description?: string, lighting: import("./shade.js").Lighting}} Light */
/**
 * @typedef {object} Choices
 * @property {string} light name of a preset or of a copied light
 * @property {Adjust} adjust
 * @property {number} strength
 * @property {{mode: "auto" | "keep" | "dim" | "lit", gain: number}} background auto: the light's own
 * @property {{hint: boolean, split: number | null}} view
 * @property {{camera: boolean, sample: boolean}} mirror of each source
 * @property {boolean} paused
 * @property {"me" | "avatar"} who
 * @property {string} engine of one's own picture; empty: the server's own choice
 * @property {string} avatarEngine empty: the best that runs here
 * @property {string} quality of an avatar that has presets; empty: the server's own choice
 * @property {boolean} staggered
 * @property {"" | "sample"} portrait only that it was the sample may be remembered
 * @property {"camera" | "sample"} source opened next time
 * @property {string} device deviceId of the camera; empty: the browser's choice
 * @property {string} microphone deviceId; empty: the browser's choice. It is opened only when asked for
 * @property {"480p" | "720p"} size
 * @property {"auto" | "light" | "dark"} theme
 * @property {Light[]} copied
 */

const KEY = "relight.choices.1";

/** @type {Choices} */
const DEFAULTS = {
  light: "",
  adjust: {},
  strength: 1,
  background: { mode: "auto", gain: 0.7 },
  view: { hint: false, split: null },
  mirror: { camera: true, sample: false },
  paused: false,
  who: "me",
  engine: "",
  avatarEngine: "",
  quality: "",
  staggered: false,
  portrait: "",
  source: "camera",
  device: "",
  microphone: "",
  size: "480p",
  theme: "auto",
  copied: [],
};

/** Loads the stored choices; a value of another type, which an older page wrote, falls back to its default. @returns {Choices} */
function loadChoices() {
  const choices = structuredClone(DEFAULTS);
  try {
    const saved = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    for (const key of /** @type {(keyof Choices)[]} */ (Object.keys(DEFAULTS))) {
      const value = saved[key];
      const same = typeof value === typeof DEFAULTS[key] && Array.isArray(value) === Array.isArray(DEFAULTS[key]);
      if (same && value !== null) Object.assign(choices, { [key]: value });
    }
  } catch {
    // Storage is refused (private window) or broken: the defaults are used.
  }
  choices.paused = false;
  return choices;
}

export class Store {
  /** @type {Choices} */
  #choices = loadChoices();
  /** @type {Set<(choices: Choices, changed: Set<keyof Choices>) => void>} */
  #listeners = new Set();
  #saving = 0;

  /** @returns {Readonly<Choices>} */
  get now() {
    return this.#choices;
  }

  /** Changes some choices, and calls the listeners where anything is new. @param {Partial<Choices>} patch @returns {void} */
  set(patch) {
    const changed = /** @type {Set<keyof Choices>} */ (
      new Set(
        Object.keys(patch).filter(
          (key) =>
            JSON.stringify(Reflect.get(patch, key)) !== JSON.stringify(Reflect.get(this.#choices, key)),
        ),
      )
    );
    if (!changed.size) return;
    this.#choices = { ...this.#choices, ...patch };
    clearTimeout(this.#saving);
    this.#saving = window.setTimeout(() => this.save(), 150); // a drag writes once, not sixty times a second
    for (const listener of this.#listeners) listener(this.#choices, changed);
  }

  /** @param {(choices: Choices, changed: Set<keyof Choices>) => void} listener called now and after every change @returns {void} */
  subscribe(listener) {
    this.#listeners.add(listener);
    listener(this.#choices, new Set(/** @type {(keyof Choices)[]} */ (Object.keys(this.#choices))));
  }

  /** Writes the choices to localStorage at once. @returns {void} */
  save() {
    clearTimeout(this.#saving);
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#choices));
    } catch {
      // Storage is refused: the choices live as long as the page.
    }
  }
}
