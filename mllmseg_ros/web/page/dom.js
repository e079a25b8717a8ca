// SPDX-License-Identifier: Apache-2.0
// Elements of the page. Text is always text: nothing that comes from outside is read as HTML.

export function find(id) {
  return document.getElementById(id);
}

/** Make an element with properties, attributes where a name has a dash, and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((each) => each !== null && each !== undefined));
  return made;
}
