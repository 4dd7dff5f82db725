"use strict";
(() => {
  const boards = document.querySelector(".boards");
  const form = boards.querySelector("form");
  const all = (selector, of = boards) => [...of.querySelectorAll(selector)];
  const order = form.elements.order;
  const first = order.value;
  const choices = new Map(all("thead [data-score]").map((head) => [head.dataset.score, head.dataset.columns.split(";")]));
  let ascending = false;

  /** What a row is sorted by: a number, or its name; undefined where it has no such score. */
  function key(row) {
    if (order.value === "method") return row.querySelector(".method").textContent;
    const cell = all("td[data-score]", row).find((one) => one.dataset.score === order.value);
    const at = cell?.style.getPropertyValue("--at");
    return at ? Number(at) : undefined;
  }
  function compare(a, b) {
    const [x, y] = [key(a), key(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);  // without a score: last
    const upward = typeof x === "number" ? x - y : x.localeCompare(y, "en");
    return ascending ? upward : -upward;
  }
  function sort() {
    for (const body of all("section tbody")) {
      for (const row of all(".row", body).sort(compare)) body.append(row, document.getElementById(row.querySelector("[aria-controls]").getAttribute("aria-controls")));
    }
    for (const head of all("thead [data-score]")) {
      head.removeAttribute("aria-sort");
      if (head.dataset.score === order.value) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    }
  }
  function fold(button, open) {
    button.setAttribute("aria-expanded", open);
    button.textContent = open ? "−" : "+";
    document.getElementById(button.getAttribute("aria-controls")).hidden = !open;
  }
  /** Whether the chosen columns have this score; that of the order always stands there. */
  function isShown(score) {
    const chosen = form.elements.columns.value;
    return chosen === "all scores" || score === order.value || choices.get(score).includes(chosen);
  }
  function select() {
    const facets = all("select[name^=data-]", form).filter((one) => one.value);
    const matches = (row) => facets.every((one) => row.getAttribute(one.name) === one.value);
    for (const cell of all("section [data-score]")) cell.hidden = !isShown(cell.dataset.score);
    let n = 0;
    for (const row of all(".row")) {
      row.hidden = !matches(row);
      n += !row.hidden;
      if (row.hidden) fold(row.querySelector("[aria-controls]"), false);
    }
    const empty = (part) => all(".row", part).every((row) => row.hidden);
    for (const part of all("section, section tbody")) part.hidden = empty(part);
    for (const link of all(".tasks a")) link.closest("tr").hidden = document.getElementById(link.getAttribute("href").slice(1)).parentElement.hidden;
    form.querySelector("output").textContent = `${n} ${n === 1 ? "row" : "rows"}`;
  }
  function update() {
    select();
    sort();
  }
  for (const button of all("[aria-controls]")) {
    fold(button, false);
    button.addEventListener("click", () => fold(button, button.getAttribute("aria-expanded") === "false"));
  }
  for (const button of all("thead button")) {
    button.addEventListener("click", () => {
      const name = button.parentElement.dataset.score;
      ascending = name === order.value && !ascending;
      order.value = name;
      update();
    });
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => { ascending = order.value === "method"; update(); });
  form.querySelector("[type=reset]").addEventListener("click", (event) => {
    event.preventDefault();
    form.reset(); // at once, before the rows are chosen
    order.value = first;
    ascending = false;
    update();
  });
  form.hidden = false;
  update();
})();
