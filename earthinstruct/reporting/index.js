"use strict";
// The index of runs: rows are shown by task, by training data and by the words in them.
(() => {
  const $ = (id) => document.getElementById(id);
  const rows = [...$("runs").tBodies[0].rows];
  const plural = (n) => `${n} ${n === 1 ? "run" : "runs"}`;
  function filter() {
    const chosen = [["task", $("task").value], ["training", $("training")?.value ?? ""]].filter(([, value]) => value !== "");
    const words = $("words").value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = chosen.some(([name, value]) => row.dataset[name] !== value) || !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    $("status").textContent = shown === rows.length ? plural(shown) : `${shown} of ${plural(rows.length)}`;
  }
  $("filters").hidden = false;
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("change", filter);
  $("words").addEventListener("input", filter);
})();
