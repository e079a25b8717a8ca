// SPDX-License-Identifier: Apache-2.0
// The live picture: drawn as it comes, clicked at in the image's pixels, one thing in it marked.

import { find } from "./dom.js";

const LATE_MS = 3000; // without a picture

export class PictureView {
  #canvas = find("picture");
  #mark = find("mark");
  #badge = find("badge");
  #size = null; // [height, width] of the image in pixels, which the picture may be smaller than
  #shown = 0;
  #isConnected = false;
  #kind = "live";

  /** onClick: called with [u, v] in the image's pixels. */
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
    setInterval(() => this.#tell(), 500);
  }

  async show(head, jpeg) {
    const bitmap = await createImageBitmap(jpeg);
    if (this.#canvas.width !== bitmap.width || this.#canvas.height !== bitmap.height) {
      this.#canvas.width = bitmap.width;
      this.#canvas.height = bitmap.height;
      find("frame").style.setProperty("--aspect", bitmap.width / bitmap.height);
    }
    this.#canvas.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
    bitmap.close();
    this.#shown = performance.now();
    this.#kind = head.is_overlay ? "overlay" : "live";
    this.#canvas.dataset.stamp = head.stamp_ns;
    const age = Math.round(head.age_ms);
    find("age").textContent = age >= 0 && age < 60000 ? `${age} ms` : "";
    this.#tell();
  }

  /** Take the image's size from an answer. */
  setSize(answer) {
    this.#size = answer?.size_hw[0] ? answer.size_hw : null;
    const names = (answer?.entries ?? []).filter((each) => each.status === "found").map((each) => each.expression);
    this.#canvas.setAttribute("aria-label", names.length
      ? `Live picture of the camera; marked: ${names.join(", ")}`
      : "Live picture of the camera");
  }

  setConnected(isConnected) {
    this.#isConnected = isConnected;
    this.#tell();
  }

  clear() {
    this.#shown = 0;
    this.#tell();
  }

  /** Frame one entry of the answer, or none. */
  mark(entry) {
    const box = entry?.box;
    this.#mark.hidden = !box || !this.#size;
    if (this.#mark.hidden) return;
    const [height, width] = this.#size;
    const style = this.#mark.style;
    // The picture may leave bars at the sides of its frame.
    const outer = this.#canvas.getBoundingClientRect();
    const scale = Math.min(outer.width / width, outer.height / height);
    const left = (outer.width - scale * width) / 2;
    const top = (outer.height - scale * height) / 2;
    style.left = `${left + scale * box[0] - 4}px`;
    style.top = `${top + scale * box[1] - 4}px`;
    style.width = `${scale * (box[2] - box[0]) + 8}px`;
    style.height = `${scale * (box[3] - box[1]) + 8}px`;
  }

  #tell() {
    const isLate = performance.now() - this.#shown > LATE_MS;
    const kind = !this.#isConnected ? "lost" : !this.#shown || isLate ? "wait" : this.#kind;
    this.#badge.dataset.kind = kind;
    this.#badge.textContent = {
      lost: "connection lost, trying again",
      wait: "waiting for a picture",
      live: "live",
      overlay: "answering",
    }[kind];
    if (kind !== "live" && kind !== "overlay") find("age").textContent = "";
  }
}
