// SPDX-License-Identifier: Apache-2.0
// The cards beside the picture: answer, history, node, parameters.

import { element, find } from "./dom.js";

const WORDS = {
  ok: "found", partial: "partly found", no_target: "not there", low_confidence: "not sure",
  stale_input: "no picture", superseded: "replaced", stopped: "stopped", error: "refused",
  found: "found",
};

/** Show a picture as large as the window. */
export function enlarge(address, text) {
  find("large-image").src = address;
  find("large-image").alt = text;
  find("large-text").textContent = text;
  find("large").showModal();
}

find("large").addEventListener("click", (event) => {
  if (event.target === find("large")) find("large").close();
});

function identity(entry) {
  return entry.track_id || `${entry.expression}#${entry.index}`;
}

export class AnswerPanel {
  #onSelect;
  #entries = [];
  #selected = null; // identity: it stays the same thing over many answers
  #request = "";

  /** onSelect: called with the selected entry as it is now, or null. */
  constructor(onSelect) {
    this.#onSelect = onSelect;
  }

  /** The expression of what is selected, else of the first entry. */
  get expression() {
    return (this.#current() ?? this.#entries[0])?.expression ?? "";
  }

  show(answer) {
    const text = find("answer-text");
    if (!answer) {
      text.textContent = "Nothing has been asked yet.";
      this.#entries = [];
    } else {
      if (answer.request_id !== this.#request) this.#selected = null;
      this.#request = answer.request_id;
      const facts = [answer.text, answer.model && `${answer.model}, ${answer.latency_ms.toFixed(0)} ms`];
      const title = `“${answer.command}”: ${WORDS[answer.status]}`;
      const small = facts.filter(Boolean).join(" · ");
      // Spoken by a screen reader only when it means something new.
      if (text.dataset.title !== title) {
        text.dataset.title = title;
        text.replaceChildren(title, element("small", { "aria-hidden": "true" }));
      }
      text.querySelector("small").textContent = small;
      this.#entries = answer.entries.map((entry, index) => ({ ...entry, index }));
    }
    if (!answer) delete text.dataset.title;
    this.#draw();
  }

  /** Select the entry of an index, or none. */
  select(index) {
    const entry = index === null ? null : this.#entries[index];
    this.#selected = entry ? identity(entry) : null;
    this.#draw();
    if (entry) find("entries").children[index]?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  #current() {
    return this.#entries.find((each) => identity(each) === this.#selected) ?? null;
  }

  #draw() {
    const list = find("entries");
    while (list.children.length > this.#entries.length) list.lastChild.remove();
    while (list.children.length < this.#entries.length) {
      const index = list.children.length;
      const button = element("button", { type: "button", className: "entry" });
      button.addEventListener("click", () => {
        const isSelected = this.#entries[index] && identity(this.#entries[index]) === this.#selected;
        this.select(isSelected ? null : index);
      });
      list.append(element("li", {}, button));
    }
    // Kept and refilled, so that a button that has the focus keeps it.
    this.#entries.forEach((entry, index) => this.#fill(list.children[index].firstChild, entry));
    this.#onSelect(this.#current());
  }

  #fill(button, entry) {
    const score = entry.score ?? entry.mask_score;
    const percent = Math.round(100 * score);
    button.dataset.status = entry.status;
    button.setAttribute("aria-pressed", String(identity(entry) === this.#selected));
    button.style.setProperty("--color", entry.status === "no_target" ? "var(--line)" : entry.color);
    const facts = [
      WORDS[entry.status],
      `score ${percent} %`,
      entry.track_id && `id ${entry.track_id}`,
      entry.area_px && `${entry.area_px} px`,
      entry.position_m && `(${entry.position_m.map((each) => each.toFixed(2)).join(", ")})`,
      entry.age_s > 0 && entry.status === "found" && `followed ${entry.age_s.toFixed(1)} s`,
    ];
    const bar = element("i");
    bar.style.width = `${percent}%`;
    button.replaceChildren(
      element("strong", {}, entry.role ? element("span", { className: "tag" }, entry.role) : null, element("span", { className: "name" }, entry.expression)),
      element("span", { className: "distance", title: entry.frame_id },
        entry.distance_m === null ? "" : `${entry.distance_m.toFixed(2)} m`),
      element("span", { className: "bar", "aria-hidden": "true" }, bar),
      element("span", { className: "facts" }, ...facts.filter(Boolean).map((each) => element("span", {}, each))),
    );
  }
}

export class HistoryPanel {
  #onAgain;

  /** onAgain: called with a command that is to be sent once more. */
  constructor(onAgain) {
    this.#onAgain = onAgain;
  }

  show(list) {
    if (!list.length) return;
    find("history").replaceChildren(...list.map((past) => this.#item(past)));
    const commands = new Set(list.map((past) => past.command));
    find("suggestions").replaceChildren(...[...commands].map((value) => element("option", { value })));
  }

  #item(past) {
    const address = `/history/${past.number}`;
    const text = `${past.command}: ${past.text}`;
    let picture = element("span", { className: "none" });
    if (past.has_picture) {
      picture = element("button", { type: "button", className: "picture", "aria-label": `Enlarge the picture of ${past.command}` },
        element("img", { src: address, alt: "", loading: "lazy" }));
      picture.addEventListener("click", () => enlarge(address, text));
    }
    const again = element("button", { type: "button", className: "again", "aria-label": `Ask again: ${past.command}` }, "again");
    again.addEventListener("click", () => this.#onAgain(past.command));
    const camera = past.camera && ` · ${past.camera}`;
    const time = new Date(1000 * past.time_s).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    return element("li", {}, picture, element("div", {},
      element("b", {}, past.command), element("small", {}, `${time}${camera} · ${past.text}`), again));
  }
}

// Figures of the header: the start of a value's name in the diagnostics, as shown, unit.
const FIGURES = [
  ["image rate in", "camera", "Hz"],
  ["answer rate out", "answers", "Hz"],
  ["answer age, now - stamp (ms) p50", "age", "ms"],
  ["images dropped", "replaced", ""],
];

export class HealthPanel {
  #worst = null;
  #device = "";
  #state = "";

  /** camera: the name of the one whose figures stand in the header. */
  show(statuses, camera) {
    const order = ["ok", "warn", "stale", "error"];
    this.#worst = statuses.reduce((a, b) => (order.indexOf(b.level) > order.indexOf(a.level) ? b : a));
    const shown = statuses.filter((each) => ["model", `camera ${camera}`.trim()].includes(each.name));
    const all = shown.flatMap((each) => Object.entries(each.values));
    this.#device = all.find(([name]) => name === "device")?.[1] ?? "";
    this.#state = statuses.find((each) => each.name === "model")?.message ?? "";
    find("figures").replaceChildren(...FIGURES.flatMap(([start, name, unit]) => {
      const value = all.find(([key, text]) => key.startsWith(start) && text)?.[1];
      if (!value) return [];
      const short = Number(value) < 100 && unit === "Hz" ? Number(value).toFixed(1) : Math.round(Number(value));
      return [element("li", {}, `${name} `, element("b", {}, `${short} ${unit}`.trim()))];
    }));
    find("health-summary").textContent = this.#worst.level === "ok" ? "all well" : this.#worst.message;
    find("health").replaceChildren(...statuses.flatMap((each) => [
      element("h3", { "data-level": each.level }, element("span", { className: "dot" }), each.name, element("small", {}, each.message)),
      element("dl", {}, ...Object.entries(each.values).filter(([, value]) => value).flatMap(
        ([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    ]));
  }

  #forget() {
    this.#worst = null;
    find("figures").replaceChildren();
  }

  setPresence(isConnected, presence) {
    if (!isConnected || !presence?.is_there) this.#forget();
    let [level, text] = ["off", "connecting"];
    if (!isConnected) [level, text] = ["lost", "no connection"];
    else if (presence && !presence.is_there) [level, text] = ["error", `${presence.node} is not running`];
    else if (presence) {
      level = this.#worst?.level ?? "ok";
      text = level === "ok" ? [this.#state || "there", this.#device].filter(Boolean).join(" · ") : this.#worst.message;
    }
    if (find("state").dataset.level !== level) find("state").dataset.level = level;
    if (find("state-text").textContent !== text) find("state-text").textContent = text;
    find("state").title = text;
  }
}

export class SettingsPanel {
  #onSet;
  #rows = new Map(); // by name

  /** onSet: called with name and value; the promise fails with the reason why not. */
  constructor(onSet) {
    this.#onSet = onSet;
    find("settings").addEventListener("submit", (event) => event.preventDefault());
  }

  show(list) {
    for (const setting of list) {
      let row = this.#rows.get(setting.name);
      if (!row) {
        row = this.#row(setting);
        this.#rows.set(setting.name, row);
        find("settings").append(row.element);
      }
      if (document.activeElement !== row.input) row.write(setting.value);
    }
  }

  #row(setting) {
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
    const refused = element("p", { className: "refused", hidden: true });
    refused.setAttribute("role", "alert");
    const note = element("p", { id: `${id}-note` }, setting.description);
    input.setAttribute("aria-describedby", note.id);
    const write = (value) => {
      if (kind === "boolean") input.checked = value;
      else input.value = value;
    };
    let before = setting.value;
    input.addEventListener("change", async () => {
      const value = kind === "boolean" ? input.checked : kind === "number" ? Number(input.value) : input.value;
      try {
        await this.#onSet(setting.name, value);
        before = value;
        refused.hidden = true;
      } catch (error) {
        refused.textContent = error.message;
        refused.hidden = false;
        write(before);
      }
    });
    const label = element("label", { htmlFor: id }, setting.name);
    const row = element("div", { className: "setting" }, label, input, note, refused);
    return { element: row, input, write: (value) => { before = value; write(value); } };
  }
}
