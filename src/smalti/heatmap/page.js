"use strict";
// A slide in OpenSeadragon, and a canvas of colours over it. Places are pixels of the full slide.
const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
const picture = data.picture;
const ratio = picture.width / data.width; // pixels of the picture in one of the slide
const finest = (picture.n_levels || picture.levels.length) - 1;

const viewer = OpenSeadragon({
  id: "viewer",
  drawer: "canvas", // files beside a page may be drawn, and never read back
  showNavigationControl: false,
  gestureSettingsMouse: { clickToZoom: false },
  gestureSettingsTouch: { clickToZoom: false },
  maxZoomPixelRatio: Math.max(4, 2 / ratio),
  visibilityRatio: 0.5,
  tileSources: {
    width: picture.width,
    height: picture.height,
    tileSize: picture.edge,
    tileOverlap: 0,
    minLevel: picture.folder ? Math.min(finest, 9) : 0,
    maxLevel: finest,
    getTileUrl: (level, x, y) =>
      picture.folder ? `${encodeURIComponent(picture.folder)}/${level}/${x}_${y}.jpg` : picture.levels[level][y][x],
  },
});

const state = { column: 0, scale: data.scale, opacity: 0.7, tile: null, map: null };

// ---------------------------------------------------------------- colours

/** Place of a number on the colours, 0 to 255; null where there is none. */
function shade(column, i) {
  const value = state.scale === "percentile" ? column.ranks[i] : column.values[i];
  if (value === null) return null;
  const share = state.scale === "percentile" ? value : value / column.most;
  const place = column.signed ? (share + 1) / 2 : share;
  return Math.min(255, Math.max(0, Math.round(255 * place)));
}

for (const column of data.columns) {
  const sizes = column.values.map((v) => (v === null ? 0 : Math.abs(v)));
  column.most = sizes.reduce((a, b) => Math.max(a, b), 0) || 1;
}

/** The column as a small picture: the mean of the tiles that cover a pixel. */
function paint() {
  const column = data.columns[state.column];
  const scale = Math.min(8 / data.side, 4096 / Math.max(data.width, data.height));
  const wide = Math.max(1, Math.ceil(data.width * scale)), high = Math.max(1, Math.ceil(data.height * scale));
  const total = new Float32Array(wide * high), count = new Uint16Array(wide * high);
  const half = data.side / 2;
  data.xy.forEach(([x, y], i) => {
    const place = shade(column, i);
    if (place === null) return;
    const [x0, x1] = [x - half, x + half].map((v) => Math.min(wide, Math.max(0, Math.round(v * scale))));
    const [y0, y1] = [y - half, y + half].map((v) => Math.min(high, Math.max(0, Math.round(v * scale))));
    for (let row = y0; row < y1; row++)
      for (let at = row * wide + x0; at < row * wide + x1; at++) { total[at] += place; count[at]++; }
  });
  const canvas = document.createElement("canvas");
  canvas.width = wide; canvas.height = high;
  const pen = canvas.getContext("2d"), pixels = pen.createImageData(wide, high);
  const colours = column.signed ? data.colours.signed : data.colours.unsigned;
  for (let at = 0; at < count.length; at++) {
    if (!count[at]) continue;
    const place = total[at] / count[at], strength = column.signed ? Math.abs(place / 127.5 - 1) : place / 255;
    const [r, g, b] = colours[Math.round(place)];
    pixels.data.set([r, g, b, 255 * (0.3 + 0.7 * strength)], 4 * at); // the slide shows where little is said
  }
  pen.putImageData(pixels, 0, 0);
  state.map = { canvas, scale };
}

function legend() {
  const column = data.columns[state.column], pen = get("colours").getContext("2d");
  (column.signed ? data.colours.signed : data.colours.unsigned).forEach(([r, g, b], i) => {
    pen.fillStyle = `rgb(${r} ${g} ${b})`;
    pen.fillRect(i, 0, 1, 1);
  });
  const most = column.most.toPrecision(2);
  const by = state.scale === "percentile";
  get("low").textContent = `${column.low} (${by ? "rank" : column.signed ? `−${most}` : "0"})`;
  get("high").textContent = `${column.high} (${by ? "rank" : most})`;
  get("colours").setAttribute("aria-label", `Colours from ${get("low").textContent} to ${get("high").textContent}`);
}

// ---------------------------------------------------------------- over the slide

const over = document.createElement("canvas");
over.style.cssText = "position:absolute;inset:0;width:100%;height:100%;pointer-events:none";

/** From pixels of the full slide to those of the viewer. */
function onScreen(x, y) {
  return viewer.viewport.imageToViewerElementCoordinates(new OpenSeadragon.Point(x * ratio, y * ratio));
}

