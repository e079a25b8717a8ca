// SPDX-License-Identifier: Apache-2.0
// The panels beside the image: result, history, node, parameters.

import { element, find, setText, visible } from "./dom.js";

const STATUS_TEXTS = {
  ok: "found", partial: "partly found", no_target: "not there", low_confidence: "not sure",
  stale_input: "no image", superseded: "replaced by a newer command", stopped: "stopped", error: "refused",
  found: "found",
};

const TRACKED = "time since the last inference: the mask was carried over from it by tracking";

/** Show an image as large as the window. */
export function enlarge(url, text) {
  find("large-image").src = url;
  find("large-image").alt = visible(text);
  setText(find("large-text"), text);
  find("large").showModal();
}

find("large").addEventListener("click", (event) => {
  if (event.target === find("large")) find("large").close();
});

/** A role in words: place_left_of is "place left of". */
function describeRole(role) {
  return role.replaceAll("_", " ");
}

function getIdentity(entry) {
  return entry.track_id || `${entry.expression}#${entry.index}`;
}

export class ResultPanel {
  #onSelect;
  #entries = [];
  #selected = null; // identity, which stays the same over many results
  #request = "";

  /** onSelect: called with the selected entry as it is now, or null. */
  constructor(onSelect) {
    this.#onSelect = onSelect;
  }

