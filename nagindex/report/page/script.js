"use strict";
(() => {
  const PAGE = 50;
  const $ = (id) => document.getElementById(id);
  const { columns, numeric, rows } = JSON.parse($("data").textContent);
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
  // Browsers that run scripts keep what stands in `noscript` as text: a document's explanation becomes elements when it is first opened.
  document.addEventListener("toggle", ({ target }) => {
    const kept = target.open ? target.querySelector(":scope > noscript") : null;
    kept?.replaceWith(...new DOMParser().parseFromString(kept.textContent, "text/html").body.children);
  }, true);
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
})();
