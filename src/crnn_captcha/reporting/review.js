"use strict";
// The page's decisions: kept by the browser, saved as corrections.csv. Loads and sends nothing.

const { key, suspects } = JSON.parse(document.getElementById("suspects").textContent);
const storageKey = `crnn-captcha corrections ${key}`;
const rows = [...document.querySelectorAll("[data-row]")];
const decided = document.getElementById("decided");
const notice = document.getElementById("notice");
// By file name: label, decision, correction. Also those of images that an earlier list had.
const decisions = stored();
// Rows whose text was a change when it was last right: typed on, it is one again.
const changing = new Set();
let current = 0;

function stored() {
  try {
    return new Map(JSON.parse(localStorage.getItem(storageKey) ?? "[]"));
  } catch {
    return new Map(); // no storage, or not ours: decisions last as long as the page
  }
}

function store() {
  try {
    localStorage.setItem(storageKey, JSON.stringify([...decisions]));
  } catch {
    notice.textContent = "This browser keeps nothing: save corrections.csv before you leave.";
  }
}

function decisionOf(index) {
  const { name, label } = suspects[index];
  const found = decisions.get(name);
  return found && found.label === label ? found : undefined;
}

function field(index) {
  return rows[index].querySelector("input");
}

function message(index, text) {
  rows[index].querySelector("[data-message]").textContent = text;
}

function whyNot(correction, label) {
  if (!correction) return "Type what the image says.";
  if (correction !== correction.trim()) return "No white space at the ends, please.";
  if (/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(correction)) return "Only characters that can be printed, please.";
  if (correction === label) return "That is the label it has: keep it.";
  return "";
}

function decide(index, decision) {
  const { name, label } = suspects[index];
  const correction = decision === "change" ? field(index).value : "";
  const problem = decision === "change" ? whyNot(correction, label) : "";
  message(index, problem);
  if (problem) {
    field(index).focus();
    return false;
  }
  changing.delete(index);
  decisions.set(name, { label, decision, correction });
  store();
  show(index);
  return true;
}

function undo(index) {
  decisions.delete(suspects[index].name);
  changing.delete(index);
  message(index, "");
  store();
  show(index);
}

function show(index) {
  const found = decisionOf(index);
  for (const button of rows[index].querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(found?.decision === button.dataset.decision));
  }
  if (found?.decision === "change") field(index).value = found.correction;
  rows[index].dataset.row = found ? found.decision : "";
  const count = suspects.filter((_, i) => decisionOf(i)).length;
  decided.textContent = `${count} of ${suspects.length} decided`;
}

function go(index) {
  if (!rows.length) return;
  current = Math.min(Math.max(index, 0), rows.length - 1);
  rows[current].focus();
  rows[current].scrollIntoView({ block: "nearest" });
}

function quoted(text) {
  return `"${text.replaceAll('"', '""')}"`;
}

function csv() {
  const lines = [...decisions]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { label, decision, correction }]) =>
      [name, label, decision, correction].map(quoted).join(","));
  return ["filename,label,decision,correction", ...lines, ""].join("\r\n");
}

// UTF-8, but that what is no valid Unicode keeps its bytes, as names of files may have them.
function encoded(characters) {
  const encoder = new TextEncoder();
  const bytes = [...characters].flatMap((character) => {
    const code = character.codePointAt(0);
    return code >= 0xd800 && code <= 0xdfff
      ? [0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)]
      : [...encoder.encode(character)];
  });
  return new Uint8Array(bytes);
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([encoded(csv())], { type: "text/csv;charset=utf-8" }));
  link.download = "corrections.csv";
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  notice.textContent = `Saved ${decisions.size} decisions.`;
}

rows.forEach((row, index) => {
  show(index);
  row.addEventListener("focusin", () => { current = index; });
  row.addEventListener("click", ({ target }) => {
    const { decision } = target.dataset;
    if (!decision) return;
    if (decisionOf(index)?.decision === decision && decision !== "change") undo(index);
    else decide(index, decision);
  });
  field(index).addEventListener("keydown", (event) => {
    event.stopPropagation(); // letters are text here
    if (event.key === "Enter" && decide(index, "change")) go(index + 1);
    else if (event.key === "Escape") go(index);
  });
  field(index).addEventListener("input", () => { // what a change shows is what is saved
    if (decisionOf(index)?.decision === "change") changing.add(index);
    if (!changing.has(index) || decide(index, "change")) return;
    undo(index);
    changing.add(index);
    message(index, whyNot(field(index).value, suspects[index].label));
  });
});

const KEYS = {
  ArrowDown: () => go(current + 1),
  j: () => go(current + 1),
  ArrowUp: () => go(current - 1),
  k: () => go(current - 1),
  1: () => decide(current, "keep") && go(current + 1),
  2: () => decide(current, "change") && go(current + 1),
  3: () => decide(current, "drop") && go(current + 1),
  0: () => undo(current),
  e: () => {
    field(current).focus();
    field(current).select();
  },
  s: save,
};

document.addEventListener("keydown", (event) => {
  const action = KEYS[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!rows.length && action !== save) return;
  event.preventDefault();
  action();
});
document.getElementById("save").addEventListener("click", save);
