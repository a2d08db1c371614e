// Small steps on the document. All text goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

export function element(tag, { text, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  node.append(...children);
  return node;
}

// A list of nodes that follows a list of values by key: nodes are made once, updated in place, kept in order.
export class KeyedList {
  #parent;
  #make;
  #gone;
  #entries = new Map();

  constructor(parent, make, gone = () => {}) {
    this.#parent = parent;
    this.#make = make;
    this.#gone = gone;
  }

  get(key) {
    return this.#entries.get(key);
  }

  entries() {
    return this.#entries.entries();
  }

  update(values, key, ...context) {
    const seen = new Set();
    let before = this.#parent.firstElementChild;
    for (const value of values) {
      const name = key(value);
      seen.add(name);
      let entry = this.#entries.get(name);
      if (!entry) {
        entry = this.#make(value);
        this.#entries.set(name, entry);
      }
      if (entry.node === before) before = before.nextElementSibling;
      else this.#parent.insertBefore(entry.node, before);
      entry.update(value, ...context);
    }
    for (const [name, entry] of this.#entries) {
      if (seen.has(name)) continue;
      entry.node.remove();
      this.#entries.delete(name);
      this.#gone(entry);
    }
  }
}

// Clones a template's one element and finds the parts that are named in it.
export function fromTemplate(id) {
  const node = byId(id).content.firstElementChild.cloneNode(true);
  const parts = {};
  for (const part of node.querySelectorAll("[data-part]")) parts[part.dataset.part] = part;
  return { node, parts };
}
