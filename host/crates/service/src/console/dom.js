// Elements. What is shown goes in as text or as the value of an attribute, never as markup: a value of an event cannot become part of the page.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element. Attributes whose names begin with `on` are listeners; `undefined`, `null` and `false` leave one out. */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Makes an element of a drawing. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** Sets the text of an element, which costs nothing where it has it already. */
export function say(node, text) {
  const said = text ?? "";
  if (node.textContent !== said) node.textContent = said;
  return node;
}

/** Sets or removes an attribute. */
export function mark(node, name, value) {
  if (value === undefined || value === null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? "" : String(value));
  return node;
}

/** The children of an element in place of those that it has. */
export function put(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** Keeps one child for each item, in the order of the items. Children stay the same as long as their keys do, and so do focus and selection. */
export function keep(parent, items, keyOf, make, update) {
  const there = (parent.keptChildren ??= new Map());
  const wanted = new Set();
  let before = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let child = there.get(key);
    if (!child) {
      child = make(item);
      there.set(key, child);
    }
    update?.(child, item);
    if (child === before) before = before.nextSibling;
    else parent.insertBefore(child, before);
  }
  for (const [key, child] of there) {
    if (!wanted.has(key)) {
      child.remove();
      there.delete(key);
    }
  }
}

/** The line that names the request behind what is shown. */
export function apiLine(...requests) {
  return el("p", { class: "api" }, el("span", {}, "API"), ...requests.map((request) => el("code", {}, request)));
}

/** Asks before something is done. Resolves to whether it is to be done. With `typed`, that text has to be entered. */
export function confirmed({ title, says, action, isDanger, typed }) {
  return new Promise((resolve) => {
    const input = typed && el("input", { type: "text", autocomplete: "off", spellcheck: "false", "aria-label": `Enter ${typed}` });
    const go = el("button", { type: "button", class: isDanger ? "danger" : "primary", disabled: Boolean(typed) }, action);
    const cancel = el("button", { type: "button" }, "Cancel");
    const dialog = el(
      "dialog",
      { "aria-label": title },
      el("h2", {}, title),
      el("p", {}, says),
      typed && el("label", { class: "typed" }, el("span", {}, "Enter ", el("b", {}, typed), " to confirm"), input),
      el("div", { class: "buttons" }, cancel, go),
    );
    const end = (answer) => {
      dialog.remove();
      resolve(answer);
    };
    const isTyped = () => !typed || input.value === typed;
    input?.addEventListener("input", () => (go.disabled = !isTyped()));
    input?.addEventListener("keydown", (event) => event.key === "Enter" && isTyped() && end(true));
    go.addEventListener("click", () => end(true));
    cancel.addEventListener("click", () => end(false));
    dialog.addEventListener("cancel", () => end(false));
    document.body.append(dialog);
    dialog.showModal();
    (input || cancel).focus();
  });
}
