"use strict";
// Sorting, filtering, and drawing what is opened. All text goes through textContent: names of a model are never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const table = document.getElementById("layer-table");
const body = table.tBodies[0];
const rows = Array.from(body.rows);

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "rect", "line", "text", "circle", "title"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function number(value) {
  if (value === null || value === undefined) return "—";
  const text = Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  return text.replace(/-/g, "−");
}

// ---- sorting and filtering
function keyOf(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.v === undefined) return column === 0 ? Number(cell.textContent) : cell.textContent.trim();
  return cell.dataset.v === "" ? null : Number(cell.dataset.v.replace("inf", "Infinity"));
}

function sortBy(column, descending) {
  const compare = (a, b) => {
    const [x, y] = [keyOf(a, column), keyOf(b, column)];
    if (x === null || y === null) return (x === null) - (y === null); // what is not known comes last either way
    const order = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y || 0;
    return (descending ? -order : order) || a.dataset.index - b.dataset.index;
  };
  for (const row of [...rows].sort(compare)) body.append(row, ...(row.detail ? [row.detail] : []));
  Array.from(table.tHead.rows[0].cells).forEach((cell, i) => {
    cell.setAttribute("aria-sort", i !== column ? "none" : descending ? "descending" : "ascending");
  });
}

Array.from(table.tHead.rows[0].cells).forEach((cell, column) => {
  cell.firstElementChild.addEventListener("click", () => sortBy(column, cell.getAttribute("aria-sort") === "ascending"));
});

const filters = ["name", "op", "poor", "noted"].map((name) => document.getElementById(`filter-${name}`));

function filter() {
  const [name, op, poor, noted] = filters;
  const part = name.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const fits = row.cells[1].textContent.toLowerCase().includes(part) &&
      (!op.value || row.cells[2].textContent === op.value) &&
      (!poor.checked || row.classList.contains("poor")) && (!noted.checked || "noted" in row.dataset);
    row.hidden = !fits;
    if (row.detail) row.detail.hidden = !fits;
    shown += fits;
  }
  document.getElementById("shown").textContent = `${shown} of ${rows.length}`;
  document.getElementById("none").hidden = shown > 0 || rows.length === 0;
}

filters.forEach((element) => element.addEventListener("input", filter));
document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("clear").addEventListener("click", () => { document.querySelector(".filters").reset(); filter(); });

// ---- the tables of the analyses: numbers as they are written, with signs and separators of their own
function figure(text) {
  const found = /^−?[\d,.]+(e[−+]?\d+)?/.exec(text) || /^−?inf/.exec(text);
  if (text === "exact") return Infinity;
  return found ? Number(found[0].replace(/,/g, "").replace(/−/g, "-").replace("inf", "Infinity")) : null;
}

function sortable(other) {
  const cells = Array.from(other.tHead.rows[0].cells), lines = Array.from(other.tBodies[0].rows);
  cells.forEach((cell, column) => cell.firstElementChild.addEventListener("click", () => {
    const descending = cell.getAttribute("aria-sort") === "ascending", numeric = cell.classList.contains("n");
    const keys = new Map(lines.map((line, place) => {
      const text = line.cells[column].textContent;
      return [line, [numeric ? figure(text) : text, place]];
    }));
    const compare = (a, b) => {
      const [[x, i], [y, j]] = [keys.get(a), keys.get(b)];
      if (x === null || y === null) return (x === null) - (y === null) || i - j;
      const order = numeric ? x - y || 0 : x.localeCompare(y, "en", { numeric: true });
      return (descending ? -order : order) || i - j;
    };
    other.tBodies[0].append(...[...lines].sort(compare));
    cells.forEach((each) => each.setAttribute("aria-sort", each !== cell ? "none" : descending ? "descending" : "ascending"));
  }));
}

document.querySelectorAll("table.sortable").forEach(sortable);

// ---- what belongs to one layer
const W = 420, H = 150, TOP = 8, BOTTOM = 22;

function frame(label) {
  return make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label },
    make("line", { class: "rule", x1: 0, x2: W, y1: H - BOTTOM, y2: H - BOTTOM }));
}

function label(svg, x, text, anchor) {
  svg.append(make("text", { x, y: H - 6, "text-anchor": anchor }, text));
}

function panel(title, svg, ...lines) {
  const holder = make("div", {}, make("h4", {}, title));
  if (svg) holder.append(svg);
  lines.filter(Boolean).forEach((line) => holder.append(make("p", {}, line)));
  return holder;
}

