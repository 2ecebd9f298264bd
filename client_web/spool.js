// @ts-check
// Keeps a recording while it grows: in the browser's private folder on this machine's disk, so that an hour needs no memory, or in
// memory where a browser has no such folder.

const FOLDER = "recordings";
/** Of each file but the last part, which stays in memory; about a minute. */
const FILE_BYTES = 16 * 1024 * 1024;
/** What a crashed page left behind is removed when it is this old; what a page still uses is locked. */
const LEFTOVER_MS = 10 * 60 * 1000;

/** @param {string} name of a recording or of one of its files */
const lockOf = (name) => `relight.${FOLDER}.${name.split(".")[0]}`;

/** Opens the folder; rejects where the browser has none. @returns {Promise<FileSystemDirectoryHandle>} */
async function openFolder() {
  const root = await navigator.storage.getDirectory();
  return root.getDirectoryHandle(FOLDER, { create: true });
}

/** Removes what earlier pages left behind. @returns {Promise<void>} */
export async function removeLeftovers() {
  try {
    const folder = await openFolder();
    for await (const [name, handle] of folder.entries()) {
      const { lastModified } = await /** @type {FileSystemFileHandle} */ (handle).getFile();
      if (Date.now() - lastModified < LEFTOVER_MS) continue;
      await navigator.locks.request(lockOf(name), { ifAvailable: true }, (lock) => lock && folder.removeEntry(name));
    }
  } catch {
    // No such folder in this browser, or another page is removing the same file.
  }
}

export class Spool {
  /** What is not on disk yet, or could not be written. @type {Blob[]} */
  #parts = [];
  #bytes = 0;
  /** @type {FileSystemFileHandle[]} */
  #files = [];
  /** @type {FileSystemDirectoryHandle | null} */
  #folder = null;
  #id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  #unlock = () => {};
  #writes = Promise.resolve();

  /** Opens an empty spool. @returns {Promise<Spool>} */
  static async open() {
    const spool = new Spool();
    try {
      spool.#folder = await openFolder();
      navigator.locks.request(lockOf(spool.#id), () => new Promise((unlock) => (spool.#unlock = () => unlock(null)))).catch(() => {});
    } catch {
      // A page without https, Firefox's private windows, old Safari: memory it is.
    }
    return spool;
  }

  /** Appends a part. @param {Blob} part @returns {Promise<void>} rejects where the disk is full; nothing is lost */
  async write(part) {
    this.#parts.push(part);
    this.#bytes += part.size;
    if (this.#folder) await (this.#writes = this.#writes.catch(() => {}).then(() => this.#flush()));
  }

  /** Moves what is in memory into a file of its own, once it is enough: a file that is open for an hour would be lost whole. */
  async #flush() {
    if (this.#bytes < FILE_BYTES || !this.#folder) return;
    const parts = this.#parts.splice(0);
    this.#bytes = 0;
    const name = `${this.#id}.${this.#files.length}`;
    try {
      const file = await this.#folder.getFileHandle(name, { create: true });
      const writer = await file.createWritable();
      await writer.write(new Blob(parts));
      await writer.close();
      this.#files.push(file);
    } catch (error) {
      this.#parts.unshift(...parts);
      await this.#folder.removeEntry(name).catch(() => {});
      this.#folder = null;
      throw error;
    }
  }

  /** Ends the recording. @param {string} type MIME @returns {Promise<Blob>} all parts, in their files and from memory */
  async finish(type) {
    await this.#writes.catch(() => {});
    const files = await Promise.all(this.#files.map((file) => file.getFile()));
    return new Blob([...files, ...this.#parts], { type });
  }

  /** Removes the recording from the folder and from memory. @returns {Promise<void>} */
  async discard() {
    this.#parts = [];
    try {
      const folder = this.#files.length ? await openFolder() : null;
      for (const { name } of this.#files.splice(0)) await folder?.removeEntry(name);
    } catch {
      // It is gone already, or still being read: the next page removes it.
    }
    this.#unlock();
  }
}
