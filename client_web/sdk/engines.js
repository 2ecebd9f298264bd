// @ts-check
// The engines a server offers, as its welcome lists them. No engine is known by name here: what is needed to know of one
// stands in its entry, and the order of the entries is the server's order of preference.

/** @typedef {import("./relight.js").EngineInfo} EngineInfo */

/** An avatar's title reads "Avatar (LCVD)"; where it is plain that an avatar is meant, the part in brackets is enough. */
const AVATAR_TITLE = /^Avatar \((.+)\)$/;

/** @param {EngineInfo} engine @returns {boolean} */
const showsAvatar = (engine) => engine.shows_avatar;

export class EngineList {
  /** @type {readonly EngineInfo[]} */
  #engines = [];

  /** Replaces the list by that of a new session. @param {readonly EngineInfo[]} engines @returns {void} */
  replace(engines) {
    this.#engines = engines;
  }

  /** True until the first welcome. @returns {boolean} */
  get empty() {
    return !this.#engines.length;
  }

  /** Engines that show the camera's picture, in the server's order. @returns {EngineInfo[]} */
  get cameras() {
    return this.#engines.filter((engine) => !showsAvatar(engine));
  }

  /**
   * Engines that show an avatar in place of the person. Those with quality presets come before the quick previews; among equals
   * the server's order stays.
   * @returns {EngineInfo[]}
   */
  get avatars() {
    const avatars = this.#engines.filter(showsAvatar);
    return avatars.sort((a, b) => Number(this.hasQualities(b.name)) - Number(this.hasQualities(a.name)));
  }

  /** Tells whether an engine shows an avatar. @param {string} name @returns {boolean} false for an engine that is not listed */
  isAvatar(name) {
    return this.#engines.some((engine) => engine.name === name && showsAvatar(engine));
  }

  /**
   * Tells whether an engine has the quality presets of GET api/avatar and obeys `set_avatar`.
   * @param {string} name @returns {boolean} false for an engine that is not listed
   */
  hasQualities(name) {
    return this.#engines.some((engine) => engine.name === name && engine.has_qualities);
  }

  /**
   * Title of an avatar engine, short enough for the picture.
   * @param {string} name @returns {string | undefined} undefined for every other name
   */
  avatarTitle(name) {
    const engine = this.#engines.find((each) => each.name === name && showsAvatar(each));
    return engine && (AVATAR_TITLE.exec(engine.title)?.[1] ?? engine.title);
  }
}
