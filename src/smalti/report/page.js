// What a page can do beyond being read: sort, filter, download, print open.
// All that it says is in the page without this script. No network, no eval.
"use strict";

const record = JSON.parse(document.getElementById("record").textContent);
const tables = new Map();
const gather = (parts) => parts.forEach((part) => {
  if (part.kind === "table") tables.set(part.name, part);
  if (part.kind === "folded") gather(part.parts);
});
record.sections.forEach((section) => gather(section.parts));

function button(words, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = words;
  made.addEventListener("click", act);
  return made;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function csv(table) {
  const cell = (v) => {
    const text = v === null ? "" : String(v);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [table.columns, ...table.rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

// Numbers as numbers, words as words, what is missing last whichever way it goes.
function compare(a, b, sign) {
  const missing = (v) => v === null || v === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortable(element, table) {
  const body = element.tBodies[0];
  const rows = [...body.rows];
  const heads = [...element.tHead.rows[0].cells];
  heads.forEach((head) => {
    const column = table.columns.indexOf(head.dataset.column);
    head.setAttribute("aria-sort", "none");
    const sort = () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const way = next[head.getAttribute("aria-sort")];
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", way);
      const sign = way === "descending" ? -1 : 1;
      const value = (i) => table.rows[i][column];
      const order = rows.map((_, i) => i);
      if (way !== "none") order.sort((i, k) => compare(value(i), value(k), sign) || i - k);
      body.append(...order.map((i) => rows[i]));
    };
    const words = head.textContent;
    head.replaceChildren(button(words, sort));
  });
}

function filterable(element, tools) {
  const rows = [...element.tBodies[0].rows];
  const told = document.createElement("output");
  const box = document.createElement("input");
  box.type = "search";
  box.addEventListener("input", () => {
    const asked = box.value.trim().toLowerCase();
    rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(asked); });
    const shown = rows.filter((row) => !row.hidden).length;
    told.textContent = asked ? `${shown} of ${rows.length} rows` : "";
  });
  const label = document.createElement("label");
  label.append("Rows that hold ", box);
  tools.append(label, told);
}

function toolbar(after) {
  const tools = document.createElement("div");
  tools.className = "tools";
  after.after(tools);
  return tools;
}

document.documentElement.classList.add("live");
document.querySelectorAll("table[id^=table-]").forEach((element) => {
  const name = element.id.slice("table-".length);
  const table = tables.get(name);
  const tools = toolbar(element);
  sortable(element, table);
  if (table.rows.length > 12) filterable(element, tools);
  tools.append(button("Download CSV", () =>
    save(new Blob([csv(table)], { type: "text/csv" }), `${name}.csv`)));
});

document.querySelectorAll("figure[id]").forEach((figure) => {
  const [head, data] = figure.querySelector("img").src.split(",");
  const type = head.slice("data:".length).split(";")[0];
  const ending = type === "image/jpeg" ? "jpg" : "svg";
  toolbar(figure).append(button(`Download ${ending.toUpperCase()}`, () => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    save(new Blob([bytes], { type }), `${figure.id.slice("figure-".length)}.${ending}`);
  }));
});

toolbar(document.querySelector("footer").lastElementChild).append(
  button("Download report.json", () =>
    save(new Blob([JSON.stringify(record, null, 1)], { type: "application/json" }),
      "report.json")));

// What is folded away is printed too.
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((folded) => { folded.open = true; });
});
window.addEventListener("afterprint", () => closed.forEach((folded) => { folded.open = false; }));
