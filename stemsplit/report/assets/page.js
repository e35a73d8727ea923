/* The sections of the page: summary, failures and tracks; the colour theme; the start of everything. */

// Summary

function card(name, value) {
  return make("div", {}, make("dt", { text: name }), make("dd", { text: value }));
}

function summary() {
  const done = tracks.filter((track) => track.state === "done");
  const failed = tracks.filter((track) => track.state === "failed").length + data.refused.length;
  const left = tracks.filter(isLeft).length;
  const audio = done.reduce((sum, track) => sum + (track.audio || 0), 0);
  const last = data.runs[data.runs.length - 1];
  const seconds = data.runs.reduce((sum, run) => sum + (run.audio ? run.seconds || 0 : 0), 0);
  const separated = data.runs.reduce((sum, run) => sum + (run.audio || 0), 0);
  const cards = [card("done", done.length.toLocaleString("en"))];
  for (const [kind, name] of KINDS) {
    const count = done.filter((track) => hasKind(track, kind)).length;
    if (count) cards.push(card(name, count.toLocaleString("en")));
  }
  cards.push(card("failed", failed.toLocaleString("en")),
    card("left", left.toLocaleString("en")), card("audio done", clock(audio)));
  if (seconds) cards.push(card("speed", `${(separated / seconds).toFixed(1)} times real time`));
  const peak = Math.max(-1, ...data.runs.map((run) => run.peak ?? -1));
  if (peak >= 0) cards.push(card("peak memory", mib(peak)));
  if (last.budget) cards.push(card("memory budget", mib(last.budget)));
  cards.push(card("last run", last.ended === null ? "running or killed" : `exit code ${last.exit}`));
  byId("summary").replaceChildren(...cards);
  document.title = byId("title").textContent = `Stems in ${data.output.split(/[\\/]/).pop()}`;
  byId("made").textContent = `${data.output}, created ${moment(data.made)} by stemsplit ${data.version}`;
}

// Failures

function failure(track) {
  const item = make("li", {},
    make("div", { class: "head" },
      title(track), make("span", { class: "state-failed", text: track.reason })),
    make("p", { class: "message", text: `${track.message} ${track.remedy || ""}` }));
  if (track.log_link) {
    item.append(make("details", {}, make("summary", { text: "End of the log" }),
      make("pre", { tabindex: "0", role: "region", "aria-label": `End of the log of ${track.name}`, text: track.log || "Only in the log file:" }),
      make("a", { href: track.log_link, text: "Full log", "aria-label": `Full log of ${track.name}` })));
  }
  return item;
}

function failures() {
  const refused = data.refused.map(([source, reason, message]) => ({ name: source, folder: "", reason, message }));
  const all = [...refused, ...tracks.filter((track) => track.state === "failed")];
  byId("failures").hidden = all.length === 0;
  const reasons = new Map();
  for (const { reason } of all) reasons.set(reason, (reasons.get(reason) || 0) + 1);
  all.sort((a, b) => reasons.get(b.reason) - reasons.get(a.reason) || (a.reason < b.reason ? -1 : a.reason > b.reason));
  const byReason = [...reasons].sort((a, b) => b[1] - a[1]).map(([reason, n]) => `${n.toLocaleString("en")} ${reason}`);
  byId("failures-title").textContent = `${counted(all.length, "failure")}: ${byReason.join(", ")}`;
  pager(byId("failure-list"), byId("failure-pages"), 20, failure).show(all);
}

// Tracks

let open = null;

function closePlayer() {
  if (!open) return;
  open.player.close();
  open.player.element.remove();
  open.button.setAttribute("aria-expanded", "false");
  open = null;
}

function toggle(track, item, button) {
  const wasOpen = open && open.button === button;
  closePlayer();
  if (wasOpen) return;
  const player = new Player(track);
  item.append(player.element);
  button.setAttribute("aria-expanded", "true");
  open = { player, button };
  player.draw();
}

function trackItem(track) {
  const facts = track.audio ? [clock(track.audio)] : [];
  if (secondsOf(track) >= 1) facts.push(`took ${clock(secondsOf(track))}`);
  if (peakOf(track) >= 0) facts.push(`${mib(peakOf(track))} of ${mib(lastAttempt(track)[CAP])}`);
  if (track.attempts.length > 1) facts.push(counted(track.attempts.length, "attempt"));
  const item = make("li", { "data-index": track.index });
  const button = track.stems.length
    ? make("button", { type: "button", text: "Listen", "aria-expanded": "false", "aria-label": `Listen to ${track.name}`,
      onclick: () => toggle(track, item, button) })
    : null;
  const state = isLeft(track) ? "left" : track.state;
  item.append(make("div", { class: "head" }, title(track),
    make("span", { class: "facts", text: facts.join(", ") }),
    make("span", { class: `state-${state}`, text: state === "failed" ? `failed: ${track.reason}` : state }), button));
  if (track.message) item.append(make("p", { class: "message", text: track.message }));
  for (const warning of track.warnings || []) {
    item.append(make("p", { class: `warning ${warning[KIND]}`, text: `${warning[KIND]}: ${warning[TEXT]}` }));
  }
  return item;
}

const ORDERS = {
  path: (a, b) => a.index - b.index,
  longest: (a, b) => (b.audio || 0) - (a.audio || 0),
  slowest: (a, b) => secondsOf(b) - secondsOf(a),
  memory: (a, b) => peakOf(b) - peakOf(a),
};

function trackList() {
  const pages = pager(byId("track-list"), byId("track-pages"), 50, trackItem, closePlayer);
  const show = () => {
    const words = byId("search").value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const state = byId("state").value;
    const found = tracks.filter((track) => words.every((word) => track.searchText.includes(word)) &&
      (!state || track.state === state || (state === "left" && isLeft(track)) ||
        (state === "damaged" && track.reason === "damaged") ||
        (track.state === "done" && hasKind(track, state))));
    found.sort(ORDERS[byId("order").value]);
    byId("count").textContent = `${found.length.toLocaleString("en")} of ${counted(tracks.length, "track")}`;
    pages.show(found);
  };
  let timer = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 120);
  });
  for (const id of ["state", "order"]) byId(id).addEventListener("change", show);
  byId("filter").addEventListener("submit", (event) => { event.preventDefault(); show(); });
  show();
}

// Light and dark

function theme() {
  const NAMES = ["system", "light", "dark"];
  const KEY = "stemsplit-theme";
  const storage = (action) => { try { return action(); } catch { return null; } }; // a browser may forbid it
  const redraw = () => { if (run) drawTimeline(); if (open) open.player.draw(); };
  let chosen = Math.max(0, NAMES.indexOf(storage(() => localStorage.getItem(KEY))));
  const apply = () => {
    if (chosen) document.documentElement.dataset.theme = NAMES[chosen];
    else delete document.documentElement.dataset.theme;
    byId("theme").textContent = `Theme: ${NAMES[chosen]}`;
  };
  byId("theme").addEventListener("click", () => {
    chosen = (chosen + 1) % NAMES.length;
    storage(() => localStorage.setItem(KEY, NAMES[chosen]));
    apply();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  apply();
}

summary();
failures();
trackList();
theme();
timeline();
window.stemsplit = { get player() { return open && open.player; } }; // for tests and extensions
