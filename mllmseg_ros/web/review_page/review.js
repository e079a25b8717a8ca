// SPDX-License-Identifier: Apache-2.0
// The review page: shows one entry at a time. Text from outside is set as text, never as HTML.

import { Polygons } from "./polygon.js";

const find = (id) => document.getElementById(id);
const canvas = find("canvas");
const context = canvas.getContext("2d");

let entries = [];
let counts = {};
let current = null; // the current entry
let image = null;
let mask = null;
let polygons = null; // while drawing
let choosing = false; // the piece of the mask to keep
let hidden = false;
let busy = false;

const isOpen = (entry) => entry.review === "sure" || entry.review === "unsure";
const filters = {
  open: isOpen,
  unsure: (entry) => entry.review === "unsure",
  accepted: (entry) => entry.review === "accepted",
  rejected: (entry) => entry.review === "rejected",
  all: () => true,
};

async function request(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const reply = await fetch(path, options);
  if (!reply.ok) throw Object.assign(new Error(await reply.text()), { status: reply.status });
  return reply.json();
}

/** Get all entries, and show the next one of the selected view. */
async function load() {
  const reply = await request("entries");
  ({ entries, counts } = reply);
  find("name").textContent = reply.name;
  find("unusable").hidden = !reply.n_problems;
  find("unusable").querySelector("summary").textContent =
    `Lines that cannot be used, and are left as they are: ${reply.n_problems}`;
  find("unusable").querySelector("ul").replaceChildren(...reply.problems.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
  current = null;
  await show(findNext(1));
}

/** Show why a change failed. Where another program has changed the file, numbers are others now. */
async function showFailure(error) {
  try {
    if (error.status === 409) {
      const [before, drawn] = [current, polygons];
      await load();
      const same = entries.find((e) => e.image === before.image && e.expression === before.expression);
      if (same) await show(same);
      if (same && drawn) {
        polygons = drawn;
        updateHint();
        draw();
      }
    }
    showProblem(error);
  } catch (another) {
    showProblem(another);
  }
}

function showProblem(error) {
  find("problem").textContent = error ? String(error.message || error) : "";
  find("problem").hidden = !error;
}

function loadImage(path) {
  return new Promise((resolve, reject) => {
    const loading = new Image();
    loading.onload = () => resolve(loading);
    loading.onerror = () => reject(new Error(`${path} cannot be loaded`));
    loading.src = path;
  });
}

async function show(entry) {
  stopDrawing();
  current = entry;
  image = mask = null;
  find("draw").disabled = find("keep").disabled = true;
  describe();
  if (!entry) return draw();
  try {
    // The query string avoids caching: a redrawn mask has the same URL.
    const loadedImages = await Promise.all([
      loadImage(`picture/${entry.number}`), loadImage(`mask/${entry.number}?${Date.now()}`),
    ]);
    if (current !== entry) return;
    [image, mask] = loadedImages;
    showProblem(null);
  } catch (error) {
    showProblem(error);
  }
  draw();
}

function draw() {
  find("draw").disabled = !image;
  find("keep").disabled = !image || !current.there;
  if (!image) return context.clearRect(0, 0, canvas.width, canvas.height);
  if (canvas.width !== image.width || canvas.height !== image.height) {
    canvas.width = image.width;
    canvas.height = image.height;
    document.documentElement.style.setProperty("--aspect", image.width / image.height);
  }
  context.drawImage(image, 0, 0);
  if (polygons) polygons.draw(context, scale());
  else if (mask && (!hidden || choosing) && current.there) context.drawImage(mask, 0, 0);
}

function scale() {
  return canvas.width / canvas.getBoundingClientRect().width;
}

function describe() {
  const done = (counts.accepted || 0) + (counts.rejected || 0);
  find("progress").value = entries.length ? done / entries.length : 1;
  find("counts").textContent =
    `${done} of ${entries.length} reviewed: ${counts.accepted} accepted, ${counts.rejected} rejected; `
    + `${counts.unsure} unsure and ${counts.sure} sure left`;
  find("expression").textContent = current ? current.expression : "No entry left in this view.";
  find("place").textContent = current ? `${current.recording} · ${current.image}` : "";
  const facts = current ? [
    [current.review, current.review],
    [current.there ? "" : "absent", current.there ? "there" : "not there"],
    ...(current.score === null ? [] : [["", `score ${current.score.toFixed(2)}`]]),
    ...(current.mask_score && current.there ? [["", `mask ${current.mask_score.toFixed(2)}`]] : []),
  ] : [];
  find("facts").replaceChildren(...facts.map(([kind, text]) => {
    const pill = document.createElement("span");
    pill.className = `pill ${kind}`;
    pill.textContent = text;
    return pill;
  }));
  canvas.setAttribute("aria-label", current ? `${current.expression}, ${current.review}` : "");
  find("others").replaceChildren(
    ...entries.filter((entry) => current && entry.image === current.image).map(createItem),
  );
  for (const name of ["accept", "reject", "absent", "hide"]) find(name).disabled = !current;
  updateHint();
}

function createItem(entry) {
  const button = document.createElement("button");
  const state = document.createElement("span");
  state.textContent = entry.review;
  state.className = entry.review;
  button.type = "button";
  button.append(entry.expression, state);
  button.setAttribute("aria-current", entry === current);
  button.onclick = () => show(entry);
  const item = document.createElement("li");
  item.append(button);
  return item;
}

function updateHint() {
  find("hint").textContent = polygons
    ? "Click or tap the corners of the object, then the first corner to close the polygon; another polygon may follow."
    : choosing ? "Click or tap the piece of the mask to keep: the other pieces are removed." : "";
  find("save").hidden = find("remove").hidden = !polygons;
  document.body.classList.toggle("drawing", Boolean(polygons || choosing));
}

/** Find the next entry of the selected view; `step` is 1 or -1. */
function findNext(step) {
  const isSelected = filters[find("show").value];
  const from = current ? entries.indexOf(current) : -1;
  for (let k = 1; k <= entries.length; k += 1) {
    const entry = entries[(from + step * k + entries.length * 2) % entries.length];
    if (isSelected(entry)) return entry;
  }
  return current && isSelected(current) ? current : null;
}

function update(reply) {
  counts = reply.counts;
  if (!reply.entry) return null;
  const entry = entries.find((each) => each.number === reply.entry.number);
  return Object.assign(entry, reply.entry);
}

async function decide(body) {
  if (!current || busy) return;
  busy = true;
  try {
    update(await request(`entry/${current.number}`, body));
    showProblem(null);
    show(findNext(1)); // not awaited: keys work before the image is loaded
  } catch (error) {
    await showFailure(error);
  } finally {
    busy = false;
  }
}

async function undo() {
  if (busy) return;
  busy = true;
  try {
    const entry = update(await request("undo", {}));
    if (entry) show(entry);
    else showProblem("nothing to undo");
  } catch (error) {
    await showFailure(error);
  } finally {
    busy = false;
  }
}

function startDrawing() {
  if (!current || !image) return;
  [polygons, choosing] = [new Polygons(), false];
  updateHint();
  draw();
}

function startChoosing() {
  if (!current || !image || !current.there) return;
  [polygons, choosing] = [null, true];
  updateHint();
  draw();
}

function stopDrawing() {
  [polygons, choosing] = [null, false];
  updateHint();
}

function save() {
  const lists = polygons.toLists();
  if (lists.length) decide({ do: "redraw", polygons: lists });
  else showProblem("a polygon needs three corners");
}

function toImagePixels(event) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * canvas.width;
  const y = ((event.clientY - box.top) / box.height) * canvas.height;
  return [Math.min(Math.max(x, 0), canvas.width), Math.min(Math.max(y, 0), canvas.height)];
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  if (choosing) return decide({ do: "keep", uv: toImagePixels(event) });
  if (!polygons) return;
  polygons.add(toImagePixels(event), scale());
  draw();
});
canvas.addEventListener("pointermove", (event) => {
  if (!polygons) return;
  polygons.pointer = toImagePixels(event);
  draw();
});

