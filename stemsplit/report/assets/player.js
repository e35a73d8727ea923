/* Players: all stems of a track, synchronised. */

const END_MARGIN = 0.1; // seconds; a position closer to the end counts as the end
const LOAD_TIMEOUT_MS = 5000; // for a file that neither loads nor fails
const SYNC_INTERVAL_MS = 50;
const SYNC_TOLERANCE = 0.004; // seconds; smaller offsets are not corrected
const SEEK_THRESHOLD = 0.15; // seconds; larger offsets are corrected by a seek, not by speed
const MAX_SPEED_CHANGE = 0.1; // of a stem that catches up, as a fraction
// Initial synchronisation, while muted: it ends when the offset is within the tolerance several
// times in a row, or after the maximum number of checks.
const SETTLING = { tolerance: 0.01, times: 3, maxSpeedChange: 0.3, maxChecks: 20 };

class Player {
  constructor(track) {
    this.track = track;
    this.playing = false;
    this.settling = null;
    this.busy = Promise.resolve();
    this.stems = track.stems.map(([name, link, wave]) => {
      const audio = new Audio();
      audio.preload = "auto";
      audio.preservesPitch = false; // a brief pitch change of a fraction of a percent, but no artefacts
      audio.src = link;
      const levels = Uint8Array.from(atob(wave), (char) => char.charCodeAt(0));
      return { name, audio, levels, muted: false, solo: false, volume: 1, missing: false };
    });
    this.element = this.build();
    for (const stem of this.stems) {
      stem.audio.addEventListener("ended", () => this.onEnded());
      stem.audio.addEventListener("error", () => this.onError(stem));
      stem.audio.addEventListener("loadedmetadata", () => this.draw());
    }
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.element);
  }

  /* Stems that can be played; the others follow the first one. */
  get playable() { return this.stems.filter((stem) => !stem.missing); }
  get duration() {
    const known = this.playable.map((stem) => stem.audio.duration).filter(isFinite);
    return known.length ? Math.max(...known) : this.track.audio || 0;
  }
  get time() { return this.playable.length ? this.playable[0].audio.currentTime : 0; }

  build() {
    this.button = make("button", { type: "button", class: "play", text: "Play",
      onclick: () => (this.playing ? this.pause() : this.play()) });
    this.seeker = make("input", { type: "range", min: "0", max: "1000", value: "0", "aria-label": `Position in ${this.track.name}`,
      oninput: () => this.seek((this.seeker.value / 1000) * this.duration),
      onkeydown: (event) => this.seekByKey(event) });
    this.clock = make("span", { class: "clock", text: "0:00" });
    this.problem = make("p", { class: "warning", role: "alert", hidden: true });
    return make("div", { class: "player", role: "group", "aria-label": `Player of ${this.track.name}` },
      make("div", { class: "transport" }, this.button, this.seeker, this.clock),
      ...this.stems.map((stem) => this.row(stem)), this.problem);
  }

  row(stem) {
    const toggleButton = (name) => make("button", { type: "button", text: name, "aria-pressed": "false",
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
        "aria-label": `${stem.name}: open the file` }),
      make("span", { class: "buttons" }, toggleButton("Solo"), toggleButton("Mute"), volume), stem.canvas);
  }

  isAudible(stem) {
    return !stem.muted && (stem.solo || !this.stems.some((other) => other.solo));
  }

  mix() {
    for (const stem of this.stems) {
      stem.audio.muted = Boolean(this.settling) || !this.isAudible(stem);
      stem.audio.volume = stem.volume;
    }
    this.draw();
  }

  /* Run actions one after the other: playing and seeking both wait for files. */
  queue(action) {
    this.busy = this.busy.then(action, action).catch(() => {});
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
    if (!this.playable.length) return this.setPlaying(false);
    this.settling = { good: 0, checks: 0 };
    this.mix();
    await Promise.all(this.playable.map((stem) => stem.audio.play().catch(() => this.onError(stem))));
    clearInterval(this.timer);
    this.timer = setInterval(() => this.synchronise(), SYNC_INTERVAL_MS);
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
    this.wanted = Math.max(0, Math.min(seconds, this.duration - END_MARGIN));
    return this.queue(async () => {
      if (this.wanted === null) return; // an earlier action already went to the last position
      for (const stem of this.stems) stem.audio.pause();
      const position = this.wanted;
      this.wanted = null;
      await (this.playing ? this.start(position) : this.moveTo(position));
      this.draw();
    });
  }

  /* Arrow keys move by 5 seconds, page keys by 30. */
  seekByKey(event) {
    const offset = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -30, PageUp: 30 }[event.key];
    if (offset === undefined) return;
    event.preventDefault();
    this.seek((this.wanted ?? this.time) + offset);
  }

  /* Resolves when each stem can play from the position, has failed, or has timed out. */
  moveTo(seconds) {
    const EVENTS = ["seeked", "canplay", "error", "ended"];
    return Promise.all(this.playable.map((stem) => new Promise((resolve) => {
      const { audio } = stem;
      const done = () => {
        for (const name of EVENTS) audio.removeEventListener(name, check);
        clearTimeout(timeout);
        resolve();
      };
      const check = () => {
        const isNearEnd = audio.readyState >= 2 && audio.currentTime >= audio.duration - 2 * END_MARGIN; // fully loaded
        if (stem.missing || (!audio.seeking && (audio.readyState >= 3 || isNearEnd))) done();
      };
      const timeout = setTimeout(done, LOAD_TIMEOUT_MS);
      for (const name of EVENTS) audio.addEventListener(name, check);
      audio.playbackRate = 1;
      audio.currentTime = seconds; // even if unchanged: all stems start from the same state
      check();
    })));
  }

  /* Stems start some milliseconds apart. They stay muted until they are synchronised, usually after
     a tenth of a second. Later, stems that are behind or ahead change their speed. */
  synchronise() {
    const [first, ...others] = this.playable;
    if (!first || first.audio.ended || first.audio.paused) return;
    const reference = first.audio.currentTime;
    const limit = this.settling ? SETTLING.maxSpeedChange : MAX_SPEED_CHANGE;
    let largest = 0;
    for (const { audio } of others) {
      if (audio.ended || audio.paused) continue;
      const offset = audio.currentTime - reference;
      largest = Math.max(largest, Math.abs(offset));
      if (Math.abs(offset) > SEEK_THRESHOLD) audio.currentTime = this.time;
      else audio.playbackRate = Math.abs(offset) < SYNC_TOLERANCE ? 1 : 1 - Math.max(-limit, Math.min(limit, offset * 4));
    }
    if (!this.settling) return;
    this.settling.good = largest < SETTLING.tolerance ? this.settling.good + 1 : 0;
    if (this.settling.good < SETTLING.times && ++this.settling.checks < SETTLING.maxChecks) return;
    this.settling = null;
    this.mix();
  }

  onEnded() {
    if (!this.playable.every(({ audio }) => audio.ended || audio.duration - audio.currentTime < END_MARGIN)) return;
    this.finished = true;
    this.pause();
  }

  setPlaying(playing) {
    this.playing = playing;
    this.button.textContent = playing ? "Pause" : "Play";
  }

  /* Continue without the stem. */
  onError(stem) {
    if (this.closed || stem.missing) return;
    stem.missing = true;
    stem.solo = false;
    stem.canvas.parentElement.classList.add("missing");
    for (const control of stem.canvas.parentElement.querySelectorAll("button, input")) control.disabled = true;
    const names = this.stems.filter((other) => other.missing).map((other) => other.name);
    this.problem.hidden = false;
    this.problem.textContent = `${names.join(", ")} cannot be played: the file was moved, or this browser does not support its format.`;
    this.mix();
    if (!this.playable.length) {
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
    for (const stem of this.stems) drawWave(stem.canvas, stem.levels, share, this.isAudible(stem) ? 1 : 0.35, wave, played);
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
    const barHeight = Math.max(ratio, level * height);
    paint.fillStyle = x < share * width ? played : wave;
    paint.fillRect(x, (height - barHeight) / 2, Math.max(1, bar - (bar > 2 * ratio ? ratio : 0)), barHeight);
  }
  paint.globalAlpha = 1;
  paint.fillStyle = played;
  paint.fillRect(share * width - ratio / 2, 0, ratio, height);
}
