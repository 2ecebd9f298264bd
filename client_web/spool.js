// @ts-check
// Keeps a recording while it grows: in the browser's private folder on this machine's disk, so that an hour needs no memory, or in
// memory where a browser has no such folder.

const FOLDER = "recordings";
/** What a crashed page left behind is removed when it is this old; what a page still uses is locked. */
const LEFTOVER_MS = 10 * 60 * 1000;

/** @param {string} name */
const lockOf = (name) => `relight.${FOLDER}.${name}`;

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
  /** @type {Blob[]} */
  #parts = [];
  /** @type {FileSystemDirectoryHandle | null} */
  #folder = null;
  /** @type {FileSystemFileHandle | null} */
  #file = null;
  /** @type {FileSystemWritableFileStream | null} */
  #writer = null;
  #unlock = () => {};
  #writes = Promise.resolve();

  /** Opens an empty spool. @param {string} name of the file in the folder; not one that is in use @returns {Promise<Spool>} */
  static async open(name) {
    const spool = new Spool();
    try {
      spool.#folder = await openFolder();
      spool.#file = await spool.#folder.getFileHandle(name, { create: true });
      spool.#writer = await spool.#file.createWritable();
      navigator.locks.request(lockOf(name), () => new Promise((unlock) => (spool.#unlock = () => unlock(null)))).catch(() => {});
    } catch {
      spool.#writer = null; // Firefox's private windows, Safari before 26: memory it is
    }
    return spool;
  }

  /** Appends a part. @param {Blob} part @returns {Promise<void>} rejects where the disk is full; what came before is kept */
  async write(part) {
    const writer = this.#writer;
    if (!writer) this.#parts.push(part);
    else await (this.#writes = this.#writes.then(() => writer.write(part)));
  }

  /** Ends the recording. @param {string} type MIME @returns {Promise<Blob>} all parts; on disk where the spool is */
  async finish(type) {
    if (!this.#writer || !this.#file) return new Blob(this.#parts, { type });
    await this.#writes.catch(() => {});
    await this.#writer.close();
    return (await this.#file.getFile()).slice(0, undefined, type);
  }

  /** Removes the recording from the folder and from memory. @returns {Promise<void>} */
  async discard() {
    this.#parts = [];
    try {
      if (this.#folder && this.#file) await this.#folder.removeEntry(this.#file.name);
    } catch {
      // It is gone already, or still being read: the next page removes it.
    }
    this.#unlock();
  }
}
