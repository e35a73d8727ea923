/* The page of `stemsplit report`. Everything that comes from the data is put on the screen as text,
   by `textContent` and attributes, and never as markup. */
(() => {
  "use strict";

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

  // Numbers as a person reads them

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

  // An attempt is an array, to keep the page small.
  const [RUN, LANE, BEGAN, SECONDS, REASON, PEAK, CAP, MEMORY] = [0, 1, 2, 3, 4, 5, 6, 7];

  // So is a warning.
  const [KIND, TEXT] = [0, 1];

  const tracks = data.tracks;
  const hasKind = (track, kind) => (track.warnings || []).some((one) => one[KIND] === kind);
  const KINDS = [["damaged", "damaged"], ["clipped", "clipped"], ["note", "with notes"]];
  const isLeft = (track) => track.state !== "done" && track.state !== "failed";
  const lastOf = (track) => track.attempts[track.attempts.length - 1];
  const peakOf = (track) => Math.max(-1, ...track.attempts.map((one) => one[PEAK] ?? -1));
  const secondsOf = (track) => track.attempts.reduce((sum, one) => sum + (one[SECONDS] || 0), 0);
  tracks.forEach((track, index) => {
    track.index = index;
    track.words = [track.folder, track.name, track.reason || "", track.message || "", track.state,
      ...(track.warnings || []).map((one) => one.join(" "))].join("\n").toLocaleLowerCase();
  });

  // Pages of a long list: what is not on the screen costs nothing.

  function pager(list, holder, size, draw, onTurn = () => {}) {
    let items = [];
    let first = 0;
    const step = (text, to) => make("button", { type: "button", text, onclick: () => {
      turn(to());
      list.scrollIntoView({ block: "start" });
      list.focus({ preventScroll: true });
    } });
    const start = () => Math.floor(Math.max(items.length - 1, 0) / size) * size;
    const back = [step("First", () => 0), step("Previous", () => first - size)];
    const on = [step("Next", () => first + size), step("Last", start)];
    const where = make("span", { role: "status" });
    list.tabIndex = -1;
    holder.append(...back, where, ...on);
    function turn(to) {
      first = Math.max(0, Math.min(to, start()));
      onTurn();
      list.replaceChildren(...items.slice(first, first + size).map(draw));
      holder.hidden = items.length <= size;
      for (const button of back) button.disabled = first === 0;
      for (const button of on) button.disabled = first + size >= items.length;
      where.textContent = holder.hidden ? "" : `${(first + 1).toLocaleString("en")} to ` +
        `${Math.min(first + size, items.length).toLocaleString("en")} of ${items.length.toLocaleString("en")}`;
    }
    return { show(all) { items = all; turn(0); } };
  }

  const title = (one) => make("div", { class: "name" }, make("h3", { text: one.name }), make("span", { class: "where", text: one.folder }));

  // Summary

  function card(name, value) {
    return make("div", {}, make("dt", { text: name }), make("dd", { text: value }));
  }

  function summary() {
    const done = tracks.filter((one) => one.state === "done");
    const failed = tracks.filter((one) => one.state === "failed").length + data.refused.length;
    const left = tracks.filter(isLeft).length;
    const audio = done.reduce((sum, one) => sum + (one.audio || 0), 0);
    const last = data.runs[data.runs.length - 1];
    const worked = data.runs.reduce((sum, run) => sum + (run.audio ? run.seconds || 0 : 0), 0);
    const separated = data.runs.reduce((sum, run) => sum + (run.audio || 0), 0);
    const cards = [card("done", done.length.toLocaleString("en"))];
    for (const [kind, name] of KINDS) {
      const count = done.filter((one) => hasKind(one, kind)).length;
      if (count) cards.push(card(name, count.toLocaleString("en")));
    }
    cards.push(card("failed", failed.toLocaleString("en")),
      card("left", left.toLocaleString("en")), card("audio done", clock(audio)));
    if (worked) cards.push(card("speed", `${(separated / worked).toFixed(1)} times real time`));
    const peak = Math.max(-1, ...data.runs.map((run) => run.peak ?? -1));
    if (peak >= 0) cards.push(card("peak memory", mib(peak)));
    if (last.budget) cards.push(card("memory budget", mib(last.budget)));
    cards.push(card("last run", last.ended === null ? "running or killed" : `exit code ${last.exit}`));
    byId("summary").replaceChildren(...cards);
    document.title = byId("title").textContent = `Stems in ${data.output.split(/[\\/]/).pop()}`;
    byId("made").textContent = `${data.output}, written ${moment(data.made)} by stemsplit ${data.version}`;
  }

  // Failures

  function failure(one) {
    const item = make("li", {},
      make("div", { class: "head" },
        title(one), make("span", { class: "state-failed", text: one.reason })),
      make("p", { class: "message", text: `${one.message} ${one.remedy || ""}` }));
    if (one.log_link) {
      item.append(make("details", {}, make("summary", { text: "The end of its log" }),
        make("pre", { tabindex: "0", role: "region", "aria-label": `End of the log of ${one.name}`, text: one.log || "It is in the file alone:" }),
        make("a", { href: one.log_link, text: "the whole log", "aria-label": `The whole log of ${one.name}` })));
    }
    return item;
  }

  function failures() {
    const refused = data.refused.map(([source, reason, message]) => ({ name: source, folder: "", reason, message }));
    const all = [...refused, ...tracks.filter((one) => one.state === "failed")];
    byId("failures").hidden = all.length === 0;
    const reasons = new Map();
    for (const one of all) reasons.set(one.reason, (reasons.get(one.reason) || 0) + 1);
    all.sort((a, b) => reasons.get(b.reason) - reasons.get(a.reason) || (a.reason < b.reason ? -1 : a.reason > b.reason));
    const byReason = [...reasons].sort((a, b) => b[1] - a[1]).map(([reason, n]) => `${n.toLocaleString("en")} ${reason}`);
    byId("failures-title").textContent = `${counted(all.length, "failure")}: ${byReason.join(", ")}`;
    pager(byId("failure-list"), byId("failure-pages"), 20, failure).show(all);
  }

  // Players: all stems of a track in step with each other

  const AT_END = 0.1; // seconds; nearer to the end there is nothing to be played
  const PATIENCE_MS = 5000; // for a file that neither comes nor fails
  const STEP_MS = 50;
  const WITHIN = 0.004; // seconds; closer than this nothing is done
  const JUMP = 0.15; // seconds; farther than this it is no matter of speed any more
  const FASTER = 0.1; // so much faster or slower at most is a stem that catches up
  const SETTLED = { within: 0.01, times: 3, faster: 0.3, most: 20 }; // before anything is heard

  class Player {
    constructor(track) {
      this.track = track;
      this.playing = false;
      this.settling = null;
      this.busy = Promise.resolve();
      this.stems = track.stems.map(([name, link, wave]) => {
        const audio = new Audio();
        audio.preload = "auto";
        audio.preservesPitch = false; // a fraction of a percent for a moment, and no artefacts
        audio.src = link;
        const levels = Uint8Array.from(atob(wave), (one) => one.charCodeAt(0));
        return { name, audio, levels, muted: false, solo: false, volume: 1, missing: false };
      });
      this.element = this.build();
      for (const stem of this.stems) {
        stem.audio.addEventListener("ended", () => this.atEnd());
        stem.audio.addEventListener("error", () => this.complain(stem));
        stem.audio.addEventListener("loadedmetadata", () => this.draw());
      }
      this.observer = new ResizeObserver(() => this.draw());
      this.observer.observe(this.element);
    }

    /* Those that can be played; the first of them leads. */
    get there() { return this.stems.filter((stem) => !stem.missing); }
    get duration() {
      const known = this.there.map((stem) => stem.audio.duration).filter(isFinite);
      return known.length ? Math.max(...known) : this.track.audio || 0;
    }
    get time() { return this.there.length ? this.there[0].audio.currentTime : 0; }

    build() {
      this.button = make("button", { type: "button", class: "play", text: "Play",
        onclick: () => (this.playing ? this.pause() : this.play()) });
      this.seeker = make("input", { type: "range", min: "0", max: "1000", value: "0", "aria-label": `Position in ${this.track.name}`,
        oninput: () => this.seek((this.seeker.value / 1000) * this.duration),
        onkeydown: (event) => this.seekByKey(event) });
      this.clock = make("span", { class: "clock", text: "0:00" });
      this.trouble = make("p", { class: "warning", role: "alert", hidden: true });
      return make("div", { class: "player", role: "group", "aria-label": `Player of ${this.track.name}` },
        make("div", { class: "transport" }, this.button, this.seeker, this.clock),
        ...this.stems.map((stem) => this.row(stem)), this.trouble);
    }

    row(stem) {
      const press = (name) => make("button", { type: "button", text: name, "aria-pressed": "false",
        "aria-label": `${name} ${stem.name}`, onclick: (event) => {
          const key = name === "Mute" ? "muted" : "solo";
          stem[key] = !stem[key];
          event.currentTarget.setAttribute("aria-pressed", stem[key]);
          this.mix();
        } });
      stem.canvas = make("canvas", { "aria-hidden": "true", onclick: (event) => {
        const box = stem.canvas.getBoundingClientRect();
        this.seek(((event.clientX - box.left) / box.width) * this.duration);
      } });
      const volume = make("input", { type: "range", min: "0", max: "100", value: "100", "aria-label": `Volume of ${stem.name}`,
        oninput: () => { stem.volume = volume.value / 100; this.mix(); } });
      return make("div", { class: "stem" },
        make("a", { class: "label", href: stem.audio.getAttribute("src"), target: "_blank", rel: "noopener", text: stem.name,
          "aria-label": `${stem.name}, open the file` }),
        make("span", { class: "buttons" }, press("Solo"), press("Mute"), volume), stem.canvas);
    }

    hears(stem) {
      return !stem.muted && (stem.solo || !this.stems.some((other) => other.solo));
    }

    mix() {
      for (const stem of this.stems) {
        stem.audio.muted = Boolean(this.settling) || !this.hears(stem);
        stem.audio.volume = stem.volume;
      }
      this.draw();
    }

    /* Do one thing after the other: playing and seeking both wait for files. */
    queue(deed) {
      this.busy = this.busy.then(deed, deed).catch(() => {});
      return this.busy;
    }

    play() {
      if (Player.current && Player.current !== this) Player.current.pause();
      Player.current = this;
      this.setPlaying(true);
      return this.queue(() => this.start());
    }

    async start(from = this.finished ? 0 : this.time) {
      this.finished = false;
      await this.moveTo(from);
      if (!this.playing) return;
      if (!this.there.length) return this.setPlaying(false);
      this.settling = { good: 0, looks: 0 };
      this.mix();
      await Promise.all(this.there.map((stem) => stem.audio.play().catch(() => this.complain(stem))));
      clearInterval(this.timer);
      this.timer = setInterval(() => this.keepInStep(), STEP_MS);
      this.animate();
    }

    pause() {
      this.setPlaying(false);
      clearInterval(this.timer);
      this.settling = null;
      this.mix();
      for (const stem of this.stems) stem.audio.pause();
      return this.queue(() => this.draw());
    }

    seek(seconds) {
      this.finished = false;
      this.wanted = Math.max(0, Math.min(seconds, this.duration - AT_END));
      return this.queue(async () => {
        if (this.wanted === null) return; // a later one has been answered already
        for (const stem of this.stems) stem.audio.pause();
        const to = this.wanted;
        this.wanted = null;
        await (this.playing ? this.start(to) : this.moveTo(to));
        this.draw();
      });
    }

    /* A key moves by seconds, a page key by half a minute. */
    seekByKey(event) {
      const by = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -30, PageUp: 30 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      this.seek((this.wanted ?? this.time) + by);
    }

    /* Resolves when all can be played from there, or will never be able to. */
    moveTo(seconds) {
      const EVENTS = ["seeked", "canplay", "error", "ended"];
      return Promise.all(this.there.map((stem) => new Promise((resolve) => {
        const { audio } = stem;
        const done = () => {
          for (const name of EVENTS) audio.removeEventListener(name, look);
          clearTimeout(late);
          resolve();
        };
        const look = () => {
          const near = audio.readyState >= 2 && audio.currentTime >= audio.duration - 2 * AT_END; // no more comes
          if (stem.missing || (!audio.seeking && (audio.readyState >= 3 || near))) done();
        };
        const late = setTimeout(done, PATIENCE_MS);
        for (const name of EVENTS) audio.addEventListener(name, look);
        audio.playbackRate = 1;
        audio.currentTime = seconds; // also where it is there: all begin from the same state
        look();
      })));
    }

    /* Stems begin some milliseconds apart. They are silent until they have come together, which is
       after a tenth of a second as a rule. Later a stem that lags catches up by its speed. */
    keepInStep() {
      const [first, ...others] = this.there;
      if (!first || first.audio.ended || first.audio.paused) return;
      const lead = first.audio.currentTime;
      const most = this.settling ? SETTLED.faster : FASTER;
      let farthest = 0;
      for (const { audio } of others) {
        if (audio.ended || audio.paused) continue;
        const ahead = audio.currentTime - lead;
        farthest = Math.max(farthest, Math.abs(ahead));
        if (Math.abs(ahead) > JUMP) audio.currentTime = this.time;
        else audio.playbackRate = Math.abs(ahead) < WITHIN ? 1 : 1 - Math.max(-most, Math.min(most, ahead * 4));
      }
      if (!this.settling) return;
      this.settling.good = farthest < SETTLED.within ? this.settling.good + 1 : 0;
      if (this.settling.good < SETTLED.times && ++this.settling.looks < SETTLED.most) return;
      this.settling = null;
      this.mix();
    }

    atEnd() {
      if (!this.there.every(({ audio }) => audio.ended || audio.duration - audio.currentTime < AT_END)) return;
      this.finished = true;
      this.pause();
    }

    setPlaying(playing) {
      this.playing = playing;
      this.button.textContent = playing ? "Pause" : "Play";
    }

    /* Go on without a stem. */
    complain(stem) {
      if (this.closed || stem.missing) return;
      stem.missing = true;
      stem.solo = false;
      stem.canvas.parentElement.classList.add("missing");
      for (const control of stem.canvas.parentElement.querySelectorAll("button, input")) control.disabled = true;
      const names = this.stems.filter((one) => one.missing).map((one) => one.name);
      this.trouble.hidden = false;
      this.trouble.textContent = `${names.join(", ")} cannot be played: the file was moved, or this browser does not know its format.`;
      this.mix();
      if (!this.there.length) {
        this.button.disabled = this.seeker.disabled = true;
        this.pause();
      }
    }

    animate() {
      cancelAnimationFrame(this.frame);
      this.draw();
      if (this.playing && this.element.isConnected) this.frame = requestAnimationFrame(() => this.animate());
    }

    draw() {
      const share = this.duration ? this.time / this.duration : 0;
      this.clock.textContent = `${clock(this.time)} of ${clock(this.duration)}`;
      this.seeker.value = Math.round(1000 * share);
      this.seeker.setAttribute("aria-valuetext", this.clock.textContent);
      const style = getComputedStyle(document.documentElement);
      const [wave, played] = [style.getPropertyValue("--wave"), style.getPropertyValue("--played")];
      for (const stem of this.stems) drawWave(stem.canvas, stem.levels, share, this.hears(stem) ? 1 : 0.35, wave, played);
    }

    close() {
      this.closed = true;
      this.pause();
      this.observer.disconnect();
      for (const { audio } of this.stems) { audio.removeAttribute("src"); audio.load(); }
      if (Player.current === this) Player.current = null;
    }
  }

  function drawWave(canvas, levels, share, opacity, wave, played) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!width) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const paint = canvas.getContext("2d");
    paint.clearRect(0, 0, width, height);
    paint.globalAlpha = opacity;
    const bar = Math.max(ratio, width / (levels.length || 1));
    for (let x = 0; x < width; x += bar) {
      const level = levels.length ? levels[Math.min(levels.length - 1, Math.floor((x / width) * levels.length))] / 255 : 0;
      const tall = Math.max(ratio, level * height);
      paint.fillStyle = x < share * width ? played : wave;
      paint.fillRect(x, (height - tall) / 2, Math.max(1, bar - (bar > 2 * ratio ? ratio : 0)), tall);
    }
    paint.globalAlpha = 1;
    paint.fillStyle = played;
    paint.fillRect(share * width - ratio / 2, 0, ratio, height);
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
    const same = open && open.button === button;
    closePlayer();
    if (same) return;
    const player = new Player(track);
    item.append(player.element);
    button.setAttribute("aria-expanded", "true");
    open = { player, button };
    player.draw();
  }

  function trackItem(track) {
    const last = lastOf(track);
    const facts = track.audio ? [clock(track.audio)] : [];
    if (secondsOf(track) >= 1) facts.push(`took ${clock(secondsOf(track))}`);
    if (peakOf(track) >= 0) facts.push(`${mib(peakOf(track))} of ${mib(last[CAP])}`);
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
    for (const one of track.warnings || []) {
      item.append(make("p", { class: `warning ${one[KIND]}`, text: `${one[KIND]}: ${one[TEXT]}` }));
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
      const found = tracks.filter((track) => words.every((word) => track.words.includes(word)) &&
        (!state || track.state === state || (state === "left" && isLeft(track)) ||
          (state === "damaged" && track.reason === "damaged") ||
          (track.state === "done" && hasKind(track, state))));
      found.sort(ORDERS[byId("order").value]);
      byId("count").textContent = `${found.length.toLocaleString("en")} of ${counted(tracks.length, "track")}`;
      pages.show(found);
    };
    let waiting = 0;
    byId("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(show, 120);
    });
    for (const id of ["state", "order"]) byId(id).addEventListener("change", show);
    byId("filter").addEventListener("submit", (event) => { event.preventDefault(); show(); });
    show();
  }

  // Timeline of one run

  const COLUMNS = 1200; // as many steps are drawn at most
  let attempts = [];
  let run = null;
  let range = [0, 1];
  let charts = [];
  const attemptPages = pager(byId("attempt-rows"), byId("attempt-pages"), 100, (one) =>
    make("tr", {}, ...[one.track.name, clock(one.from), one.to === Infinity ? "?" : clock(one.to - one.from),
      one[REASON] || "running", mib(one[PEAK]), mib(one[CAP])].map((text) => make("td", { text }))));

  function chooseRun(index) {
    run = data.runs[index];
    attempts = [];
    for (const track of tracks) {
      for (const one of track.attempts) {
        if (one[RUN] !== index) continue;
        const from = one[BEGAN] - run.began;
        attempts.push(Object.assign([...one], { track, from, to: one[SECONDS] === null ? Infinity : from + one[SECONDS] }));
      }
    }
    attempts.sort((a, b) => a.from - b.from);
    const moments = attempts.flatMap((one) => [one.from + 1, one.to]).filter(isFinite);
    const goesOn = index === data.runs.length - 1 && run.ended === null && attempts.some((one) => one.to === Infinity);
    const until = goesOn ? data.made - run.began : (run.ended || run.began) - run.began;
    range = [0, moments.reduce((a, b) => Math.max(a, b), Math.max(1, until))];
    run.range = range;
    const engine = run.engine ? `, engine ${run.engine}` : "";
    const what =
      run.what === "conversion" ? "conversion" : `${run.model}, ${run.format}${engine}`;
    byId("run-text").textContent = `Began ${moment(run.began)}, ${run.seconds === null ? "has no end yet" : `took ${clock(run.seconds)}`}; ` +
      `${what}; ${counted(attempts.length, "child").replace("childs", "children")}` +
      (run.peak === null ? "" : `; at most ${mib(run.peak)} of ${mib(run.budget)} for all processes together`) + ".";
    attemptPages.show(attempts);
    drawTimeline();
  }

  /* The largest memory in each step of the visible part: of all processes, of each lane, and the cap of a child. */
  function columns() {
    const [from, to] = range;
    const width = (to - from) / COLUMNS;
    const xs = Array.from({ length: COLUMNS }, (_, i) => from + (i + 0.5) * width);
    const empty = () => new Array(COLUMNS).fill(null);
    const fill = (values, start, end, value) => {
      if (value === null || value === undefined || end <= from || start >= to) return;
      const last = Math.min(COLUMNS - 1, Math.floor((end - from) / width));
      for (let i = Math.max(0, Math.floor((start - from) / width)); i <= last; i++) {
        values[i] = values[i] === null ? value : Math.max(values[i], value);
      }
    };
    const spread = (values, start, curve, end) => {
      if (!curve) return;
      let known = null;
      curve[1].forEach((value, i) => {
        known = value ?? known; // it is read again when it has changed
        fill(values, start + i * curve[0], Math.min(start + (i + 1) * curve[0], end), known);
      });
    };
    const total = empty();
    spread(total, 0, run.memory, Infinity);
    const lanes = Array.from({ length: 1 + attempts.reduce((most, one) => Math.max(most, one[LANE]), 0) }, empty);
    const caps = empty();
    for (const one of attempts) {
      spread(lanes[one[LANE]], one.from, one[MEMORY], one.to);
      fill(caps, one.from, Math.min(one.to, to), one[CAP]);
    }
    return { xs, total, lanes, caps };
  }

  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(["text", "dim", "line", "accent", "bad", "good", "warn"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  };
  const LANE_COLOURS = ["#4e9a8f", "#b07aa1", "#d08a3e", "#6b8fd6", "#9aa43c", "#c76b6b"];

  const ROUND_TIMES = [1, 2, 5, 10, 15, 30, ...[1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880].map((minutes) => 60 * minutes)];

  function axes(colour, y) {
    const common = { stroke: colour.dim, grid: { stroke: colour.line, width: 0.5 }, ticks: { stroke: colour.line, width: 0.5 } };
    return [{ ...common, incrs: ROUND_TIMES, values: (_, ticks) => ticks.map(clock) }, { ...common, size: 64, ...y }];
  }

  function drawTimeline() {
    for (const chart of charts) chart.destroy();
    const colour = colours();
    const { xs, total, lanes, caps } = columns();
    const width = Math.max(280, byId("memory").clientWidth);
    const line = (label, stroke, more = {}) => ({ label, stroke, width: 1.5, points: { show: false }, spanGaps: false,
      value: (_, value) => (value === null ? "" : mib(value)), ...more });
    const common = {
      width,
      legend: { live: true },
      scales: { x: { time: false, range: () => range } },
      cursor: { sync: { key: "timeline" }, drag: { x: true, y: false, setScale: false }, y: false },
      hooks: {
        setSelect: [(chart) => {
          if (chart.select.width < 5) return;
          const at = (pixels) => chart.posToVal(pixels, "x");
          setRange(at(chart.select.left), at(chart.select.left + chart.select.width));
        }],
      },
    };
    // A budget far above everything would press the curves to the ground; the text names it.
    const most = Math.max(1, run.peak || 0, ...caps.map((value) => value || 0));
    const top = 1.1 * (run.budget && run.budget < 3 * most ? Math.max(most, run.budget) : most);
    const memory = new uPlot({
      ...common, height: 260, axes: axes(colour, { label: "MiB", labelSize: 20 }),
      scales: { ...common.scales, y: { range: () => [0, top] } },
      series: [{ label: "after", value: (_, value) => (value === null ? "" : clock(value)) },
        line("all processes", colour.accent, { fill: `${colour.accent}22`, spanGaps: true }),
        line("budget", colour.bad, { dash: [8, 5] }),
        line("cap of a child", colour.warn, { dash: [3, 4] }),
        ...lanes.map((_, i) => line(`child ${i + 1}`, LANE_COLOURS[i % LANE_COLOURS.length]))],
    }, [xs, total, xs.map(() => run.budget), caps, ...lanes], byId("memory"));
    const bars = new uPlot({
      ...common, height: 60 + 28 * lanes.length, legend: { show: false },
      axes: axes(colour, { size: 84, splits: () => lanes.map((_, i) => i), values: (_, ticks) => ticks.map((i) => `child ${i + 1}`), grid: { show: false } }),
      scales: { ...common.scales, y: { dir: -1, range: () => [-0.6, lanes.length - 0.4] } },
      series: [{}, { points: { show: false }, stroke: "transparent" }],
      hooks: { ...common.hooks, draw: [(chart) => drawLanes(chart, colour)], setCursor: [(chart) => tellUnder(chart)] },
    }, [xs, xs.map(() => 0)], byId("lanes"));
    charts = [memory, bars];
    byId("part").textContent = `From ${clock(range[0])} to ${clock(range[1])} of ${clock(run.range[1])}.`;
  }

  function drawLanes(chart, colour) {
    const paint = chart.ctx;
    const [left, right] = [chart.bbox.left, chart.bbox.left + chart.bbox.width];
    paint.save();
    for (const one of attempts) {
      if (one.to < range[0] || one.from > range[1]) continue;
      const x0 = Math.max(left, chart.valToPos(one.from, "x", true));
      const x1 = Math.min(right, chart.valToPos(Math.min(one.to, range[1]), "x", true));
      const y0 = chart.valToPos(one[LANE] - 0.35, "y", true);
      const y1 = chart.valToPos(one[LANE] + 0.35, "y", true);
      paint.fillStyle = one[REASON] === "done" ? LANE_COLOURS[one[LANE] % LANE_COLOURS.length] : one[REASON] ? colour.bad : colour.dim;
      paint.fillRect(x0, Math.min(y0, y1), Math.max(1, x1 - x0 - (x1 - x0 > 4 ? 1 : 0)), Math.abs(y1 - y0));
    }
    paint.restore();
  }

  function tellUnder(chart) {
    if (chart.cursor.left < 0 || chart.cursor.top < 0) return;
    const [at, lane] = [chart.posToVal(chart.cursor.left, "x"), Math.round(chart.posToVal(chart.cursor.top, "y"))];
    const one = attempts.find((attempt) => attempt[LANE] === lane && attempt.from <= at && at <= attempt.to);
    if (one) byId("under").textContent = `${one.track.name}: ${one[REASON] || "running"}, ${clock(one.to - one.from)}, ${mib(one[PEAK])} of ${mib(one[CAP])}`;
  }

  function setRange(from, to) {
    const [first, last] = run.range;
    const wide = Math.min(Math.max(to - from, 1), last - first);
    const start = Math.max(first, Math.min(from, last - wide));
    range = [start, start + wide];
    drawTimeline();
  }

  function timeline() {
    const choice = byId("run");
    choice.append(...data.runs.map((one, i) => make("option", { value: i, text: `${i + 1}: ${moment(one.began)}` })));
    const worked = data.runs.map((one, i) => (one.memory || one.budget ? i : -1));
    choice.value = Math.max(...worked, 0);
    choice.addEventListener("change", () => chooseRun(Number(choice.value)));
    const move = (shift, zoom) => () => {
      const [wide, middle] = [range[1] - range[0], (range[0] + range[1]) / 2];
      setRange(middle + shift * wide - (zoom * wide) / 2, middle + shift * wide + (zoom * wide) / 2);
    };
    for (const [id, deed] of Object.entries({ earlier: move(-0.5, 1), later: move(0.5, 1), nearer: move(0, 0.5), farther: move(0, 2),
      whole: () => setRange(...run.range) })) byId(id).addEventListener("click", deed);
    byId("lanes").addEventListener("dblclick", () => setRange(...run.range));
    byId("memory").addEventListener("dblclick", () => setRange(...run.range));
    let wide = byId("memory").clientWidth; // which it is drawn for below
    new ResizeObserver(() => {
      if (byId("memory").clientWidth === wide) return;
      wide = byId("memory").clientWidth;
      drawTimeline();
    }).observe(byId("memory"));
    chooseRun(Number(choice.value));
  }

  // Light and dark

  function theme() {
    const NAMES = ["as the system", "light", "dark"];
    const KEY = "stemsplit-theme";
    const remember = (deed) => { try { return deed(); } catch { return null; } }; // a browser may forbid it
    const redraw = () => { if (run) drawTimeline(); if (open) open.player.draw(); };
    let chosen = Math.max(0, NAMES.indexOf(remember(() => localStorage.getItem(KEY))));
    const apply = () => {
      if (chosen) document.documentElement.dataset.theme = NAMES[chosen];
      else delete document.documentElement.dataset.theme;
      byId("theme").textContent = `Theme: ${NAMES[chosen]}`;
    };
    byId("theme").addEventListener("click", () => {
      chosen = (chosen + 1) % NAMES.length;
      remember(() => localStorage.setItem(KEY, NAMES[chosen]));
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
  window.stemsplit = { get player() { return open && open.player; } }; // for whoever tests or extends the page
})();
