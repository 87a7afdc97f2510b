// Curves, and what a page does when its session ends. Everything else is HTML.
"use strict";

(() => {
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    return ["--accent", "--second", "--good", "--bad"].map((name) => style.getPropertyValue(name).trim());
  };

  const drawn = new WeakMap(); // canvas -> {plot, text}

  function draw(figure) {
    const canvas = figure.querySelector(".canvas");
    const text = figure.dataset.plot;
    const old = drawn.get(canvas);
    if (!window.uPlot || !text || (old && old.text === text)) return;
    const { names, data } = JSON.parse(text);
    if (old && old.plot.series.length === data.length) {
      old.plot.setData(data);
      old.text = text;
      return;
    }
    if (old) old.plot.destroy();
    const palette = colours();
    const soft = getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
    const line = getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
    const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const times = data[0].length > 0 && data[0][0] > 1e9;
    const plot = new uPlot(
      {
        width: Math.max(240, canvas.clientWidth),
        height: 180,
        legend: { show: names.length > 1 },
        scales: { x: { time: times } },
        axes: [axis, { ...axis, size: 60 }],
        series: [{}, ...names.map((label, i) => ({ label, stroke: palette[i % palette.length], width: 2 }))],
      },
      data,
      canvas,
    );
    drawn.set(canvas, { plot, text });
  }

  function drawAll() {
    document.querySelectorAll("figure[data-plot]").forEach(draw);
  }

  function resize() {
    document.querySelectorAll("figure[data-plot] .canvas").forEach((canvas) => {
      const found = drawn.get(canvas);
      if (found) found.plot.setSize({ width: Math.max(240, canvas.clientWidth), height: 180 });
    });
  }

  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:after:swap", drawAll);
  document.addEventListener("htmx:sse:after:message", drawAll);
  document.addEventListener("signed-out", () => location.reload());
  window.addEventListener("resize", resize);
})();