function draw() {
  if (!state.map || !viewer.world.getItemCount()) return;
  const dots = window.devicePixelRatio || 1, box = viewer.element.getBoundingClientRect();
  over.width = Math.round(box.width * dots); over.height = Math.round(box.height * dots);
  const pen = over.getContext("2d"), zero = onScreen(0, 0), one = onScreen(data.width, data.height);
  const step = (one.x - zero.x) / data.width;
  pen.scale(dots, dots);
  pen.imageSmoothingEnabled = false;
  pen.globalAlpha = state.opacity;
  const { canvas, scale } = state.map;
  pen.drawImage(canvas, zero.x, zero.y, (canvas.width / scale) * step, (canvas.height / scale) * step);
  if (state.tile !== null) {
    const [x, y] = data.xy[state.tile], at = onScreen(x - data.side / 2, y - data.side / 2);
    pen.globalAlpha = 1;
    for (const [colour, width] of [["#fff", 5], ["#000", 2.5]]) {
      pen.strokeStyle = colour; pen.lineWidth = width;
      pen.strokeRect(at.x, at.y, data.side * step, data.side * step);
    }
  }
  scaleBar(step);
}

function scaleBar(step) {
  if (!data.um) return;
  const per = step / data.um; // pixels of the screen in a µm
  const length = [10000, 5000, 2000, 1000, 500, 200, 100, 50, 20, 10, 5].find((n) => n * per <= 140) || 2;
  get("bar").hidden = false;
  get("bar").querySelector("i").style.width = `${length * per}px`;
  get("bar").querySelector("span").textContent = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
}

// ---------------------------------------------------------------- tiles

/** The tile whose centre is nearest of those that hold a place; null where none does. */
function tileAt(x, y) {
  let best = null, least = Infinity;
  data.xy.forEach(([cx, cy], i) => {
    const dx = Math.abs(cx - x), dy = Math.abs(cy - y), far = dx * dx + dy * dy;
    if (Math.max(dx, dy) <= data.side / 2 && far < least) { best = i; least = far; }
  });
  return best;
}

function show(i) {
  state.tile = i;
  const place = get("tile");
  place.replaceChildren();
  const head = document.createElement(i === null ? "p" : "h2");
  head.textContent = i === null ? "No tile there." : `Tile ${i}`;
  place.append(head);
  if (i !== null) {
    const list = document.createElement("dl");
    const [x, y] = data.xy[i];
    const facts = [["centre (px)", `${Math.round(x)}, ${Math.round(y)}`],
      ...data.columns.map((c) => [c.name.replaceAll("_", " "), c.values[i] === null ? "–" : `${Number(c.values[i].toPrecision(3))}`])];
    for (const [name, value] of facts) {
      for (const [kind, text] of [["dt", name], ["dd", value]]) {
        const part = document.createElement(kind);
        part.textContent = text;
        list.append(part);
      }
    }
    place.append(list);
  }
  draw();
}

function goTo(i) {
  const [x, y] = data.xy[i], wide = 12 * data.side * ratio;
  const box = new OpenSeadragon.Rect(x * ratio - wide / 2, y * ratio - wide / 2, wide, wide);
  viewer.viewport.fitBounds(viewer.world.getItemAt(0).imageToViewportRectangle(box));
  show(i);
}

// ---------------------------------------------------------------- what is asked

function change() {
  state.column = Number(get("column").value);
  state.scale = get("scale").value;
  state.opacity = get("opacity").value / 100;
  const name = data.columns[state.column].name;
  for (const row of document.querySelectorAll(".shown")) row.hidden = row.dataset.column !== name;
  paint(); legend(); draw();
}

for (const id of ["column", "scale"]) get(id).addEventListener("change", change);
get("opacity").addEventListener("input", () => { state.opacity = get("opacity").value / 100; draw(); });
get("in").addEventListener("click", () => viewer.viewport.zoomBy(1.6));
get("out").addEventListener("click", () => viewer.viewport.zoomBy(1 / 1.6));
get("home").addEventListener("click", () => viewer.viewport.goHome());
for (const button of document.querySelectorAll("[data-tile]")) {
  button.addEventListener("click", () => { goTo(Number(button.dataset.tile)); get("frame").scrollIntoView({ block: "nearest" }); });
}
viewer.addHandler("canvas-click", (event) => {
  if (!event.quick) return;
  const at = viewer.viewport.viewerElementToImageCoordinates(event.position);
  show(tileAt(at.x / ratio, at.y / ratio));
});
viewer.addHandler("open", () => {
  viewer.canvas.append(over);
  change();
});
for (const name of ["update-viewport", "resize"]) viewer.addHandler(name, draw);
