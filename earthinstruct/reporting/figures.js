"use strict";
// Saves a chart of the page as SVG or PNG, always in light colours, and its table as CSV.
(() => {
  const STYLES = ["fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-linecap", "stroke-linejoin", "stroke-dasharray", "font-size", "font-weight"];
  const TEXT = "http://www.w3.org/2000/svg";
  function download(name, content, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
  /** The chart as a file of its own: what the style sheet says stands in its elements. */
  function standalone(svg) {
    const copy = svg.cloneNode(true);
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    svg.style.colorScheme = "light";
    const originals = svg.querySelectorAll("*");
    copy.querySelectorAll("*").forEach((element, i) => {
      const style = getComputedStyle(originals[i]);
      for (const name of STYLES) element.setAttribute(name, style.getPropertyValue(name));
      element.removeAttribute("class");
    });
    svg.style.colorScheme = "";
    const paper = document.createElementNS(TEXT, "rect");
    for (const [name, value] of Object.entries({ x: -8, y: -8, width: width + 16, height: height + 16, fill: "#fff" })) paper.setAttribute(name, value);
    copy.prepend(paper);
    const size = { viewBox: `-8 -8 ${width + 16} ${height + 16}`, width: width + 16, height: height + 16, "font-family": "system-ui, sans-serif" };
    for (const [name, value] of Object.entries(size)) copy.setAttribute(name, value);
    copy.removeAttribute("style");
    return [new XMLSerializer().serializeToString(copy), width + 16, height + 16];
  }
  function png(name, svg) {
    const [text, width, height] = standalone(svg);
    const picture = new Image();
    picture.addEventListener("load", () => {
      const canvas = document.createElement("canvas");
      canvas.width = 3 * width;
      canvas.height = 3 * height;
      canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => download(name, blob));
    });
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  }
  /** A cell of a CSV file. A dash is an empty one; no text is a formula of a spreadsheet. */
  function cell(text) {
    if (text === "-") return "";
    const plain = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  }
  const csv = (table) => [...table.rows].map((row) => [...row.cells].map((one) => cell(one.textContent)).join(",") + "\r\n").join("");
  for (const figure of document.querySelectorAll("figure[id]")) {
    const name = `${document.title} ${figure.id.replace("chart-", "")}`.replace(/[^\p{L}\p{N}.-]+/gu, "_");
    const svg = figure.querySelector("svg");
    const buttons = figure.querySelector(".save");
    buttons.hidden = false;
    buttons.addEventListener("click", (event) => {
      const kind = event.target.dataset.save;
      if (kind === "svg") download(`${name}.svg`, standalone(svg)[0], "image/svg+xml");
      if (kind === "png") png(`${name}.png`, svg);
      if (kind === "csv") download(`${name}.csv`, csv(figure.querySelector("table")), "text/csv");
    });
  }
})();
