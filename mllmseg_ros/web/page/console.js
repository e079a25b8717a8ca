// SPDX-License-Identifier: Apache-2.0
// The console's page: connects what comes over the socket with the parts that show it.

import { Connection, request } from "./connection.js";
import { element, find } from "./dom.js";
import { PictureView } from "./picture.js";
import { AnswerPanel, HealthPanel, HistoryPanel, SettingsPanel, enlarge } from "./panels.js";
import { Talk } from "./talk.js";

const problem = find("problem");
let problemTimer = 0;

function report(text) {
  problem.textContent = text;
  problem.hidden = !text;
  clearTimeout(problemTimer);
  problemTimer = setTimeout(() => { problem.hidden = true; }, 10000);
}

async function ask(path, body) {
  try {
    return await request(path, body);
  } catch (error) {
    report(error.message);
    return null;
  }
}

// Theme

const root = document.documentElement;
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function applyTheme() {
  root.dataset.theme = localStorage.getItem("theme") ?? (prefersDark.matches ? "dark" : "light");
}

applyTheme();
prefersDark.addEventListener("change", applyTheme);
find("theme").addEventListener("click", () => {
  localStorage.setItem("theme", root.dataset.theme === "dark" ? "light" : "dark");
  applyTheme();
});

// Commands

const input = find("command");
const sent = []; // of this page, newest last
let recalled = 0; // how far back the arrow keys have gone

async function command(text) {
  input.value = "";
  recalled = 0;
  if (sent.at(-1) !== text) sent.push(text);
  report("");
  await ask("/command", { text });
}

async function stop() {
  find("stop").animate([{ transform: "scale(.96)" }, { transform: "scale(1)" }], 180);
  await ask("/stop", {});
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (input.value.trim()) command(input.value);
});
input.addEventListener("keydown", (event) => {
  const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  recalled = Math.max(0, Math.min(sent.length, recalled + step));
  input.value = recalled ? sent.at(-recalled) : "";
});
find("stop").addEventListener("click", stop);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !find("large").open) {
    stop();
  } else if (event.key === "/" && !event.target.closest("input, select, textarea")) {
    event.preventDefault();
    input.focus();
  }
});

// What is shown

const picture = new PictureView(async (uv) => {
  const answer = await ask("/click", { camera: connection.camera, uv });
  if (answer) answers.select(answer.index);
});
const answers = new AnswerPanel((entry) => {
  picture.mark(entry);
  updateWhy();
});
const history = new HistoryPanel(command);
const health = new HealthPanel();
const settings = new SettingsPanel((name, value) => request("/setting", { name, value }));

const connection = new Connection({
  picture: (head, jpeg) => picture.show(head, jpeg),
  connected: (isConnected) => {
    document.body.classList.toggle("lost", !isConnected);
    picture.setConnected(isConnected);
    if (!isConnected) talk.release();
    updatePresence();
  },
  cameras: (names) => {
    find("camera-choice").hidden = names.length < 2;
    find("camera").replaceChildren(...names.map((name) => element("option", { value: name }, name || "camera")));
    find("camera").value = connection.camera;
  },
  camera: (name) => { find("camera").value = name; picture.clear(); },
  answer: (answer) => { answers.show(answer); picture.setSize(answer); },
  history: (list) => history.show(list),
  health: (statuses) => { health.show(statuses, connection.camera); updatePresence(); },
  settings: (list) => settings.show(list),
  presence: (value) => { presence = value; updatePresence(); },
  transcript: (text) => spoken("heard", text),
  say: (text) => spoken("robot", text),
  talk: report,
  problem: report,
});
const talk = new Talk(connection, report);

find("camera").addEventListener("change", () => connection.choose(find("camera").value));

function spoken(who, text) {
  find("spoken").hidden = !text;
  find("spoken").replaceChildren(element("b", {}, who), text);
}

// What is there

let presence = null;

function updatePresence() {
  talk.allow(connection.isOpen, presence?.hears ?? false);
  health.setPresence(connection.isOpen, presence);
  updateWhy();
}

// Why

let explained = "";

function updateWhy() {
  const button = find("why");
  const offered = connection.isOpen && (presence?.explains ?? false);
  button.disabled = !offered || !answers.expression;
  const isKnown = connection.isOpen && (presence?.is_there ?? false);
  const without = isKnown ? "The segmenter has no service explain." : "Waiting for the segmenter.";
  button.title = offered ? "" : without;
  if (!offered) {
    find("why-text").textContent = without;
  } else if (!explained) {
    find("why-text").textContent = answers.expression
      ? `Why does it answer so to “${answers.expression}”?`
      : "Ask for something first.";
  }
}

find("why").addEventListener("click", async () => {
  const expression = answers.expression;
  find("why").disabled = true;
  find("why-text").textContent = "thinking…";
  explained = expression;
  const answer = await ask("/explain", { expression, camera: connection.camera });
  find("why-panel").hidden = !answer?.png;
  find("why-text").textContent = answer ? `“${expression}”: ${answer.text}` : "";
  if (answer?.png) {
    const bytes = Uint8Array.from(atob(answer.png), (each) => each.charCodeAt(0));
    URL.revokeObjectURL(find("why-image").src);
    find("why-image").src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    find("why-image").alt = answer.text;
  }
  if (!answer) explained = "";
  updateWhy();
});
find("why-panel").addEventListener("click", () => {
  enlarge(find("why-image").src, find("why-text").textContent);
});

updatePresence();
connection.open();
