// Looks at a page in a frame as a reader would, and writes down what it saw (see test_browser.py).
const frame = document.querySelector("iframe");
const pause = () => new Promise((done) => { setTimeout(done, 50); });

function tooWide(doc, width) {
  const found = [];
  for (const e of doc.querySelectorAll("body *:not(.skip, script)")) {
    const box = e.getBoundingClientRect();
    const shown = box.width > 0 && box.height > 0;
    if (shown && (box.right > width + 1 || e.scrollWidth > e.clientWidth + 1) &&
        getComputedStyle(e).display !== "inline")
      found.push(`${e.tagName} ${e.id} ${Math.round(box.right)} ${e.textContent.slice(0, 40)}`);
  }
  return found;
}

async function at(width, doc) {
  frame.style.width = `${width}px`;
  await pause();
  return { width: frame.contentWindow.innerWidth, too_wide: tooWide(doc, width),
    cards: getComputedStyle(doc.querySelector("tbody tr")).display === "block",
    heads: [...doc.querySelectorAll("thead th")].every((h) => h.getClientRects().length > 0) };
}

// Rules for print become rules for all, and those for the screen for none.
async function printed(doc) {
  for (const sheet of doc.styleSheets)
    for (const rule of sheet.cssRules)
      if (rule instanceof frame.contentWindow.CSSMediaRule)
        rule.media.mediaText = rule.media.mediaText.includes("print") ? "all" : "not all";
  doc.defaultView.dispatchEvent(new Event("beforeprint"));
  const seen = await at(688, doc); // A4 less its margins
  const boxes = [...doc.querySelectorAll("thead button")];
  return { ...seen, heads_return: boxes.every((b) => getComputedStyle(b).display === "contents"),
    open: [...doc.querySelectorAll("details")].every((d) => d.open),
    cells: [...doc.querySelectorAll("#table-many th, #table-many td")]
      .every((c) => c.getBoundingClientRect().width > 0) };
}

const column = (table, k) => [...table.tBodies[0].rows].map((r) => r.cells[k].textContent.trim());

async function look() {
  const view = frame.contentWindow;
  const doc = frame.contentDocument;
  const saved = {};
  view.HTMLAnchorElement.prototype.click = function keep() {
    saved[this.download] = fetched.get(this.href);
  };
  // what a blob is made of is kept as text: to read it again is not in the time that is simulated
  const fetched = new Map();
  view.Blob = class { constructor(parts) { this.parts = parts; } };
  view.URL.createObjectURL = ({ parts }) => {
    const address = `blob:${fetched.size}`;
    fetched.set(address, parts.map((p) =>
      (typeof p === "string" ? p : new TextDecoder("latin1").decode(p))).join(""));
    return address;
  };
  const seen = { title: doc.title, desk: await at(1280, doc), phone: await at(390, doc) };
  await at(1280, doc);
  const table = doc.querySelector("#table-many");
  const head = table.tHead.rows[0].cells[1];
  const sort = head.querySelector("button");
  sort.focus();
  seen.focus = doc.activeElement === sort;
  seen.orders = [];
  for (let i = 0; i < 3; i += 1) {
    sort.click();
    seen.orders.push([head.getAttribute("aria-sort"), column(table, 1)]);
  }
  const box = table.nextElementSibling.querySelector("input");
  box.value = "Row 1";
  box.dispatchEvent(new Event("input"));
  seen.left = [...table.tBodies[0].rows].filter((r) => r.getClientRects().length).length;
  seen.told = table.nextElementSibling.querySelector("output").textContent;
  box.value = "";
  box.dispatchEvent(new Event("input"));
  for (const b of doc.querySelectorAll(".tools button")) b.click();
  seen.saved = saved;
  seen.filters = doc.querySelectorAll("input[type=search]").length;
  seen.alive = view.alive === undefined; // no script of a name has run
  seen.print = await printed(doc);
  return seen;
}

frame.addEventListener("load", () => look().then(
  (seen) => { document.querySelector("pre").textContent = JSON.stringify(seen); },
  (error) => { document.querySelector("pre").textContent = JSON.stringify({ error: `${error}` }); },
));