function histogram(tensor) {
  const { from, to, counts, clip, seen } = tensor;
  const title = `Values of ${tensor.name}`;
  const covers = `codes reach ${number(clip[0])} to ${number(clip[1])}`;
  if (!counts) return panel(title, null, `${covers}; nothing is known of the values without a calibration file`);
  const x = (value) => to > from ? (W * (value - from)) / (to - from) : W / 2;
  const most = Math.log1p(Math.max(...counts)) || 1, step = W / counts.length;
  const svg = frame(`${title}, ${covers}`);
  svg.append(make("rect", { class: "shade", x: x(clip[0]), width: Math.max(0, x(clip[1]) - x(clip[0])), y: TOP, height: H - BOTTOM - TOP }));
  const bars = counts.map((count, i) => {
    const height = ((H - BOTTOM - TOP) * Math.log1p(count)) / most;
    return count ? `M${(i * step).toFixed(1)} ${H - BOTTOM}v${(-height).toFixed(1)}h${step.toFixed(2)}v${height.toFixed(1)}z` : "";
  });
  svg.append(make("path", { class: "fill", d: bars.join("") }));
  for (const bound of clip) svg.append(make("line", { class: "bound", x1: x(bound), x2: x(bound), y1: TOP, y2: H - BOTTOM }));
  label(svg, 0, number(from), "start");
  label(svg, W, number(to), "end");
  const share = tensor.clipped > 0 ? `${number(100 * tensor.clipped)} % of values lie outside` : "no value lies outside";
  return panel(title, svg, `seen ${number(seen[0])} to ${number(seen[1])}; ${covers} (shaded); ${share}`, "height: count, on a log scale");
}

function ranges(title, spread, remark) {
  const svg = frame(title);
  const { low, high, peak, count } = spread;
  const least = Math.min(0, ...low), most = Math.max(0, ...high), span = most - least || 1;
  const y = (value) => TOP + ((H - BOTTOM - TOP) * (most - value)) / span;
  const step = W / low.length, width = Math.max(0.8, step * 0.7);
  const lines = low.map((value, i) => `M${((i + 0.5) * step).toFixed(1)} ${(y(high[i]) - 0.4).toFixed(1)}V${(y(value) + 0.4).toFixed(1)}`);
  svg.append(make("line", { class: "rule", x1: 0, x2: W, y1: y(0), y2: y(0) }));
  svg.append(make("path", { class: "bar", "stroke-width": Math.min(width, 14), d: lines.join("") }));
  label(svg, 0, "channel 1", "start");
  if (count > 1) label(svg, W, String(count), "end");
  const hull = low.length < count ? `; a bar covers about ${Math.round(count / low.length)} channels` : "";
  return panel(title, svg, `between ${number((peak * least) / 1000)} and ${number((peak * most) / 1000)}${hull}`, remark);
}

function plural(count, noun) { return `${count} ${noun}${count === 1 ? "" : "s"}`; }

function detail(row) {
  const layer = data.layers[row.dataset.index];
  const panels = make("div", { class: "panels" });
  layer.tensors.forEach((tensor) => panels.append(histogram(tensor)));
  if (layer.weights) panels.append(ranges("Weights by output channel", layer.weights, layer.dead && `${plural(layer.dead, "channel")} dead: weights that do nothing`));
  layer.tensors.filter((tensor) => tensor.channels).forEach((tensor) =>
    panels.append(ranges(`Range of ${tensor.name} by channel`, tensor.channels, tensor.silent && `${plural(tensor.silent, "channel")} always 0`)));
  if (!panels.children.length) panels.append(make("p", {}, "Nothing is known of its tensors: neither model nor calibration file was found."));
  const remarks = row.cells[row.cells.length - 1].textContent;
  if (remarks) panels.append(make("p", { class: "whole" }, remarks));
  return make("tr", { class: "detail" }, make("td", { colspan: row.cells.length }, panels));
}

function toggle(row) {
  const button = row.querySelector(".open");
  if (row.detail) { row.detail.remove(); row.detail = null; }
  else { row.detail = detail(row); row.after(row.detail); }
  button.setAttribute("aria-expanded", String(Boolean(row.detail)));
}

rows.forEach((row) => row.addEventListener("click", () => { if (!String(getSelection())) toggle(row); }));

// ---- the graph, drawn when it is opened for the first time
function drawGraph(holder) {
  const step = 20, lane = 13, middle = step / 2;
  const lanes = 1 + Math.max(0, ...data.graph.flatMap(([, , , own, passing, into, out]) => [own, ...passing, ...into, ...out]));
  const left = lanes * lane + 14, x = (i) => 10 + i * lane;
  const svg = make("svg", { height: data.graph.length * step });
  const lines = [];
  let widest = 0;
  data.graph.forEach(([name, type, state, own, passing, into, out], i) => {
    const y = i * step;
    passing.forEach((l) => lines.push(`M${x(l)} ${y}v${step}`));
    into.forEach((l) => lines.push(`M${x(l)} ${y}L${x(own)} ${y + middle}`));
    out.forEach((l) => lines.push(`M${x(own)} ${y + middle}L${x(l)} ${y + step}`));
    widest = Math.max(widest, name.length + type.length);
  });
  svg.setAttribute("width", left + widest * 7.5 + 30);
  svg.append(make("path", { d: lines.join("") }));
  data.graph.forEach(([name, type, state, own], i) => {
    const y = i * step + middle;
    svg.append(make("circle", { class: state, cx: x(own), cy: y, r: 4 }));
    const text = make("text", { x: left, y: y + 4 }, name, "  ");
    const kind = document.createElementNS("http://www.w3.org/2000/svg", "tspan");
    kind.setAttribute("class", "type");
    kind.setAttribute("dx", "8");
    kind.append(type);
    text.append(kind);
    svg.append(text);
  });
  holder.append(svg);
}

const graph = document.getElementById("graph");
if (graph) graph.addEventListener("toggle", () => { const holder = graph.lastElementChild; if (graph.open && !holder.children.length) drawGraph(holder); });