  /** The expression of the selected entry, or else of the first one. */
  get expression() {
    return (this.#findSelected() ?? this.#entries[0])?.expression ?? "";
  }

  show(result) {
    const text = find("answer-text");
    if (!result) {
      text.textContent = "No command yet.";
      this.#entries = [];
    } else {
      if (result.request_id !== this.#request) this.#selected = null;
      this.#request = result.request_id;
      const facts = [result.text, result.model && `${result.model}, ${result.latency_ms.toFixed(0)} ms`];
      const title = `“${result.command}”: ${STATUS_TEXTS[result.status]}`;
      const small = facts.filter(Boolean).join(" · ");
      // Replaced only when it changes, so that screen readers do not repeat it.
      if (text.dataset.title !== title) {
        text.dataset.title = title;
        text.replaceChildren(visible(title), element("small", { "aria-hidden": "true" }));
      }
      setText(text.querySelector("small"), small);
      this.#entries = result.entries.map((entry, index) => ({ ...entry, index }));
    }
    if (!result) delete text.dataset.title;
    this.#draw();
  }

  /** Select the entry of an index, or none. */
  select(index) {
    const entry = index === null ? null : this.#entries[index];
    this.#selected = entry ? getIdentity(entry) : null;
    this.#draw();
    if (entry) find("entries").children[index]?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  #findSelected() {
    return this.#entries.find((each) => getIdentity(each) === this.#selected) ?? null;
  }

  #draw() {
    const list = find("entries");
    while (list.children.length > this.#entries.length) list.lastChild.remove();
    while (list.children.length < this.#entries.length) {
      const index = list.children.length;
      const button = element("button", { type: "button", className: "entry" });
      button.addEventListener("click", () => {
        const isSelected = this.#entries[index] && getIdentity(this.#entries[index]) === this.#selected;
        this.select(isSelected ? null : index);
      });
      list.append(element("li", {}, button));
    }
    // Buttons are reused, so that the focused one keeps the focus.
    this.#entries.forEach((entry, index) => this.#fill(list.children[index].firstChild, entry));
    this.#onSelect(this.#findSelected());
  }

  #fill(button, entry) {
    const score = entry.score ?? entry.mask_score;
    const percent = Math.round(100 * score);
    button.dataset.status = entry.status;
    button.setAttribute("aria-pressed", String(getIdentity(entry) === this.#selected));
    button.style.setProperty("--color", entry.status === "no_target" ? "var(--line)" : entry.color);
    const facts = [
      STATUS_TEXTS[entry.status],
      `score ${percent} %`,
      entry.track_id && `id ${entry.track_id}`,
      entry.area_px && `${entry.area_px} px`,
      entry.position_m && `(${entry.position_m.map((each) => each.toFixed(2)).join(", ")})`,
      entry.age_s > 0 && entry.status === "found" && `tracked for ${entry.age_s.toFixed(1)} s`,
      entry.doubt,
    ];
    const bar = element("i");
    bar.style.width = `${percent}%`;
    button.replaceChildren(
      element("strong", {}, entry.role ? element("span", { className: "tag" }, describeRole(entry.role)) : null, element("span", { className: "name" }, entry.expression)),
      element("span", { className: "distance", title: entry.frame_id },
        entry.distance_m === null ? "" : `${entry.distance_m.toFixed(2)} m`),
      element("span", { className: "bar", "aria-hidden": "true" }, bar),
      element("span", { className: "facts" }, ...facts.filter(Boolean).map((each) => element("span", { title: each.startsWith("tracked") ? TRACKED : "" }, each))),
    );
  }
}

export class HistoryPanel {
  #onRepeat;

  /** onRepeat: called with a command to send again. */
  constructor(onRepeat) {
    this.#onRepeat = onRepeat;
  }

  show(list) {
    if (!list.length) return;
    find("history").replaceChildren(...list.map((entry) => this.#createItem(entry)));
    // Suggestions cannot be shown escaped.
    const commands = new Set(list.map((entry) => entry.command).filter((each) => each === visible(each)));
    find("suggestions").replaceChildren(...[...commands].map((value) => element("option", { value })));
  }

  #createItem(entry) {
    const url = `/history/${entry.number}`;
    const text = `${entry.command}: ${entry.text}`;
    let image = element("span", { className: "none" });
    if (entry.has_picture) {
      image = element("button", { type: "button", className: "thumbnail", "aria-label": `Enlarge the image of ${entry.command}` },
        element("img", { src: url, alt: "", loading: "lazy" }));
      image.addEventListener("click", () => enlarge(url, text));
    }
    const again = element("button", { type: "button", className: "again", "aria-label": `Send again: ${entry.command}` }, "again");
    again.addEventListener("click", () => this.#onRepeat(entry.command));
    const camera = entry.camera && ` · ${entry.camera}`;
    const time = new Date(1000 * entry.time_s).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    return element("li", {}, image, element("div", {},
      element("b", {}, entry.command), element("small", {}, `${time}${camera} · ${entry.text}`), again));
  }
}

// Figures in the header: prefix of the name in the diagnostics, label, unit, explanation.
const FIGURES = [
  ["image rate in", "camera", "Hz", "images received per second"],
  ["answer rate out", "results", "Hz", "results published per second, by inference and tracking"],
  ["answer age, now - stamp (ms) p50", "age", "ms", "time from the image to its result (median)"],
  ["images dropped", "skipped", "", "images replaced by newer ones while the model was busy; this is normal"],
];

export class HealthPanel {
  #worst = null;
  #device = "";
  #state = "";

  /** camera: name of the camera whose figures are shown in the header. */
  show(statuses, camera) {
    const order = ["ok", "warn", "stale", "error"];
    this.#worst = statuses.reduce((a, b) => (order.indexOf(b.level) > order.indexOf(a.level) ? b : a));
    const shown = statuses.filter((each) => ["model", `camera ${camera}`.trim()].includes(each.name));
    const all = shown.flatMap((each) => Object.entries(each.values));
    this.#device = all.find(([name]) => name === "device")?.[1] ?? "";
    this.#state = statuses.find((each) => each.name === "model")?.message ?? "";
    find("figures").replaceChildren(...FIGURES.flatMap(([start, name, unit, title]) => {
      const value = all.find(([key, text]) => key.startsWith(start) && text)?.[1];
      if (!value) return [];
      const short = Number(value) < 100 && unit === "Hz" ? Number(value).toFixed(1) : Math.round(Number(value));
      return [element("li", { title }, `${name} `, element("b", {}, `${short} ${unit}`.trim()))];
    }));
    setText(find("health-summary"), this.#worst.level === "ok" ? "OK" : this.#worst.message);
    const meanings = FIGURES.map(([, name, , title]) => `${name}: ${title}`).join(". ");
    find("health").replaceChildren(element("p", { className: "hint" }, `${meanings}.`), ...statuses.flatMap((each) => [
      element("h3", { "data-level": each.level }, element("span", { className: "dot" }), each.name, element("small", {}, each.message)),
      element("dl", {}, ...Object.entries(each.values).filter(([, value]) => value).flatMap(
        ([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    ]));
  }

  #clear() {
    this.#worst = null;
    find("figures").replaceChildren();
  }

  setPresence(isConnected, presence) {
    if (!isConnected || !presence?.is_there) this.#clear();
    let [level, text] = ["off", "connecting"];
    if (!isConnected) [level, text] = ["lost", "no connection"];
    else if (presence && !presence.is_there) [level, text] = ["error", `${presence.node} is not running`];
    else if (presence) {
      level = this.#worst?.level ?? "ok";
      text = level === "ok" ? [this.#state || "running", this.#device].filter(Boolean).join(" · ") : this.#worst.message;
    }
    if (find("state").dataset.level !== level) find("state").dataset.level = level;
    text = visible(text);
    if (find("state-text").textContent !== text) find("state-text").textContent = text;
    find("state").title = text;
  }
}

export class SettingsPanel {
  #onSet;
  #rows = new Map(); // by name

  /** onSet: called with name and value; its promise is rejected with the reason. */
  constructor(onSet) {
    this.#onSet = onSet;
    find("settings").addEventListener("submit", (event) => event.preventDefault());
  }

  show(list) {
    for (const setting of list) {
      let row = this.#rows.get(setting.name);
      if (!row) {
        row = this.#createRow(setting);
        this.#rows.set(setting.name, row);
        find("settings").append(row.element);
      }
      if (document.activeElement !== row.input) row.setValue(setting.value);
    }
  }

  #createRow(setting) {
    const id = `setting-${setting.name}`;
    const kind = typeof setting.value;
    let input;
    if (setting.choices.length) {
      input = element("select", { id }, ...setting.choices.map((each) => element("option", { value: each }, each)));
    } else if (kind === "number") {
      input = element("input", { id, type: "number", step: "any" });
      if (setting.range) [input.min, input.max] = setting.range;
    } else {
      input = element("input", { id, type: kind === "boolean" ? "checkbox" : "text", spellcheck: false });
    }
    const problem = element("p", { className: "refused", hidden: true });
    problem.setAttribute("role", "alert");
    const note = element("p", { id: `${id}-note` }, setting.description);
    input.setAttribute("aria-describedby", note.id);
    const setInput = (value) => {
      if (kind === "boolean") input.checked = value;
      else input.value = value;
    };
    let before = setting.value;
    input.addEventListener("change", async () => {
      const value = kind === "boolean" ? input.checked : kind === "number" ? Number(input.value) : input.value;
      try {
        await this.#onSet(setting.name, value);
        before = value;
        problem.hidden = true;
      } catch (error) {
        setText(problem, error.message);
        problem.hidden = false;
        setInput(before);
      }
    });
    const label = element("label", { htmlFor: id }, setting.name);
    const row = element("div", { className: "setting" }, label, input, note, problem);
    return { element: row, input, setValue: (value) => { before = value; setInput(value); } };
  }
}
