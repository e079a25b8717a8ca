// SPDX-License-Identifier: Apache-2.0
// The console's page: passes messages from the socket to the panels.

import { Connection, abortRequests, request } from "./connection.js";
import { element, find, setText, visible } from "./dom.js";
import { ImageView } from "./image_view.js";
import { ResultPanel, HealthPanel, HistoryPanel, SettingsPanel, enlarge } from "./panels.js";
import { Talk } from "./talk.js";

const problem = find("problem");
let problemTimer = 0;

function showProblem(text) {
  setText(problem, text);
  problem.hidden = !text;
  clearTimeout(problemTimer);
  problemTimer = setTimeout(() => { problem.hidden = true; }, 10000);
}

async function tryRequest(path, body) {
  try {
    return await request(path, body);
  } catch (error) {
    showProblem(error.message);
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
const sent = []; // commands sent by this page, newest last
let recalled = 0; // how many commands the arrow keys have gone back

async function sendCommand(text) {
  input.value = "";
  recalled = 0;
  if (sent.at(-1) !== text) sent.push(text);
  showProblem("");
  await tryRequest("/command", { text });
}

async function stop() {
  find("stop").animate([{ transform: "scale(.96)" }, { transform: "scale(1)" }], 180);
  abortRequests();
  await tryRequest("/stop", {});
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (input.value.trim()) sendCommand(input.value);
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

// Panels

const image = new ImageView(async (uv) => {
  const reply = await tryRequest("/click", { camera: connection.camera, uv });
  if (reply) results.select(reply.index);
});
const results = new ResultPanel((entry) => {
  image.mark(entry);
  updateWhy();
});
const history = new HistoryPanel(sendCommand);
const health = new HealthPanel();
const settings = new SettingsPanel((name, value) => request("/setting", { name, value }));

const connection = new Connection({
  image: (header, jpeg) => image.show(header, jpeg),
  connected: (isConnected) => {
    document.body.classList.toggle("lost", !isConnected);
    image.setConnected(isConnected);
    if (!isConnected) talk.release();
    updatePresence();
  },
  cameras: (names) => {
    find("camera-choice").hidden = names.length < 2;
    find("camera").replaceChildren(...names.map((name) => element("option", { value: name }, name || "camera")));
    find("camera").value = connection.camera;
  },
  camera: (name) => { find("camera").value = name; image.clear(); },
  answer: (result) => { results.show(result); image.setResult(result); },
  history: (list) => history.show(list),
  health: (statuses) => { health.show(statuses, connection.camera); updatePresence(); },
  settings: (list) => settings.show(list),
  presence: (value) => { presence = value; updatePresence(); },
  transcript: (text) => showText("heard", text),
  say: (text) => showText("robot", text),
  talk: showProblem,
  problem: showProblem,
});
const talk = new Talk(connection, showProblem);

find("camera").addEventListener("change", () => connection.selectCamera(find("camera").value));

function showText(who, text) {
  find("spoken").hidden = !text;
  find("spoken").replaceChildren(element("b", {}, who), visible(text));
}

// Presence

let presence = null;

function updatePresence() {
  talk.setAvailable(connection.isOpen, presence?.hears ?? false);
  health.setPresence(connection.isOpen, presence);
  updateWhy();
}

// Explanation

let explained = "";

function updateWhy() {
  const button = find("why");
  const offered = connection.isOpen && (presence?.explains ?? false);
  button.disabled = !offered || !results.expression;
  const isKnown = connection.isOpen && (presence?.is_there ?? false);
  const reason = isKnown ? "The segmenter does not offer the service explain." : "Waiting for the segmenter.";
  button.title = offered ? "" : reason;
  if (!offered) {
    find("why-text").textContent = reason;
  } else if (!explained) {
    setText(find("why-text"), results.expression
      ? `Why this result for “${results.expression}”?`
      : "Send a command first.");
  }
}

find("why").addEventListener("click", async () => {
  const expression = results.expression;
  find("why").disabled = true;
  find("why-text").textContent = "computing…";
  explained = expression;
  const reply = await tryRequest("/explain", { expression, camera: connection.camera });
  find("why-panel").hidden = !reply?.png;
  setText(find("why-text"), reply ? `“${expression}”: ${reply.text}` : "");
  if (reply?.png) {
    const bytes = Uint8Array.from(atob(reply.png), (char) => char.charCodeAt(0));
    URL.revokeObjectURL(find("why-image").src);
    find("why-image").src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    find("why-image").alt = visible(reply.text);
  }
  if (!reply) explained = "";
  updateWhy();
});
find("why-panel").addEventListener("click", () => {
  enlarge(find("why-image").src, find("why-text").textContent);
});

updatePresence();
connection.open();
