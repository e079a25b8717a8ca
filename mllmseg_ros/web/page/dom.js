// SPDX-License-Identifier: Apache-2.0
// Elements of the page. Text is set as text: nothing from outside is parsed as HTML.

export function find(id) {
  return document.getElementById(id);
}

// Control and format characters (right-to-left overrides among them), and others without a shape.
const INVISIBLE = /[\p{C}\p{Zl}\p{Zp}]/gu;

/** Escape what cannot be seen or reorders other text, so that a command is what it looks like. */
export function visible(text) {
  return String(text).replace(INVISIBLE, (char) => (/\s/.test(char) ? " " : `\\u{${char.codePointAt(0).toString(16)}}`));
}

/** Set the text of an element. */
export function setText(target, text) {
  target.textContent = visible(text);
}

/** Create an element with properties, attributes (names with a dash) and children; text is visible. */
export function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) created.setAttribute(name, visible(value));
    else created[name] = name === "title" || name === "alt" ? visible(value) : value;
  }
  created.append(...children.filter((child) => child !== null && child !== undefined)
    .map((child) => (typeof child === "string" ? visible(child) : child)));
  return created;
}
