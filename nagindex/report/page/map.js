"use strict";
(() => {
  const NEAR = 14, RADIUS = 10; // pixels
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const $ = (id) => document.getElementById(id);
  const chart = $("points");
  if (chart === null) return;
  const { column, values, groups } = JSON.parse($("names").textContent);
  const box = chart.parentElement, mark = $("point"), about = $("about-point"), said = $("said-point");
  const layers = [...chart.querySelectorAll("g")];
  let read = null, current = null;

  // The coordinates stand once, in the paths that draw the points.
  const points = () => read ??= layers.map((layer) =>
    [...layer.querySelector(".dots").getAttribute("d").matchAll(/M(\d+) (\d+)/g)].map(([, x, y]) => [Number(x), Number(y)]));
  const visible = (group) => !layers[group].hasAttribute("hidden");
  const at = (group, place) => ({ group, place, x: points()[group][place][0], y: points()[group][place][1] });

  // Of the visible points, one of the group if that is given, the last of those with the least cost; null where all are infinite.
  function cheapest(cost, only = null) {
    let found = null, least = Infinity;
    points().forEach((own, group) => {
      if (!visible(group) || (only !== null && group !== only)) return;
      own.forEach(([x, y], place) => {
        const value = cost(x, y);
        if (value <= least && value < Infinity) { least = value; found = [group, place]; }
      });
    });
    return found && at(...found);
  }

  const squared = (a, x, y) => (x - a.x) ** 2 + (y - a.y) ** 2;
  function inDirection(from, [right, down]) {
    return cheapest((x, y) => {
      const along = (x - from.x) * right + (y - from.y) * down, aside = Math.abs((x - from.x) * down + (y - from.y) * right);
      return along > 0 && aside <= along ? squared(from, x, y) : Infinity;
    });
  }

  function text({ group, place }) {
    const { name, ids, labels } = groups[group];
    if (place >= ids.length) return `not named, to keep the page small\n${name}`;
    return [ids[place], ...(labels[place] === null ? [] : [`${column}: ${values[labels[place]]}`]), name].join("\n");
  }

  function show(point) {
    mark.toggleAttribute("hidden", point === null);
    about.hidden = point === null;
    if (point === null) return;
    current = point;
    about.textContent = text(point);
    const screen = chart.getScreenCTM(), frame = box.getBoundingClientRect();
    mark.setAttribute("cx", point.x);
    mark.setAttribute("cy", point.y);
    mark.setAttribute("r", RADIUS / screen.a);
    const left = point.x * screen.a + screen.e - frame.left, top = point.y * screen.d + screen.f - frame.top;
    const onRight = left > frame.width / 2, half = about.offsetHeight / 2;
    about.style.left = onRight ? "" : `${left + 12}px`;
    about.style.right = onRight ? `${frame.width - left + 12}px` : "";
    about.style.top = `${Math.max(half, Math.min(top, frame.height - half))}px`;
  }

  function showNearest(event) {
    const screen = chart.getScreenCTM(), here = { x: (event.clientX - screen.e) / screen.a, y: (event.clientY - screen.f) / screen.d };
    const limit = (NEAR / screen.a) ** 2;
    show(cheapest((x, y) => { const away = squared(here, x, y); return away <= limit ? away : Infinity; }));
  }

  function beside(from, step) {
    const place = from.place + step;
    return place in points()[from.group] ? at(from.group, place) : null;
  }

  function nextGroup(from, step) {
    for (let group = from.group + step; group in layers; group += step) {
      if (visible(group)) return cheapest((x, y) => squared(from, x, y), group);
    }
    return null;
  }

  // Where a key leads from a point; undefined for keys that lead nowhere.
  function target({ key, shiftKey }, from) {
    if (shiftKey && (key === "ArrowLeft" || key === "ArrowRight")) return beside(from, STEPS[key][0]);
    if (key in STEPS) return inDirection(from, STEPS[key]);
    if (key === "Home") return at(from.group, 0);
    if (key === "End") return at(from.group, points()[from.group].length - 1);
    if (key === "PageDown") return nextGroup(from, 1);
    if (key === "PageUp") return nextGroup(from, -1);
    return undefined;
  }

  // Where the keyboard begins: the point last shown, otherwise the first example.
  function start() {
    if (current !== null && visible(current.group)) return current;
    const shown = layers.map((_, group) => group).filter(visible);
    return shown.length ? at(shown.find((group) => layers[group].classList.contains("examples")) ?? shown[0], 0) : null;
  }

  function announce(point) {
    show(point);
    said.textContent = point === null ? "" : about.textContent;
    if (point !== null) about.scrollIntoView({ block: "nearest" });
  }

  const hide = () => { show(null); said.textContent = ""; };

  box.tabIndex = 0;
  box.setAttribute("role", "application");
  box.setAttribute("aria-label", "Map");
  box.setAttribute("aria-describedby", "map-keys");
  box.addEventListener("focus", () => { if (box.matches(":focus-visible")) announce(start()); });
  box.addEventListener("blur", hide);
  box.addEventListener("keydown", (event) => {
    const from = start();
    if (from === null || event.altKey || event.ctrlKey || event.metaKey) return;
    const found = target(event, from);
    if (found === undefined) return;
    event.preventDefault();
    announce(found ?? from);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  box.addEventListener("pointermove", showNearest);
  box.addEventListener("pointerdown", showNearest);
  box.addEventListener("pointerleave", hide);
  for (const check of document.querySelectorAll("[data-group]")) {
    check.addEventListener("change", () => { hide(); layers[check.dataset.group].toggleAttribute("hidden", !check.checked); });
  }
})();
