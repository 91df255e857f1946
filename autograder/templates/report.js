"use strict";
const groups = JSON.parse(document.getElementById("groups").textContent);
const heat = document.getElementById("heat"), rows = [...heat.tBodies[0].rows];
const search = document.getElementById("search"), state = document.getElementById("state");
const told = document.getElementById("told"), all = document.getElementById("all");

// Tables: a click on a heading sorts; long ones show their first rows until asked.
function value(row, column) {
  const cell = row.cells[column], raw = cell.dataset.v ?? cell.textContent.trim();
  return raw === "" || isNaN(raw) ? raw.toLowerCase() : Number(raw);
}
function compare(a, b) {
  const numbers = (typeof b === "number") - (typeof a === "number");
  if (numbers) return numbers;
  return typeof a === "number" ? a - b : a.localeCompare(b);
}
function sort(table, heading) {
  const column = heading.cellIndex, up = heading.getAttribute("aria-sort") === "descending" || (heading.dataset.first === "up" && !heading.hasAttribute("aria-sort"));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0], keyed = [...body.rows].map((row) => [value(row, column), row]);
  keyed.sort((a, b) => (up ? 1 : -1) * compare(a[0], b[0]));
  body.append(...keyed.map((pair) => pair[1]));
  fold(table);
}
function fold(table) {
  const most = Number(table.dataset.rows || 0);
  if (!most) return;
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    if (row.classList.contains("out")) continue;
    row.classList.toggle("later", ++shown > most);
    row.classList.toggle("hidden", shown > most);
  }
  const more = table.closest("section").querySelector(".more");
  more.hidden = shown <= most;
  more.firstElementChild.textContent = `Show all ${shown}`;
}
for (const table of document.querySelectorAll("table.sort")) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, heading));
    heading.append(button);
  }
  fold(table);
}
for (const more of document.querySelectorAll(".more")) {
  more.firstElementChild.addEventListener("click", () => {
    const table = more.closest("section").querySelector("table.sort");
    table.dataset.rows = 0;
    for (const row of table.tBodies[0].rows) if (!row.classList.contains("out")) row.classList.remove("later", "hidden");
    more.hidden = true;
  });
}

// The table of submissions: by words, by state, by the number that was clicked (#who=KEY).
function asked() {
  const key = location.hash.startsWith("#who=") ? decodeURIComponent(location.hash.slice(5)) : "";
  return Object.hasOwn(groups, key) ? groups[key] : null;
}
function filter() {
  const group = asked(), who = group && new Set(group.who), words = search.value.toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const out = (who && !who.has(Number(row.dataset.i))) || (state.value && row.dataset.state !== state.value)
      || (words && !row.dataset.words.includes(words));
    row.classList.toggle("out", Boolean(out));
    row.classList.remove("later");
    row.classList.toggle("hidden", Boolean(out));
    shown += !out;
  }
  told.textContent = `${shown} of ${rows.length} students` + (group ? `: ${group.label}` : "");
  all.hidden = !(group || words || state.value);
  fold(heat);
}
search.addEventListener("input", filter);
state.addEventListener("change", filter);
all.addEventListener("click", () => {
  search.value = state.value = "";
  history.replaceState(null, "", location.pathname + location.search);
  filter();
  search.focus();
});
window.addEventListener("hashchange", () => {
  filter();
  if (!asked()) return;
  document.getElementById("submissions").scrollIntoView();
  document.getElementById("submissions-head").focus({ preventScroll: true });
});
document.querySelector(".tools").hidden = false;
filter();
if (asked()) document.getElementById("submissions").scrollIntoView();
