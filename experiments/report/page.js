"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  // Tables: a column's button sorts by it, and once more the other way round.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    const number = Number(text);
    return text === "" ? null : Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  const sortBy = (button) => {
    const header = button.closest("th");
    const table = header.closest("table");
    const old = header.getAttribute("aria-sort");
    const first = button.dataset.first ?? "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = old === first ? other : first;
    for (const th of table.tHead.rows[0].cells) th.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, header.cellIndex), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  for (const button of document.querySelectorAll("table.sortable thead button")) {
    button.addEventListener("click", () => sortBy(button));
  }

  // A table wider than its place has a shadow on the side where more of it is.
  const shade = (box) => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 1);
  const resized = new ResizeObserver((entries) => entries.forEach((entry) => shade(entry.target)));
  for (const box of document.querySelectorAll(".scroll")) {
    resized.observe(box);
    box.addEventListener("scroll", () => shade(box), { passive: true });
  }

  // Items by number, of each data set.
  const catalogues = {};
  for (const [name, items] of Object.entries(data.items)) {
    const place = new Map(items.ids.map((id, n) => [id, n]));
    const queried = new Map(items.with.map((id, n) => [id, n]));
    catalogues[name] = {
      title: (id) => (place.has(id) ? items.titles[place.get(id)] || items.raw[place.get(id)] : `item ${id}`),
      more: (id) => (items.more.length && place.has(id) ? items.more[place.get(id)] : ""),
      near: (id) =>
        queried.has(id) ? Object.entries(items.near).map(([kind, lists]) => [kind, lists[queried.get(id)]]) : [],
    };
  }

  // Maps: a legend's button shows one category; pointing, or an arrow key, names an item and puts a ring around it.
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  for (const figure of document.querySelectorAll("figure[data-map]")) {
    const map = data.maps[Number(figure.dataset.map)];
    const svg = figure.querySelector("svg.map");
    const named = figure.querySelector(".pointed");
    const ring = svg.querySelector(".here");
    const buttons = [...figure.querySelectorAll(".legend button")];
    let chosen = null;
    let here = -1;
    const at = (n) => [map.places[2 * n], map.places[2 * n + 1]];
    const shown = () => [...map.items.keys()].filter((n) => chosen === null || map.kind[n] === Number(chosen));
    const goTo = (n) => {
      if (n === undefined || n === here) return;
      here = n;
      const catalogue = catalogues[map.dataset];
      const title = catalogue ? catalogue.title(map.items[n]) : `item ${map.items[n]}`;
      named.textContent = `${title} – ${map.names[map.name[n]]}`;
      ["cx", "cy"].forEach((side, axis) => ring.setAttribute(side, at(n)[axis] * 0.484 + 8));
    };
    const nearest = (x, y, within = Infinity) => {
      const distance = (n) => (at(n)[0] - x) ** 2 + (at(n)[1] - y) ** 2;
      const close = shown().filter((n) => distance(n) < within);
      return close.length ? close.reduce((a, b) => (distance(b) < distance(a) ? b : a)) : undefined;
    };
    // The closest item in the quarter of the plane that an arrow points to; steps aside count double.
    const inDirection = ([dx, dy]) => {
      const [x, y] = at(here);
      let best;
      let least = Infinity;
      for (const n of shown()) {
        const [ahead, aside] = [(at(n)[0] - x) * dx + (at(n)[1] - y) * dy, Math.abs((at(n)[0] - x) * dy + (at(n)[1] - y) * dx)];
        if (ahead > 0 && aside <= ahead && ahead + 2 * aside < least) [best, least] = [n, ahead + 2 * aside];
      }
      return best;
    };
    for (const button of buttons) {
      button.addEventListener("click", () => {
        chosen = chosen === button.dataset.kind ? null : button.dataset.kind;
        for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.kind === chosen));
        for (const path of svg.querySelectorAll("path[data-kind]")) {
          path.classList.toggle("dim", chosen !== null && path.dataset.kind !== chosen);
        }
      });
    }
    figure.querySelector(".walk").addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const order = shown();
      const place = order.indexOf(here);
      const moves = {
        Home: () => order[0],
        End: () => order.at(-1),
        PageDown: () => order[(place + 1) % order.length],
        PageUp: () => order[(Math.max(place, 0) + order.length - 1) % order.length],
      };
      if (event.key in arrows) goTo(place < 0 ? nearest(500, 500) : inDirection(arrows[event.key]));
      else if (event.key in moves) goTo(moves[event.key]());
      else return;
      event.preventDefault();
    });
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const scale = (500 / box.width) * (1000 / 484);
      goTo(nearest((event.clientX - box.left) * scale - 16.5, (event.clientY - box.top) * scale - 16.5, 900));
    });
  }

  // The explorer.
  if (!data.tables.length) return;
  const [tables, users, first, second] = ["ex-table", "ex-user", "ex-a", "ex-b"].map((id) => document.getElementById(id));
  const [status, lists, near] = ["ex-status", "ex-lists", "ex-near"].map((id) => document.getElementById(id));
  const fill = (select, names, chosen = 0) => {
    select.replaceChildren(...names.map((name, n) => make("option", name, { value: n })));
    select.value = String(Math.min(chosen, names.length - 1));
  };
  const table = () => data.tables[Number(tables.value)];
  const capital = (word) => word[0].toUpperCase() + word.slice(1);

  const showNear = (id) => {
    for (const b of lists.querySelectorAll("button")) b.setAttribute("aria-pressed", String(b.dataset.item === String(id)));
    const catalogue = catalogues[table().dataset];
    near.replaceChildren(make("h3", `Nearest to ${catalogue.title(id)}`));
    if (catalogue.more(id)) near.append(make("p", catalogue.more(id), { class: "note" }));
    const kinds = make("div", undefined, { class: "kinds" });
    for (const [kind, ids] of catalogue.near(id)) {
      const part = make("div");
      part.append(make("h4", `by ${kind}`));
      const list = make("ol");
      for (const other of ids) list.append(make("li", catalogue.title(other)));
      part.append(ids.length ? list : make("p", `This item has no ${kind}.`, { class: "note" }));
      kinds.append(part);
    }
    if (!kinds.children.length) kinds.append(make("p", "This data set has no modalities.", { class: "note" }));
    near.append(kinds);
    near.scrollIntoView({ block: "nearest" });
  };

  const column = (heading, note, ids, held, ranked) => {
    const part = make("section");
    part.append(make("h3", heading));
    const list = make(ranked ? "ol" : "ul");
    ids.forEach((id, n) => {
      const hit = ranked && held.has(id);
      const item = make("li", undefined, hit ? { class: "hit" } : {});
      const button = make("button", undefined, { type: "button", "aria-pressed": "false", "data-item": id });
      if (ranked) button.append(make("span", hit ? `✓ ${n + 1}` : String(n + 1), { class: "place", "aria-hidden": "true" }));
      button.append(make("span", catalogues[table().dataset].title(id)));
      if (hit) button.append(make("span", "held out, found", { class: "hidden" }));
      button.addEventListener("click", () => showNear(id));
      item.append(button);
      list.append(item);
    });
    part.append(list);
    if (note) part.append(make("p", note, { class: "note" }));
    return part;
  };
  const rest = (all, shown) => (all > shown ? `and ${all - shown} more` : "");

  const show = () => {
    const t = table();
    const n = Number(users.value);
    const user = t.users[n];
    const held = new Set(user.held);
    const shown = user.held.slice(0, 12);
    const had = t.noun === "bundle" ? "Given" : "History";
    lists.replaceChildren(
      column(had, rest(user.n, user.had.length), user.had, held, false),
      column("Held out", rest(user.m, shown.length), shown, held, false),
    );
    const sentences = [];
    for (const select of new Set([first.value, second.value])) {
      const top = t.lists[Number(select)][n];
      const hits = top.filter((id) => held.has(id)).length;
      sentences.push(`${t.models[Number(select)]} finds ${hits} of ${user.m} held out`);
      lists.append(column(t.models[Number(select)], `${hits} of its first ${top.length} are held-out items`, top, held, true));
    }
    near.replaceChildren();
    status.textContent = `${capital(t.noun)} ${user.id}${user.title ? `, ${user.title}` : ""}: ${sentences.join("; ")}.`;
  };
  const choose = () => {
    const t = table();
    document.getElementById("ex-noun").textContent = capital(t.noun);
    const had = t.noun === "bundle" ? "given" : "known";
    const hit = t.users.findIndex((u, n) => t.lists[0][n].some((id) => u.held.includes(id)));
    fill(users, t.users.map((u) => `${u.id}${u.title ? `, ${u.title}` : ""}: ${u.n} ${had}, ${u.m} held out`), Math.max(hit, 0));
    fill(first, t.models);
    fill(second, t.models, 1);
    show();
  };
  fill(tables, data.tables.map((t) => t.title));
  tables.closest("label").hidden = data.tables.length < 2;
  tables.addEventListener("change", choose);
  for (const select of [users, first, second]) select.addEventListener("change", show);
  document.getElementById("choices").hidden = false;
  choose();
})();
