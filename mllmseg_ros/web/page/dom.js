// SPDX-License-Identifier: Apache-2.0
// Elements of the page. Text is set as text: nothing from outside is parsed as HTML.

export function find(id) {
  return document.getElementById(id);
}

/** Create an element with properties, attributes (names with a dash) and children. */
export function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) created.setAttribute(name, value);
    else created[name] = value;
  }
  created.append(...children.filter((child) => child !== null && child !== undefined));
  return created;
}
