// SPDX-License-Identifier: Apache-2.0
// Polygons drawn with the mouse or a finger, in image pixels.

const CLOSE_PX = 16; // on the screen: a click or tap this close to the first corner closes the polygon

export class Polygons {
  constructor() {
    this.done = [];
    this.open = [];
    this.pointer = null;
  }

  /** Add a corner [x, y]; `scale` is image pixels per screen pixel. */
  add(corner, scale) {
    const [first] = this.open;
    if (this.open.length >= 3 && distance(first, corner) < CLOSE_PX * scale) this.close();
    else this.open.push(corner);
  }

  close() {
    if (this.open.length >= 3) this.done.push(this.open);
    this.open = [];
  }

  removeLast() {
    if (this.open.length) this.open.pop();
    else if (this.done.length) this.open = this.done.pop();
  }

  /** Get all polygons as [x0, y0, x1, y1, …], including an open one with three or more corners. */
  toLists() {
    const all = this.open.length >= 3 ? [...this.done, this.open] : this.done;
    return all.map((polygon) => polygon.flat());
  }

  draw(context, scale) {
    context.lineWidth = 2 * scale;
    context.strokeStyle = "#ffa028";
    for (const polygon of [...this.done, this.open]) {
      if (!polygon.length) continue;
      const isOpen = polygon === this.open;
      context.beginPath();
      polygon.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
      if (isOpen && this.pointer) context.lineTo(...this.pointer);
      if (!isOpen) context.closePath();
      context.fillStyle = "#ffa02826";
      context.fill();
      context.stroke();
      context.fillStyle = "#fff";
      for (const [x, y] of polygon) {
        context.beginPath();
        context.arc(x, y, 3.5 * scale, 0, 2 * Math.PI);
        context.fill();
        context.stroke();
      }
    }
  }
}

function distance([ax, ay], [bx, by]) {
  return Math.hypot(ax - bx, ay - by);
}
