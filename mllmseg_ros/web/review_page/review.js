// SPDX-License-Identifier: Apache-2.0
// The review page: one entry at a time, decided with a key. Text from outside is always text.

import { Polygons } from "./polygon.js";

const find = (id) => document.getElementById(id);
const canvas = find("picture");
const context = canvas.getContext("2d");

let entries = [];
let counts = {};
let current = null; // the entry that is shown
let picture = null;
let mask = null;
let polygons = null; // while drawing
let hidden = false;
let busy = false;

const isOpen = (entry) => entry.review === "sure" || entry.review === "unsure";
const shown = {
  open: isOpen,
  unsure: (entry) => entry.review === "unsure",
  accepted: (entry) => entry.review === "accepted",
  rejected: (entry) => entry.review === "rejected",
  all: () => true,
};

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function complain(error) {
  find("problem").textContent = error ? String(error.message || error) : "";
  find("problem").hidden = !error;
}

function loaded(path) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error(`${path} cannot be shown`));
    image.src = path;
  });
}

async function show(entry) {
  stopDrawing();
  current = entry;
  picture = mask = null;
  find("draw").disabled = true;
  describe();
  if (!entry) return draw();
  try {
    // A redrawn mask has the same name as the one before it.
    const found = await Promise.all([
      loaded(`picture/${entry.number}`), loaded(`mask/${entry.number}?${Date.now()}`),
    ]);
    if (current !== entry) return;
    [picture, mask] = found;
    complain(null);
  } catch (error) {
    complain(error);
  }
  draw();
}

function draw() {
  find("draw").disabled = !picture;
  if (!picture) return context.clearRect(0, 0, canvas.width, canvas.height);
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
    document.documentElement.style.setProperty("--aspect", picture.width / picture.height);
  }
  context.drawImage(picture, 0, 0);
  if (polygons) polygons.draw(context, scale());
  else if (mask && !hidden && current.there) context.drawImage(mask, 0, 0);
}

function scale() {
  return canvas.width / canvas.getBoundingClientRect().width;
}

function describe() {
  const done = (counts.accepted || 0) + (counts.rejected || 0);
  find("progress").value = entries.length ? done / entries.length : 1;
  find("counts").textContent =
    `${done} of ${entries.length} looked at: ${counts.accepted} accepted, ${counts.rejected} rejected; `
    + `${counts.unsure} unsure and ${counts.sure} sure left`;
  find("expression").textContent = current ? current.expression : "Nothing left to look at here.";
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
  find("others").replaceChildren(...entries.filter((e) => current && e.image === current.image).map(other));
  for (const name of ["accept", "reject", "absent", "hide"]) find(name).disabled = !current;
  hint();
}

function other(entry) {
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

function hint() {
  find("hint").textContent = polygons
    ? "Click corners; on the first one closes and begins another. Enter saves, Backspace takes one back, Esc leaves."
    : "";
  document.body.classList.toggle("drawing", Boolean(polygons));
}

/** The next entry of those chosen, from the current one on; `step` is 1 or -1. */
function neighbour(step) {
  const wanted = shown[find("show").value];
  const from = current ? entries.indexOf(current) : -1;
  for (let k = 1; k <= entries.length; k += 1) {
    const entry = entries[(from + step * k + entries.length * 2) % entries.length];
    if (wanted(entry)) return entry;
  }
  return current && wanted(current) ? current : null;
}

function take(answer) {
  counts = answer.counts;
  if (!answer.entry) return null;
  const entry = entries.find((each) => each.number === answer.entry.number);
  return Object.assign(entry, answer.entry);
}

async function decide(body) {
  if (!current || busy) return;
  busy = true;
  try {
    take(await ask(`entry/${current.number}`, body));
    complain(null);
    show(neighbour(1)); // not waited for: the next key may come before the picture
  } catch (error) {
    complain(error);
  } finally {
    busy = false;
  }
}

async function undo() {
  if (busy) return;
  busy = true;
  try {
    const entry = take(await ask("undo", {}));
    if (entry) show(entry);
    else complain("nothing to undo");
  } catch (error) {
    complain(error);
  } finally {
    busy = false;
  }
}

function startDrawing() {
  if (!current || !picture) return;
  polygons = new Polygons();
  hint();
  draw();
}

function stopDrawing() {
  polygons = null;
  hint();
}

function save() {
  const lists = polygons.toLists();
  if (lists.length) decide({ do: "redraw", polygons: lists });
  else complain("a polygon needs three corners");
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * canvas.width;
  const y = ((event.clientY - box.top) / box.height) * canvas.height;
  return [Math.min(Math.max(x, 0), canvas.width), Math.min(Math.max(y, 0), canvas.height)];
}

canvas.addEventListener("pointerdown", (event) => {
  if (!polygons || event.button) return;
  polygons.add(place(event), scale());
  draw();
});
canvas.addEventListener("pointermove", (event) => {
  if (!polygons) return;
  polygons.pointer = place(event);
  draw();
});

const actions = {
  accept: () => decide({ do: "accept" }),
  reject: () => decide({ do: "reject" }),
  draw: () => (polygons ? (stopDrawing(), draw()) : startDrawing()),
  absent: () => decide({ do: "redraw", polygons: [] }),
  undo,
  hide: () => {
    hidden = !hidden;
    find("hide").setAttribute("aria-pressed", hidden);
    draw();
  },
  back: () => show(neighbour(-1)),
  next: () => show(neighbour(1)),
};
const keys = {
  a: "accept", r: "reject", d: "draw", n: "absent", u: "undo", h: "hide", ArrowLeft: "back", ArrowRight: "next",
};
for (const [name, action] of Object.entries(actions)) find(name).onclick = action;

document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "SELECT" || event.altKey || event.metaKey) return;
  if (event.ctrlKey) {
    if (event.key === "z") undo();
    return;
  }
  if (polygons && event.key === "Enter") save();
  else if (polygons && event.key === "Backspace") polygons.removeLast(), draw();
  else if (polygons && event.key === "Escape") stopDrawing(), draw();
  else if (keys[event.key]) actions[keys[event.key]]();
  else return;
  event.preventDefault();
});
find("show").onchange = () => show(neighbour(1));

try {
  const answer = await ask("entries");
  ({ entries, counts } = answer);
  find("name").textContent = answer.name;
  await show(neighbour(1));
} catch (error) {
  complain(error);
}
