// A browser of sorts for review.js: reads {suspects, script, kept, keys} from standard input, presses
// the keys, saves, and prints what was saved, kept and said.
const { readFileSync } = require("node:fs");
const given = JSON.parse(readFileSync(0, "utf8"));

class Target {
  constructor() { this.listeners = {}; this.dataset = {}; this.textContent = ""; this.value = ""; }
  addEventListener(kind, listener) { (this.listeners[kind] ??= []).push(listener); }
  fire(kind, event) { for (const listener of this.listeners[kind] ?? []) listener(event); }
  setAttribute(name, value) { this[name] = value; }
  scrollIntoView() {}
  select() { focused = this; }
  remove() {}
  click() { if (this.href) saved = { name: this.download, text: blobs[this.href] }; }
  focus() { focused = this; this.fire("focusin", {}); }
}

let focused = null;
let saved = null;
const blobs = {};
const rows = JSON.parse(given.suspects).suspects.map(({ label }) => {
  const row = new Target();
  const input = new Target();
  const message = new Target();
  const buttons = ["keep", "change", "drop"].map((decision) => {
    const button = new Target();
    button.dataset.decision = decision;
    return button;
  });
  row.querySelector = (selector) => (selector === "input" ? input : message);
  row.querySelectorAll = () => buttons;
  return Object.assign(row, { input, message, buttons });
});
const elements = { suspects: new Target(), decided: new Target(), notice: new Target(), save: new Target() };
elements.suspects.textContent = given.suspects;
const page = new Target();
Object.assign(page, {
  getElementById: (id) => elements[id],
  querySelectorAll: () => rows,
  createElement: () => new Target(),
  body: { append() {} },
});
const kept = given.kept === undefined ? {} : { ...given.kept };
const browser = {
  document: page,
  localStorage: {
    getItem: (key) => kept[key] ?? null,
    setItem: (key, value) => {
      if (given.full) throw new Error("full");
      kept[key] = value;
    },
  },
  Blob: class { constructor([bytes]) { this.text = Buffer.from(bytes).toString("latin1"); } },
  TextEncoder,
  URL: { createObjectURL: (blob) => { blobs["blob:1"] = blob.text; return "blob:1"; }, revokeObjectURL() {} },
  setTimeout: () => {},
};
new Function(...Object.keys(browser), given.script)(...Object.values(browser));

for (const step of given.steps) {
  const [where, value] = step;
  if (where === "key") {
    page.fire("keydown", { key: value, preventDefault() {} });
  } else if (where === "type") {
    focused.value = value;
    focused.fire("input", {});
  } else if (where === "in field") {
    focused.fire("keydown", { key: value, stopPropagation() {} });
  } else if (where === "click") {
    const [row, button] = value;
    rows[row].fire("click", { target: rows[row].buttons[button] });
  }
}
const noticed = elements.notice.textContent;
elements.save.fire("click", {});
process.stdout.write(JSON.stringify({
  saved,
  kept,
  decided: elements.decided.textContent,
  noticed, // before saving
  notice: elements.notice.textContent,
  messages: rows.map((row) => row.message.textContent),
  states: rows.map((row) => row.dataset.row),
}));
