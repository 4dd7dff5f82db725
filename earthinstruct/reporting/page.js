"use strict";
(() => {
  const PER_PAGE = 24;
  const SVG = "http://www.w3.org/2000/svg";
  const { images, categories, verdicts, runs, onlyCounts } = JSON.parse(document.getElementById("gallery-data").textContent);
  const $ = (id) => document.getElementById(id);
  // errors of a run that only counts are counting errors, and do not compare with others
  const others = runs.slice(1).map((name, i) => ({
    name, layer: `other-${i}`, of: (image) => image.others[i], errorsCompare: !onlyCounts[0] && !onlyCounts[i + 1],
  }));
  const layers = {
    truth: { name: "ground truth", on: true },
    predicted: { name: others.length ? runs[0] : "prediction", on: true },
    ...Object.fromEntries(others.map(({ name, layer }) => [layer, { name, on: false }])),
    masks: { name: "masks", on: images.some((image) => [...image.truth, ...image.predicted].some((one) => one.mask)) },
    boxes: { name: "boxes", on: true },
    ...(images.some((image) => image.predicted.some((one) => one.point)) ? { points: { name: "points", on: true } } : {}),
    labels: { name: "labels", on: false },
  };
  const off = (image) => image.counts.filter(([name]) => inCategory(name)).map(([, there, said]) => said - there);
  const miscounted = (image) => off(image).reduce((sum, one) => sum + Math.abs(one), 0);
  const kinds = {
    "": ["all images", () => true],
    error: ["any error", (image) => image.errors > 0],
    failed: ["failed", (image) => image.failed !== null],
    none: ["no error", (image) => image.errors === 0 && image.failed === null],
    miscounted: ["counts: wrong", (image) => off(image).some((one) => one !== 0)],
    over: ["counts: too many", (image) => off(image).some((one) => one > 0)],
    under: ["counts: too few", (image) => off(image).some((one) => one < 0)],
    counted: ["counts: right", (image) => image.failed === null && off(image).every((one) => one === 0)],
  };
  const changes = { "": ["all", () => true] };
  others.forEach(({ name, of, errorsCompare }, i) => {
    if (errorsCompare) {
      changes[`fixed-${i}`] = [`fewer errors than ${name} (fixed)`, (image) => image.errors < of(image).errors];
      changes[`broken-${i}`] = [`more errors than ${name} (broken)`, (image) => image.errors > of(image).errors];
      changes[`same-${i}`] = [`as many errors as ${name}`, (image) => image.errors === of(image).errors];
    }
    changes[`better-${i}`] = [`counts better than ${name}`, (image) => image.miscounted < of(image).miscounted];
    changes[`worse-${i}`] = [`counts worse than ${name}`, (image) => image.miscounted > of(image).miscounted];
  });
  const comparable = others.filter(({ errorsCompare }) => errorsCompare);
  const largest = (image, what, beside = others) => Math.max(...beside.map(({ of }) => Math.abs(image[what] - of(image)[what])));
  const orders = {
    worst: ["most errors", (a, b) => b.chosen - a.chosen],
    counts: ["largest counting error", (a, b) => miscounted(b) - miscounted(a)],
    objects: ["most objects", (a, b) => b.truth.length - a.truth.length],
    slowest: ["slowest", (a, b) => (b.seconds ?? -1) - (a.seconds ?? -1)],
    name: ["file name", (a, b) => a.file.localeCompare(b.file, "en", { numeric: true })],
    ...(comparable.length ? {
      change: ["largest change of errors", (a, b) => largest(b, "errors", comparable) - largest(a, "errors", comparable)],
    } : {}),
    ...(others.length ? {
      recount: ["largest change of counts", (a, b) => largest(b, "miscounted") - largest(a, "miscounted")],
    } : {}),
  };
  let page = 0;
  let shown = [];
  let enlarged = 0;
  images.forEach((image, index) => {
    image.index = index;
    for (const layer of ["truth", "predicted"]) for (const one of image[layer]) one.is = `is:${layer}:${one.kind}`;
  });

  function element(name, properties = {}, ...children) {
    const made = document.createElement(name);
    Object.assign(made, properties);
    made.append(...children);
    return made;
  }
  function drawn(name, attributes, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  function options(select, choices) {
    select.append(...choices.map(([value, name]) => element("option", { value, textContent: name })));
  }
  const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

  const all = (image) => [...image.truth, ...image.predicted];
  const present = new Set(images.flatMap((image) => ["truth", "predicted"].flatMap((layer) => image[layer].map((one) => `${layer}:${one.kind}`))));
  options($("kind"), [
    ...Object.entries(kinds).map(([value, [name]]) => [value, name]),
    ...[["truth", "object"], ["predicted", "prediction"]].flatMap(([layer, of]) =>
      verdicts[layer].filter((kind) => present.has(`${layer}:${kind}`)).map((kind) => [`is:${layer}:${kind}`, `${of}: ${kind}`])),
  ]);
  options($("category"), [["", "all categories"], ...categories.map((name) => [`is:${name}`, name])]);
  options($("order"), Object.entries(orders).map(([value, [name]]) => [value, name]));
  if (others.length) options($("change-filter"), Object.entries(changes).map(([value, [name]]) => [value, name]));
  for (const [layer, state] of Object.entries(layers)) {
    const button = element("button", { type: "button", textContent: state.name });
    button.id = `layer-${layer}`;
    button.setAttribute("aria-pressed", state.on);
    button.addEventListener("click", () => {
      state.on = !state.on;
      button.setAttribute("aria-pressed", state.on);
      draw();
    });
    $("layers").append(button);
  }

  const inCategory = (name) => $("category").value === "" || name === $("category").value.slice(3);
  /** Whether the choice is about this shape; with neither a kind nor a category chosen it is about all. */
  function chosen(one) {
    const kind = $("kind").value, category = $("category").value;
    return (!kind.startsWith("is:") || one.is === kind) && (!category || one.category === category.slice(3));
  }
  const focused = () => $("kind").value.startsWith("is:") || $("category").value !== "";
  function matches(image) {
    const kind = $("kind").value, category = $("category").value;
    const shapes = kind.startsWith("is:") ? all(image).some(chosen) : kinds[kind][1](image);
    const named = !category || all(image).some(chosen) || (!kind.startsWith("is:") && image.counts.some(([name]) => name === category.slice(3)));
    const found = image.file.toLowerCase().includes($("find").value.trim().toLowerCase());
    return shapes && named && found && (!others.length || changes[$("change-filter").value][1](image));
  }
  function describe(one, of) {
    const label = one.label && one.label !== one.category ? `${one.label} (${one.category ?? "no category"})` : one.category;
    const on = one.on === undefined ? "" : one.iou === undefined ? ` (${one.on})` : ` (IoU ${one.iou} with ${one.on})`;
    return `${of}: ${label}, ${one.kind}${on}${one.score === undefined ? "" : `, score ${one.score}`}`;
  }
  function shapes(several, width, layer, of, dimmed) {
    const group = drawn("g", { class: layer });
    const place = (one) => one.box ?? [...one.point, 0, 0];
    const area = (one) => place(one)[2] * place(one)[3];
    for (const one of [...several].sort((a, b) => area(b) - area(a))) {  // the small ones on top
      const shape = drawn("g", { class: `shape-group ${one.kind}${dimmed && !chosen(one) ? " dim" : ""}` });
      const [x, y, wide, high] = place(one);
      if (layers.masks.on && one.mask) shape.append(drawn("path", { class: "shape", d: one.mask }));
      if (layers.points?.on && one.point) shape.append(drawn("circle", { class: "shape", cx: one.point[0], cy: one.point[1], r: width / 120 }));
      if (layers.boxes.on && one.box) shape.append(drawn("rect", { class: "shape", x, y, width: wide, height: high }));
      if (layers.labels.on) {
        const size = width / 36;
        const text = drawn("text", { x, y: Math.max(size, y - size / 4), "font-size": size });
        text.textContent = one.label ?? one.category;
        shape.append(text);
      }
      const title = drawn("title", {});
      title.textContent = describe(one, of);
      shape.append(title);
      group.append(shape);
    }
    return group;
  }
  /** How many of a layer got each verdict, such as ": 3 correct, 1 missed". */
  function parts(image, layer) {
    const counted = verdicts[layer].map((kind) => [image[layer].filter((one) => one.kind === kind).length, kind]).filter(([n]) => n);
    return counted.length ? `: ${counted.map(([n, kind]) => `${n} ${kind}`).join(", ")}` : "";
  }
  function sentence(image) {
    if (image.failed !== null) return `failed: ${image.failed}`;
    return `${plural(image.truth.length, "object")}${parts(image, "truth")}; ${plural(image.predicted.length, "prediction")}${parts(image, "predicted")}`;
  }
  function scene(image) {
    const svg = drawn("svg", { class: "scene", viewBox: `0 0 ${image.width} ${image.height}`, role: "img", "aria-label": `${image.file}: ${sentence(image)}` });
    const picture = $(`picture-${image.index}`);
    const frame = { width: image.width, height: image.height };
    svg.append(picture ? drawn("image", { ...frame, href: `data:image/jpeg;base64,${picture.textContent}` }) : drawn("rect", { ...frame, fill: "#606060" }));
    if (layers.truth.on) svg.append(shapes(image.truth, image.width, "truth", "object", focused()));
    for (const { name, layer, of } of others) {
      if (layers[layer].on) svg.append(shapes(of(image).predicted, image.width, "other", name, focused()));
    }
    if (layers.predicted.on) svg.append(shapes(image.predicted, image.width, "predicted", others.length ? runs[0] : "prediction", focused()));
    return svg;
  }
  function counts(image) {
    const head = element("tr", {}, ...["category", "there", "counted"].map((name) => element("th", { scope: "col", textContent: name })));
    const rows = image.counts.map(([name, there, said]) => element("tr", { className: there === said ? "" : "sure" },
      element("th", { scope: "row", textContent: name }), element("td", { textContent: there }), element("td", { textContent: said })));
    return element("details", {}, element("summary", { textContent: "Counts" }), element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  }
  function caption(image) {
    const made = element("figcaption", {}, element("strong", { textContent: image.file }));
    made.append(element("span", { textContent: sentence(image), className: image.failed === null ? "" : "failed" }));
    const more = [];
    const perRun = (what, shows = () => true) => [image[what], ...others.map(({ of }) => of(image)[what])]
      .map((n, i) => `${runs[i]} ${n}`).filter((_, i) => shows(i)).join(", ");
    const errors = perRun("errors", (i) => !onlyCounts[i]);
    if (others.length) more.push(...(errors ? [`errors: ${errors}`] : []), `counts off: ${perRun("miscounted")}`);
    else if (image.miscounted) more.push(`counts off by ${image.miscounted}`);
    if (image.seconds !== null) more.push(`${image.seconds} s`);
    if (more.length) made.append(element("br"), element("span", { className: "quiet", textContent: more.join(" · ") }));
    if (image.counts.length) made.append(counts(image));
    return made;
  }
  function card(image, position) {
    const button = element("button", { type: "button" }, scene(image));
    button.setAttribute("aria-label", `Enlarge ${image.file}: ${sentence(image)}`);
    button.addEventListener("click", () => { enlarge(position); $("large").showModal(); });
    const made = element("figure", { className: "card" }, button, caption(image));
    made.dataset.file = image.file;
    return made;
  }
  function enlarge(position) {
    enlarged = Math.min(Math.max(position, 0), shown.length - 1);
    const image = shown[enlarged];
    $("large-image").replaceChildren(scene(image), caption(image));
    $("large-previous").disabled = enlarged === 0;
    $("large-next").disabled = enlarged === shown.length - 1;
  }
  function select() {
    for (const image of images) image.chosen = focused() ? all(image).filter(chosen).length : image.failed === null ? image.errors : Infinity;
    shown = images.filter(matches).sort(orders[$("order").value][1]);
    page = 0;
    draw();
  }
  /** What is chosen, in words, with the number of images. */
  function choice() {
    const words = ["kind", "category", "change-filter"].map($).filter((one) => one?.value).map((one) => one.selectedOptions[0].textContent);
    if ($("find").value) words.push(`file name with "${$("find").value}"`);
    return [plural(shown.length, "image"), ...words].join("; ");
  }
  function draw(perPage = PER_PAGE) {
    const pages = Math.max(1, Math.ceil(shown.length / PER_PAGE));
    const first = perPage === PER_PAGE ? page * PER_PAGE : 0;
    $("images").replaceChildren(...shown.slice(first, first + perPage).map((image, i) => card(image, first + i)));
    $("status").textContent = choice();
    $("page").textContent = `Page ${page + 1} of ${pages}`;
    $("pages").hidden = pages === 1;
    $("previous").disabled = page === 0;
    $("next").disabled = page === pages - 1;
  }
  function turn(by) {
    page += by;
    draw();
    $("gallery").scrollIntoView();
  }

  $("controls").hidden = false;
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const one of $("controls").querySelectorAll("select")) one.addEventListener("change", select);
  $("find").addEventListener("input", select);
  for (const button of document.querySelectorAll("button.find")) {
    button.addEventListener("click", () => {
      $("find").value = button.textContent;
      select();
      $("gallery").scrollIntoView();
    });
  }
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  $("large-previous").addEventListener("click", () => enlarge(enlarged - 1));
  $("large-next").addEventListener("click", () => enlarge(enlarged + 1));
  $("large-close").addEventListener("click", () => $("large").close());
  $("large").addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") enlarge(enlarged - 1);
    if (event.key === "ArrowRight") enlarge(enlarged + 1);
  });
  // paper has no buttons: it holds every image of the choice, and what is folded, except the tables of charts
  addEventListener("beforeprint", () => {
    draw(Infinity);
    for (const one of document.querySelectorAll("main details:not([open])")) {
      if (one.closest("figure:not(.card)")) continue;
      one.open = true;
      one.dataset.folded = "";
    }
  });
  addEventListener("afterprint", () => {
    for (const one of document.querySelectorAll("details[data-folded]")) one.open = false;
    draw();
  });
  select();
})();