const actions = {
  accept: () => decide({ do: "accept" }),
  reject: () => decide({ do: "reject" }),
  draw: () => (polygons ? (stopDrawing(), draw()) : startDrawing()),
  keep: () => (choosing ? (stopDrawing(), draw()) : startChoosing()),
  save: () => polygons && save(),
  remove: () => polygons && (polygons.removeLast(), draw()),
  cancel: () => (stopDrawing(), draw()),
  absent: () => decide({ do: "redraw", polygons: [] }),
  undo,
  hide: () => {
    hidden = !hidden;
    find("hide").setAttribute("aria-pressed", hidden);
    draw();
  },
  back: () => show(findNext(-1)),
  next: () => show(findNext(1)),
};
const keys = {
  a: "accept", r: "reject", d: "draw", k: "keep", n: "absent", u: "undo", h: "hide", ArrowLeft: "back", ArrowRight: "next",
};
for (const [name, action] of Object.entries(actions)) find(name).onclick = action;

document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "SELECT" || event.altKey || event.metaKey) return;
  if (event.ctrlKey) {
    if (event.key === "z") undo();
    return;
  }
  if (polygons && event.key === "Enter") save();
  else if (polygons && event.key === "Backspace") actions.remove();
  else if ((polygons || choosing) && event.key === "Escape") actions.cancel();
  else if (keys[event.key]) actions[keys[event.key]]();
  else return;
  event.preventDefault();
});
find("show").onchange = () => show(findNext(1));

try {
  await load();
} catch (error) {
  showProblem(error);
}
