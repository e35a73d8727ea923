/* Timeline of one run: memory and lanes of its children, as charts and as a table. */

const COLUMNS = 1200; // resolution of the charts
let attempts = [];
let run = null;
let range = [0, 1];
let charts = [];
const attemptPages = pager(byId("attempt-rows"), byId("attempt-pages"), 100, (attempt) =>
  make("tr", {}, ...[attempt.track.name, clock(attempt.from), attempt.to === Infinity ? "?" : clock(attempt.to - attempt.from),
    attempt[REASON] || "running", mib(attempt[PEAK]), mib(attempt[CAP])].map((text) => make("td", { text }))));

function chooseRun(index) {
  run = data.runs[index];
  attempts = [];
  for (const track of tracks) {
    for (const attempt of track.attempts) {
      if (attempt[RUN] !== index) continue;
      const from = attempt[BEGAN] - run.began;
      const to = attempt[SECONDS] === null ? Infinity : from + attempt[SECONDS];
      attempts.push(Object.assign([...attempt], { track, from, to }));
    }
  }
  attempts.sort((a, b) => a.from - b.from);
  const times = attempts.flatMap(({ from, to }) => [from + 1, to]).filter(isFinite);
  const isRunning = index === data.runs.length - 1 && run.ended === null && attempts.some(({ to }) => to === Infinity);
  const end = isRunning ? data.made : run.ended || run.began;
  range = [0, times.reduce((a, b) => Math.max(a, b), Math.max(1, end - run.began))];
  run.range = range;
  const engine = run.engine ? `, engine ${run.engine}` : "";
  const what =
    run.what === "conversion" ? "conversion" : `${run.model}, ${run.format}${engine}`;
  byId("run-text").textContent = `Started ${moment(run.began)}, ${run.seconds === null ? "no end recorded" : `took ${clock(run.seconds)}`}; ` +
    `${what}; ${counted(attempts.length, "child").replace("childs", "children")}` +
    (run.peak === null ? "" : `; peak memory of all processes ${mib(run.peak)} of ${mib(run.budget)}`) + ".";
  attemptPages.show(attempts);
  drawTimeline();
}

/* For each column of the visible part: the peak memory of all processes and of each lane, and the largest cap of a child. */
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
  const fillSeries = (values, start, series, end) => {
    if (!series) return;
    const [step, samples] = series;
    let last = null;
    samples.forEach((value, i) => {
      last = value ?? last; // a missing sample means that the memory did not change
      fill(values, start + i * step, Math.min(start + (i + 1) * step, end), last);
    });
  };
  const total = empty();
  fillSeries(total, 0, run.memory, Infinity);
  const lanes = Array.from({ length: 1 + attempts.reduce((highest, attempt) => Math.max(highest, attempt[LANE]), 0) }, empty);
  const caps = empty();
  for (const attempt of attempts) {
    fillSeries(lanes[attempt[LANE]], attempt.from, attempt[MEMORY], attempt.to);
    fill(caps, attempt.from, Math.min(attempt.to, to), attempt[CAP]);
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
        const seconds = (pixels) => chart.posToVal(pixels, "x");
        setRange(seconds(chart.select.left), seconds(chart.select.left + chart.select.width));
      }],
    },
  };
  // A budget far above all curves would flatten them, so it is only in the text.
  const highest = Math.max(1, run.peak || 0, ...caps.map((value) => value || 0));
  const top = 1.1 * (run.budget && run.budget < 3 * highest ? Math.max(highest, run.budget) : highest);
  const memory = new uPlot({
    ...common, height: 260, axes: axes(colour, { label: "MiB", labelSize: 20 }),
    scales: { ...common.scales, y: { range: () => [0, top] } },
    series: [{ label: "time", value: (_, value) => (value === null ? "" : clock(value)) },
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
    hooks: { ...common.hooks, draw: [(chart) => drawLanes(chart, colour)], setCursor: [(chart) => describeAttempt(chart)] },
  }, [xs, xs.map(() => 0)], byId("lanes"));
  charts = [memory, bars];
  byId("part").textContent = `From ${clock(range[0])} to ${clock(range[1])} of ${clock(run.range[1])}.`;
}

function drawLanes(chart, colour) {
  const paint = chart.ctx;
  const [left, right] = [chart.bbox.left, chart.bbox.left + chart.bbox.width];
  paint.save();
  for (const attempt of attempts) {
    if (attempt.to < range[0] || attempt.from > range[1]) continue;
    const [lane, reason] = [attempt[LANE], attempt[REASON]];
    const x0 = Math.max(left, chart.valToPos(attempt.from, "x", true));
    const x1 = Math.min(right, chart.valToPos(Math.min(attempt.to, range[1]), "x", true));
    const y0 = chart.valToPos(lane - 0.35, "y", true);
    const y1 = chart.valToPos(lane + 0.35, "y", true);
    paint.fillStyle = reason === "done" ? LANE_COLOURS[lane % LANE_COLOURS.length] : reason ? colour.bad : colour.dim;
    paint.fillRect(x0, Math.min(y0, y1), Math.max(1, x1 - x0 - (x1 - x0 > 4 ? 1 : 0)), Math.abs(y1 - y0));
  }
  paint.restore();
}

/* Describe the attempt under the cursor. */
function describeAttempt(chart) {
  if (chart.cursor.left < 0 || chart.cursor.top < 0) return;
  const [time, lane] = [chart.posToVal(chart.cursor.left, "x"), Math.round(chart.posToVal(chart.cursor.top, "y"))];
  const found = attempts.find((attempt) => attempt[LANE] === lane && attempt.from <= time && time <= attempt.to);
  if (found) byId("under").textContent = `${found.track.name}: ${found[REASON] || "running"}, ${clock(found.to - found.from)}, ${mib(found[PEAK])} of ${mib(found[CAP])}`;
}

function setRange(from, to) {
  const [first, last] = run.range;
  const width = Math.min(Math.max(to - from, 1), last - first);
  const start = Math.max(first, Math.min(from, last - width));
  range = [start, start + width];
  drawTimeline();
}

function timeline() {
  const select = byId("run");
  select.append(...data.runs.map(({ began }, i) => make("option", { value: i, text: `${i + 1}: ${moment(began)}` })));
  const withChildren = data.runs.map(({ memory, budget }, i) => (memory || budget ? i : -1));
  select.value = Math.max(...withChildren, 0);
  select.addEventListener("change", () => chooseRun(Number(select.value)));
  const move = (shift, zoom) => () => {
    const [width, middle] = [range[1] - range[0], (range[0] + range[1]) / 2];
    setRange(middle + shift * width - (zoom * width) / 2, middle + shift * width + (zoom * width) / 2);
  };
  for (const [id, action] of Object.entries({ earlier: move(-0.5, 1), later: move(0.5, 1), nearer: move(0, 0.5), farther: move(0, 2),
    whole: () => setRange(...run.range) })) byId(id).addEventListener("click", action);
  byId("lanes").addEventListener("dblclick", () => setRange(...run.range));
  byId("memory").addEventListener("dblclick", () => setRange(...run.range));
  let width = byId("memory").clientWidth; // of the current drawing
  new ResizeObserver(() => {
    if (byId("memory").clientWidth === width) return;
    width = byId("memory").clientWidth;
    drawTimeline();
  }).observe(byId("memory"));
  chooseRun(Number(select.value));
}
