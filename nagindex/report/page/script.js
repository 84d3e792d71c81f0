"use strict";
(() => {
  const PAGE = 50;
  const $ = (id) => document.getElementById(id);
  const { columns, numeric, rows, map } = JSON.parse($("data").textContent);
  const table = $("rows"), body = table.tBodies[0], search = $("search");
  const decimal = columns.map((_, column) => numeric[column] && rows.some((row) => !Number.isInteger(row[column] ?? 0)));
  const words = rows.map((row) => row.join("\n").toLowerCase());
  const collator = new Intl.Collator(undefined, { numeric: true });
  let shown = rows.map((_, place) => place), page = 0;

  for (const tools of document.querySelectorAll(".tools")) tools.hidden = false;

  function draw() {
    const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
    page = Math.min(Math.max(page, 0), last);
    const places = shown.slice(page * PAGE, (page + 1) * PAGE);
    body.replaceChildren(...places.map((place) => {
      const line = document.createElement("tr");
      rows[place].forEach((value, column) => {
        const cell = line.insertCell();
        cell.textContent = decimal[column] && value !== null ? value.toFixed(6) : value ?? "";
        cell.className = numeric[column] ? "n" : columns[column] === "text" ? "wide" : "";
      });
      return line;
    }));
    const count = (number) => number.toLocaleString("en");
    $("found").textContent = search.value ? `${count(shown.length)} of ${count(rows.length)} rows` : "";
    $("page").textContent = shown.length
      ? `${count(page * PAGE + 1)} to ${count(page * PAGE + places.length)} of ${count(shown.length)}` : "no row";
    $("before").disabled = page === 0;
    $("after").disabled = page === last;
  }

  // Empty cells come last in both directions, as in a spreadsheet.
  function compare(a, b, column, sign) {
    const one = rows[a][column], other = rows[b][column];
    const empty = (one === null || one === "") - (other === null || other === "");
    return empty || sign * (numeric[column] ? one - other : collator.compare(one, other)) || a - b;
  }

  let sorted = null, sign = 1;
  function arrange() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = [];
    words.forEach((text, place) => { if (wanted.every((word) => text.includes(word))) shown.push(place); });
    if (sorted !== null) shown.sort((a, b) => compare(a, b, sorted, sign));
    page = 0;
    draw();
  }

  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      sign = sorted === column ? -sign : 1;
      sorted = column;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      arrange();
    });
  });

  search.addEventListener("input", arrange);
  $("before").addEventListener("click", () => { page -= 1; draw(); });
  $("after").addEventListener("click", () => { page += 1; draw(); });
  const setAll = (open) => { for (const own of document.querySelectorAll(".exhibit")) own.open = open; };
  $("open-all").addEventListener("click", () => setAll(true));
  $("close-all").addEventListener("click", () => setAll(false));
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const text = $(button.dataset.of).textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren($(button.dataset.of));
        button.textContent = "Press Ctrl+C";
      }
    });
  }
  draw();

  // The points of the map stand in its paths; the one nearest to the pointer is named.
  const NEAR = 14; // pixels
  function followPointer(chart) {
    const mark = $("point"), about = $("about-point"), layers = [...chart.querySelectorAll("g")];
    let places = null;
    const read = () => layers.map((layer) => [...layer.querySelector(".dots").getAttribute("d").matchAll(/M(\d+) (\d+)/g)]
      .map((found) => [Number(found[1]), Number(found[2])]));

    function nearest(x, y, limit) {
      let best = null, least = limit * limit;
      places.forEach((points, group) => {
        if (layers[group].hasAttribute("hidden")) return;
        points.forEach(([px, py], place) => {
          const distance = (px - x) ** 2 + (py - y) ** 2;
          if (distance <= least) { least = distance; best = { group, place, x: px, y: py }; }
        });
      });
      return best;
    }

    function show(event) {
      places ??= read();
      const screen = chart.getScreenCTM();
      const found = nearest((event.clientX - screen.e) / screen.a, (event.clientY - screen.f) / screen.d, NEAR / screen.a);
      mark.toggleAttribute("hidden", found === null);
      about.hidden = found === null;
      if (found === null) return;
      const { name, ids, labels } = map.groups[found.group], label = labels[found.place];
      const known = found.place < ids.length;
      const lines = [known ? ids[found.place] : "not named, to keep the page small"];
      if (known && label !== null) lines.push(`${map.column}: ${map.values[label]}`);
      about.textContent = [...lines, name].join("\n");
      mark.setAttribute("cx", found.x);
      mark.setAttribute("cy", found.y);
      const box = about.parentElement.getBoundingClientRect();
      const left = found.x * screen.a + screen.e - box.left, right = left > box.width / 2;
      about.style.left = right ? "" : `${left + 12}px`;
      about.style.right = right ? `${box.width - left + 12}px` : "";
      about.style.top = `${found.y * screen.d + screen.f - box.top}px`;
    }

    const hide = () => { mark.toggleAttribute("hidden", true); about.hidden = true; };
    chart.addEventListener("pointermove", show);
    chart.addEventListener("pointerdown", show);
    chart.addEventListener("pointerleave", hide);
    for (const box of document.querySelectorAll("[data-group]")) {
      box.addEventListener("change", () => { hide(); layers[box.dataset.group].toggleAttribute("hidden", !box.checked); });
    }
  }
  if (map !== null) followPointer($("points"));
})();
