// @ts-check
// Copies the light of a photo or of an HDRI, which is picked here, dropped or pasted (drops.js).

import { find } from "./dom.js";
import { Refused } from "./sdk/protocol.js";

/** @typedef {import("./sdk/relight.js").Relit} Relit */
/** @typedef {import("./shade.js").Lighting} Lighting */

const PANORAMA_TOLERANCE = 0.06; // how far from 2:1 an equirectangular picture may be
const PHOTOS = /\.(jpe?g|png|webp)$/i;
const ENVIRONMENTS = /\.(hdr|exr)$/i;

/**
 * Tells what a file is.
 * @param {File} file @returns {Promise<"photo" | "hdri" | null>} null: the participant cancelled; rejects with Refused
 */
async function kindOf(file) {
  if (ENVIRONMENTS.test(file.name)) return "hdri";
  if (!PHOTOS.test(file.name) && !file.type.startsWith("image/"))
    throw new Refused({
      code: "not_a_picture",
      message: `${file.name || "This"} is not a picture`,
      hint: "Use a photo (JPEG, PNG, WebP) or an HDRI (.hdr, .exr).",
    });
  const picture = await createImageBitmap(file).catch(() => null);
  const isWide = picture && Math.abs(picture.width / picture.height - 2) < 2 * PANORAMA_TOLERANCE;
  picture?.close();
  return isWide ? ask() : "photo";
}

/** Asks the participant what a picture of 2:1 is, because it may be either. @returns {Promise<"photo" | "hdri" | null>} */
function ask() {
  const dialog = /** @type {HTMLDialogElement} */ (find("#panorama-dialog"));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener(
      "close",
      () => resolve(/** @type {"photo" | "hdri" | ""} */ (dialog.returnValue) || null),
      { once: true },
    ),
  );
}

/**
 * Sends a file to the server, which estimates its light.
 * @param {Relit} relit @param {File} file @param {"photo" | "hdri"} kind @returns {Promise<Lighting>} rejects with Refused
 */
async function upload(relit, file, kind) {
  const body = new FormData();
  body.append("file", file, file.name);
  const response = await relit.fetch(`api/lights/from-${kind}`, { method: "POST", body }).catch(() => null);
  if (!response)
    throw new Refused({ code: "offline", message: "The server cannot be reached", hint: "Try again once the picture is live." });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused({ code: "upload", message: `The server refused the file (${response.status})`, ...answer });
  return answer.lighting;
}

/**
 * Makes the button and the file picker work.
 * @param {Relit} relit
 * @param {object} on
 * @param {(lighting: Lighting, title: string) => void} on.light
 * @param {(error: unknown) => void} on.error
 * @returns {(file: File) => Promise<void>} takes a file that was dropped or pasted; never rejects
 */
export function acceptLights(relit, on) {
  const button = find("#copy-light");
  const picker = /** @type {HTMLInputElement} */ (find("#copy-file"));

  /** @param {File} file */
  async function take(file) {
    try {
      const kind = await kindOf(file);
      if (!kind) return;
      button.setAttribute("aria-busy", "true");
      on.light(await upload(relit, file, kind), file.name.replace(/\.[^.]+$/, "").slice(0, 40) || "Copied light");
    } catch (error) {
      on.error(error);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  button.addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    const [file] = picker.files ?? [];
    if (file) take(file);
    picker.value = "";
  });
  return take;
}
