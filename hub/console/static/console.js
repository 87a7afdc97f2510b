// Curves, and what a page does when its session ends or its first connection fails. Everything else is HTML.
"use strict";

(() => {
  const HEIGHT = 190;
  const COLOURS = { stable: "--accent", canary: "--second", shadow: "--good", pinned: "--bad" };
  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600]; // seconds between marks of a time axis
  const FEED = "hx-sse:connect";
  const RETRY_MS = 3000;
  const drawn = new WeakMap(); // canvas -> {plot, text, names}

  const clock = (plot, moments) => moments.map((moment) => new Date(moment * 1000).toISOString().slice(11, 19));

  function options(canvas, names, data) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const line = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--soft"), grid: line, ticks: line };
    const times = data[0].length > 0 && data[0][0] > 1e9; // seconds since the epoch; else steps
    return {
      width: Math.max(240, canvas.clientWidth),
      height: HEIGHT,
      legend: { show: names.length > 1, live: false },
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time: false },
        y: times ? { range: (plot, low, high) => [0, high > 0 ? high * 1.1 : 1] } : {},
      },
      axes: [times ? { ...axis, incrs: STEPS, space: 80, values: clock } : axis, { ...axis, size: 60 }],
      series: [
        {},
        ...names.map((label) => ({
          label,
          stroke: colour(COLOURS[label] || "--accent"),
          width: 2,
          points: { show: false },
        })),
      ],
    };
  }

  function draw(figure) {
    const canvas = figure.querySelector(".canvas");
    const text = figure.dataset.plot;
    const old = drawn.get(canvas);
    if (!window.uPlot || !text || (old && old.text === text)) return;
    const { names, data } = JSON.parse(text);
    if (old && old.names === names.join()) {
      old.plot.setData(data);
      old.text = text;
      return;
    }
    if (old) old.plot.destroy();
    const plot = new uPlot(options(canvas, names, data), data, canvas);
    drawn.set(canvas, { plot, text, names: names.join() });
  }

  function drawAll() {
    document.querySelectorAll("figure[data-plot]").forEach(draw);
  }

  function each(change) {
    document.querySelectorAll("figure[data-plot] .canvas").forEach((canvas) => {
      const found = drawn.get(canvas);
      if (found) change(found, canvas);
    });
  }

  function recolour() {
    each((found, canvas) => {
      found.plot.destroy();
      drawn.delete(canvas);
    });
    drawAll();
  }

  // The extension connects again after a connection has ended, but not after one that never began.
  function connect({ target: part }) {
    if (!part.hasAttribute?.(FEED) || part._htmx?.sse) return;
    setTimeout(() => htmx.ajax("GET", part.getAttribute(FEED), { source: part }), RETRY_MS);
  }

  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:finally:request", connect);
  document.addEventListener("htmx:after:swap", drawAll);
  document.addEventListener("htmx:sse:after:message", drawAll);
  document.addEventListener("signed-out", () => location.reload());
  window.addEventListener("resize", () =>
    each(({ plot }, canvas) => plot.setSize({ width: Math.max(240, canvas.clientWidth), height: HEIGHT })),
  );
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
})();
