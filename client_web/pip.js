// @ts-check
// Floats the relit picture over other windows: the browser's picture-in-picture.

import { toggle } from "./controls.js";

/**
 * Gives a button the picture-in-picture of a video; hides it where the browser has none.
 * @param {string} selector of the button @param {HTMLVideoElement} video @param {(error: unknown) => void} onError @returns {void}
 */
export function offerPictureInPicture(selector, video, onError) {
  const button = toggle(selector, async (on) => {
    try {
      if (on) await video.requestPictureInPicture();
      else await document.exitPictureInPicture();
    } catch (error) {
      const early = error instanceof DOMException && error.name === "InvalidStateError";
      const message = early ? "There is no relit picture yet" : "The picture cannot float here";
      const hint = early ? "Wait until the picture is live, then try again." : "The browser or a setting of it forbids picture-in-picture.";
      onError(Object.assign(new Error(message), { code: "no_pip", hint }));
    }
  });
  const element = /** @type {HTMLButtonElement} */ (document.querySelector(selector));
  element.hidden = !document.pictureInPictureEnabled;
  video.addEventListener("enterpictureinpicture", () => button.show(true));
  video.addEventListener("leavepictureinpicture", () => button.show(false));
}
