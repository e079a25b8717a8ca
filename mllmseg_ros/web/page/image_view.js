// SPDX-License-Identifier: Apache-2.0
// The live image: draws new images, reports clicks in pixels, and marks an entry.

import { find } from "./dom.js";

const LATE_MS = 3000; // without an image

export class ImageView {
  #canvas = find("canvas");
  #mark = find("mark");
  #badge = find("badge");
  #size = null; // [height, width] of the original image; the one shown may be smaller
  #shownMs = 0;
  #isConnected = false;
  #kind = "live";

  /** onClick: called with [u, v] in pixels of the original image. */
  constructor(onClick) {
    this.#canvas.addEventListener("click", (event) => {
      const box = this.#canvas.getBoundingClientRect();
      const [height, width] = this.#size ?? [this.#canvas.height, this.#canvas.width];
      // object-fit: contain leaves bars on a phone.
      const scale = Math.min(box.width / width, box.height / height);
      const u = (event.clientX - box.left - (box.width - scale * width) / 2) / scale - 0.5;
      const v = (event.clientY - box.top - (box.height - scale * height) / 2) / scale - 0.5;
      if (u > -1 && v > -1 && u < width && v < height) onClick([u, v]);
    });
    setInterval(() => this.#updateBadge(), 500);
  }

  async show(header, jpeg) {
    const bitmap = await createImageBitmap(jpeg);
    if (this.#canvas.width !== bitmap.width || this.#canvas.height !== bitmap.height) {
      this.#canvas.width = bitmap.width;
      this.#canvas.height = bitmap.height;
      find("frame").style.setProperty("--aspect", bitmap.width / bitmap.height);
    }
    this.#canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
    bitmap.close();
    this.#shownMs = performance.now();
    this.#kind = header.is_overlay ? "overlay" : "live";
    this.#canvas.dataset.stamp = header.stamp_ns;
    const age = Math.round(header.age_ms);
    find("age").textContent = age >= 0 && age < 60000 ? `${age} ms` : "";
    this.#updateBadge();
  }

  /** Set the result that is shown, which has the size of the original image. */
  setResult(result) {
    this.#size = result?.size_hw[0] ? result.size_hw : null;
    const names = (result?.entries ?? []).filter((entry) => entry.status === "found").map((entry) => entry.expression);
    this.#canvas.setAttribute("aria-label", names.length
      ? `Live image of the camera; marked: ${names.join(", ")}`
      : "Live image of the camera");
  }

  setConnected(isConnected) {
    this.#isConnected = isConnected;
    this.#updateBadge();
  }

  clear() {
    this.#shownMs = 0;
    this.#updateBadge();
  }

  /** Mark one entry of the result, or none. */
  mark(entry) {
    const box = entry?.box;
    this.#mark.hidden = !box || !this.#size;
    if (this.#mark.hidden) return;
    const [height, width] = this.#size;
    const style = this.#mark.style;
    // The image may leave bars at the sides of its frame.
    const outer = this.#canvas.getBoundingClientRect();
    const scale = Math.min(outer.width / width, outer.height / height);
    const left = (outer.width - scale * width) / 2;
    const top = (outer.height - scale * height) / 2;
    style.left = `${left + scale * box[0] - 4}px`;
    style.top = `${top + scale * box[1] - 4}px`;
    style.width = `${scale * (box[2] - box[0]) + 8}px`;
    style.height = `${scale * (box[3] - box[1]) + 8}px`;
  }

  #updateBadge() {
    const isLate = performance.now() - this.#shownMs > LATE_MS;
    const kind = !this.#isConnected ? "lost" : !this.#shownMs || isLate ? "wait" : this.#kind;
    this.#badge.dataset.kind = kind;
    this.#badge.textContent = {
      lost: "connection lost, reconnecting",
      wait: "waiting for an image",
      live: "live",
      overlay: "overlay",
    }[kind];
    if (kind !== "live" && kind !== "overlay") find("age").textContent = "";
  }
}
