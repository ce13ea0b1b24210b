// Cursor, zoom and hiding for charts that are complete without it; and, live, a page that renews itself.
"use strict";
(() => {
  const LEFT = 62, RIGHT = 12, WIDTH = 560, PLOT = 1000, POINTS_MAX = 1200;
  const NS = "http://www.w3.org/2000/svg";
  let data = { runs: [] };
  let range = null; // steps that are shown; null for all
  const hidden = new Set(); // "chart id/series number"

  const short = (value) => {
    if (typeof value !== "number") return "–";
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3) : String(+value.toPrecision(6));
  };
  const make = (name, attributes, parent) => {
    const element = document.createElementNS(NS, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    return parent.appendChild(element);
  };
  const domain = (svg) => ({ x0: +svg.dataset.x0, x1: +svg.dataset.x1, y0: +svg.dataset.y0, y1: +svg.dataset.y1, log: svg.dataset.log === "1" });
  const shown = (d) => range ? { from: Math.max(range[0], d.x0), to: Math.min(range[1], d.x1) } : { from: d.x0, to: d.x1 };
  const placeY = (d, value) => {
    const line = d.log ? (v) => Math.log(Math.max(v, 1e-30)) : (v) => v;
    return PLOT * (1 - Math.min(1, Math.max(0, (line(value) - line(d.y0)) / (line(d.y1) - line(d.y0)))));
  };
  const column = (group, key) => {
    const run = data.runs[+group.dataset.run];
    return run && run.columns[key];
  };

  // Points of a series within the range, of each stretch the lowest and the highest.
  function points(group, d, from, to) {
    const steps = column(group, "step"), values = column(group, group.dataset.key);
    if (!steps || !values) return null;
    const kept = [];
    for (let i = 0; i < steps.length; i++)
      if (typeof values[i] === "number" && steps[i] >= from && steps[i] <= to) kept.push(i);
    const stretch = Math.max(1, Math.ceil(2 * kept.length / POINTS_MAX));
    let text = "";
    const put = (i) => { text += (PLOT * (steps[i] - d.x0) / (d.x1 - d.x0)).toFixed(3) + "," + placeY(d, values[i]).toFixed(1) + " "; };
    for (let at = 0; at < kept.length; at += stretch) {
      const part = kept.slice(at, at + stretch);
      const low = part.reduce((a, b) => values[b] < values[a] ? b : a), high = part.reduce((a, b) => values[b] > values[a] ? b : a);
      put(Math.min(low, high));
      if (low !== high) put(Math.max(low, high));
    }
    return text;
  }

  function drawRange(svg) {
    const d = domain(svg), { from, to } = shown(d);
    if (!(to > from)) return;
    const share = (step) => (step - d.x0) / (d.x1 - d.x0);
    svg.querySelector("svg.plot").setAttribute("viewBox", `${PLOT * share(from)} 0 ${PLOT * (share(to) - share(from))} ${PLOT}`);
    for (const group of svg.querySelectorAll("g.series[data-key]")) {
      const margin = (to - from) * 0.02, line = group.querySelector("polyline");
      const text = range ? points(group, d, from - margin, to + margin) : points(group, d, d.x0, d.x1);
      if (text !== null && line) line.setAttribute("points", text);
    }
    const ticks = svg.querySelector("g.ticks-x");
    ticks.replaceChildren();
    const rough = (to - from) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.999999);
    for (let tick = Math.ceil(from / step) * step; tick <= to + step * 1e-9; tick += step)
      make("text", { x: LEFT + (WIDTH - LEFT - RIGHT) * (tick - from) / (to - from), y: 268 }, ticks).textContent = short(tick);
    for (const label of svg.querySelectorAll("text.band-label")) label.style.display = range ? "none" : "";
  }
  const drawAll = () => document.querySelectorAll("svg.frame[data-x0]").forEach(drawRange);
  function zoom(to) {
    range = to && to[1] > to[0] ? to : null;
    drawAll();
    say(range ? `Steps ${short(range[0])} to ${short(range[1])}` : "All steps");
  }
  function say(text) { document.getElementById("said").textContent = text; }

  // What every series of a chart has at the recorded step nearest to `step`.
  function reading(svg, step) {
    const rows = [];
    let nearest = null;
    for (const group of svg.querySelectorAll("g.series[data-key]:not(.off)")) {
      const steps = column(group, "step"), values = column(group, group.dataset.key);
      if (!steps || !values) continue;
      let best = -1;
      for (let i = 0; i < steps.length; i++)
        if (typeof values[i] === "number" && (best < 0 || Math.abs(steps[i] - step) < Math.abs(steps[best] - step))) best = i;
      if (best < 0) continue;
      if (nearest === null || Math.abs(steps[best] - step) < Math.abs(nearest - step)) nearest = steps[best];
      rows.push(`${group.dataset.name}: ${short(values[best])}` + (steps[best] !== nearest ? ` (step ${steps[best]})` : ""));
    }
    return { step: nearest, rows };
  }

  function enhance(figure) {
    const svg = figure.querySelector("svg.frame");
    if (!svg || svg.dataset.x0 === undefined) return;
    const inner = WIDTH - LEFT - RIGHT;
    const cursor = make("line", { class: "cursor", y1: 14, y2: 246, visibility: "hidden" }, svg);
    const selection = make("rect", { class: "selection", y: 14, height: 232, visibility: "hidden" }, svg);
    const tip = figure.appendChild(document.createElement("div"));
    tip.className = "tip";
    tip.hidden = true;
    let at = null, begun = null;
    const stepAt = (event) => {
      const box = svg.getBoundingClientRect(), { from, to } = shown(domain(svg));
      const x = (event.clientX - box.left) * WIDTH / box.width;
      return from + (to - from) * Math.min(1, Math.max(0, (x - LEFT) / inner));
    };
    const xOf = (step) => { const { from, to } = shown(domain(svg)); return LEFT + inner * (step - from) / (to - from); };
    const show = (step, aloud) => {
      const read = reading(svg, step);
      if (read.step === null) return;
      at = read.step;
      const x = Math.min(WIDTH - RIGHT, Math.max(LEFT, xOf(at)));
      cursor.setAttribute("x1", x); cursor.setAttribute("x2", x); cursor.setAttribute("visibility", "visible");
      tip.textContent = [`step ${at}`, ...read.rows].join("\n");
      tip.hidden = false;
      const scale = svg.getBoundingClientRect().width / WIDTH, left = x * scale + 12;
      tip.style.left = (left + tip.offsetWidth > figure.clientWidth ? Math.max(0, x * scale - tip.offsetWidth - 12) : left) + "px";
      tip.style.top = (svg.offsetTop || figure.querySelector("figcaption").offsetHeight) + 20 + "px";
      if (aloud) say([`step ${at}`, ...read.rows].join(", "));
    };
    const hide = () => { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); };
    svg.addEventListener("pointermove", (event) => {
      show(stepAt(event), false);
      if (begun === null) return;
      const [a, b] = [xOf(begun), xOf(stepAt(event))].sort((p, q) => p - q);
      selection.setAttribute("x", a); selection.setAttribute("width", b - a); selection.setAttribute("visibility", "visible");
    });
    svg.addEventListener("pointerdown", (event) => { if (event.pointerType === "mouse" && event.button === 0) begun = stepAt(event); });
    svg.addEventListener("pointerup", (event) => {
      selection.setAttribute("visibility", "hidden");
      if (begun === null) return;
      const [a, b] = [begun, stepAt(event)].sort((p, q) => p - q), { from, to } = shown(domain(svg));
      begun = null;
      if (b - a > (to - from) * 0.02) zoom([a, b]);
    });
    svg.addEventListener("pointerleave", () => { begun = null; selection.setAttribute("visibility", "hidden"); hide(); });
    svg.addEventListener("dblclick", () => zoom(null));
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const { from, to } = shown(domain(svg)), middle = at ?? (from + to) / 2, width = to - from;
      const moved = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (moved) show(Math.min(to, Math.max(from, middle + moved * width / (event.shiftKey ? 10 : 100))), true);
      else if (event.key === "Home") show(from, true);
      else if (event.key === "End") show(to, true);
      else if (event.key === "+") zoom([middle - width / 4, middle + width / 4]);
      else if (event.key === "-") zoom(range && [middle - width, middle + width]);
      else if (event.key === "Escape" || event.key === "0") zoom(null);
      else return;
      event.preventDefault();
    });
    for (const button of figure.querySelectorAll(".legend button")) {
      const group = svg.querySelectorAll("g.series")[+button.dataset.series];
      const name = `${figure.id}/${button.dataset.series}`;
      const apply = () => {
        const off = hidden.has(name), before = svg.querySelectorAll("g.series")[+button.dataset.series - 1];
        button.setAttribute("aria-pressed", String(!off));
        group.classList.toggle("off", off);
        // The pale line behind a mean goes with it.
        if (before && before.classList.contains("faint")) before.classList.toggle("off", off);
      };
      button.addEventListener("click", () => { hidden.has(name) ? hidden.delete(name) : hidden.add(name); apply(); });
      apply();
    }
  }

  function begin() {
    data = JSON.parse(document.getElementById("data").textContent);
    document.querySelectorAll("figure.chart").forEach(enhance);
    if (range) drawAll();
  }

  function follow() {
    const source = new EventSource("events");
    const state = document.getElementById("live");
    let renewing = false;
    source.addEventListener("change", async () => {
      if (renewing) return;
      renewing = true;
      try {
        const answer = await fetch(location.pathname, { cache: "no-store" });
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
          const focused = document.activeElement && document.activeElement.closest("figure");
          document.querySelector("main").replaceWith(fresh.querySelector("main"));
          document.getElementById("data").textContent = fresh.getElementById("data").textContent;
          begin();
          const again = focused && document.getElementById(focused.id);
          if (again && again.querySelector("svg")) again.querySelector("svg").focus({ preventScroll: true });
          state.textContent = "live";
        }
      } catch { state.textContent = "the program that serves this page has ended"; }
      renewing = false;
    });
    source.addEventListener("error", () => { state.textContent = "the connection is lost; trying again"; });
  }

  begin();
  if (document.documentElement.dataset.live === "1") follow();
})();
