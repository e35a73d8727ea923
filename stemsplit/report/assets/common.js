/* Data, elements, formatting and paged lists. The scripts of the page are joined into one function; see page.py.
   All data is displayed as text, with `textContent` and attributes, never as markup. */

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Formatting

function clock(seconds) {
  if (seconds === null || seconds === undefined || !isFinite(seconds)) return "?";
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
const moment = (seconds) =>
  new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
const mib = (n) => (n === null || n === undefined ? "?" : `${n.toLocaleString("en")} MiB`);
const counted = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

// Indexes of an attempt, which is an array to keep the page small
const [RUN, LANE, BEGAN, SECONDS, REASON, PEAK, CAP, MEMORY] = [0, 1, 2, 3, 4, 5, 6, 7];

// Indexes of a warning
const [KIND, TEXT] = [0, 1];

const tracks = data.tracks;
const hasKind = (track, kind) => (track.warnings || []).some((warning) => warning[KIND] === kind);
const KINDS = [["damaged", "damaged"], ["clipped", "clipped"], ["note", "with notes"]];
const isLeft = (track) => track.state !== "done" && track.state !== "failed";
const lastAttempt = (track) => track.attempts[track.attempts.length - 1];
const peakOf = (track) => Math.max(-1, ...track.attempts.map((attempt) => attempt[PEAK] ?? -1));
const secondsOf = (track) => track.attempts.reduce((sum, attempt) => sum + (attempt[SECONDS] || 0), 0);
tracks.forEach((track, index) => {
  track.index = index;
  track.searchText = [track.folder, track.name, track.reason || "", track.message || "", track.state,
    ...(track.warnings || []).map((warning) => warning.join(" "))].join("\n").toLocaleLowerCase();
});

// Pages of a long list: only the visible page is in the document

function pager(list, controls, size, draw, onTurn = () => {}) {
  let items = [];
  let first = 0;
  const button = (text, target) => make("button", { type: "button", text, onclick: () => {
    turn(target());
    list.scrollIntoView({ block: "start" });
    list.focus({ preventScroll: true });
  } });
  const lastPage = () => Math.floor(Math.max(items.length - 1, 0) / size) * size;
  const back = [button("First", () => 0), button("Previous", () => first - size)];
  const forward = [button("Next", () => first + size), button("Last", lastPage)];
  const range = make("span", { role: "status" });
  list.tabIndex = -1;
  controls.append(...back, range, ...forward);
  function turn(target) {
    first = Math.max(0, Math.min(target, lastPage()));
    onTurn();
    list.replaceChildren(...items.slice(first, first + size).map(draw));
    controls.hidden = items.length <= size;
    for (const element of back) element.disabled = first === 0;
    for (const element of forward) element.disabled = first + size >= items.length;
    range.textContent = controls.hidden ? "" : `${(first + 1).toLocaleString("en")} to ` +
      `${Math.min(first + size, items.length).toLocaleString("en")} of ${items.length.toLocaleString("en")}`;
  }
  return { show(all) { items = all; turn(0); } };
}

const title = (track) => make("div", { class: "name" }, make("h3", { text: track.name }), make("span", { class: "where", text: track.folder }));
