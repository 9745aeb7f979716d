// The interactive parts of the page. Without this script everything on the page can still be read.
"use strict";
document.documentElement.classList.add("scripted");
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const within = (value, low, high) => Math.min(high, Math.max(low, value));

// Sort a table by the buttons in its headings. Rows without a number are last.
all("table").forEach(table => {
  const rows = table.tHead.rows, last = rows[rows.length - 1], better = [];
  all("[data-better]", table.tHead).forEach(th => {
    for (let i = 0; i < th.colSpan; i++) better.push(th.dataset.better);
  });
  [...last.cells].filter(th => th.querySelector(".key")).forEach((th, i) => {
    const key = th.querySelector(".key"), button = document.createElement("button");
    button.type = "button";
    button.append(...key.childNodes);
    key.append(button);
    button.addEventListener("click", () => {
      const sorted = th.getAttribute("aria-sort");
      const up = sorted ? sorted === "descending" : better[i] === "lower";
      [...last.cells].forEach(other => other.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = row => {
        const text = row.cells[i + 1].dataset.v;
        return text === undefined ? NaN : text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
      };
      const body = table.tBodies[0];
      [...body.rows].map(row => [value(row), row]).sort(([x], [y]) => {
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
        return x === y ? 0 : (x < y) === up ? -1 : 1;
      }).forEach(([, row]) => body.appendChild(row));
    });
  });
});

// Before and after: a slider between two images.
all(".before-after").forEach(part => {
  const slider = part.querySelector(".slider"), views = part.querySelector(".views");
  const show = () => {
    part.style.setProperty("--at", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} % left image`);
  };
  slider.addEventListener("input", show);
  const follow = event => {
    const area = views.getBoundingClientRect();
    slider.value = within(100 * (event.clientX - area.left) / area.width, 0, 100);
    show();
  };
  views.addEventListener("pointerdown", event => { views.setPointerCapture(event.pointerId); follow(event); });
  views.addEventListener("pointermove", event => { if (event.buttons) follow(event); });
  all("select", part).forEach(select => select.addEventListener("change", () => {
    const view = views.querySelector(`.${select.className}`);
    view.querySelector("use").setAttribute("href", `#${part.dataset.comparison}-${select.value}`);
    view.setAttribute("aria-label", select.selectedOptions[0].textContent);
  }));
  show();
});

// The enlarged windows: moving one moves it in all images of the comparison.
all(".comparison").forEach(figure => {
  const width = Number(figure.dataset.width), height = Number(figure.dataset.height);
  const tiles = all(".tile", figure).map(tile => [all(".box", tile), all(".crop", tile)]);
  const read = crop => crop.getAttribute("viewBox").split(" ").map(Number);
  const first = tiles[0][1].map(read), windows = first.map(box => [...box]);
  const which = figure.querySelector(".which");
  let current = 0;
  const set = (x, y, share) => {  // share of the image's width
    const w = width * share, h = first[current][3] / first[current][2] * w;
    const box = [within(x, 0, width - w), within(y, 0, height - h), w, h];
    windows[current] = box;
    tiles.forEach(([boxes, crops]) => {
      crops[current].setAttribute("viewBox", box.map(value => value.toFixed(2)).join(" "));
      ["x", "y", "width", "height"].forEach((name, i) => boxes[current].setAttribute(name, box[i].toFixed(2)));
    });
  };
  const zoom = factor => {
    const [x, y, w, h] = windows[current];
    const most = Math.min(1, height / width * first[current][2] / first[current][3]);
    const share = within(w / width * factor, Math.min(8 / width, most), most), scale = share * width / w;
    set(x + w * (1 - scale) / 2, y + h * (1 - scale) / 2, share);
  };
  const move = (across, down) => {
    const [x, y, w, h] = windows[current];
    set(x + across * w / 4, y + down * h / 4, w / width);
  };
  const moves = {
    left: () => move(-1, 0), right: () => move(1, 0), up: () => move(0, -1), down: () => move(0, 1),
    in: () => zoom(0.8), out: () => zoom(1.25), reset: () => set(first[current][0], first[current][1], first[current][2] / width),
  };
  all("[data-move]", figure).forEach(button => button.addEventListener("click", () => moves[button.dataset.move]()));
  if (which) which.addEventListener("click", () => {
    current = 1 - current;
    which.setAttribute("aria-pressed", String(current === 1));
  });
  figure.querySelector(".window").addEventListener("keydown", event => {
    const name = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "in", "-": "out" }[event.key];
    if (name) { event.preventDefault(); moves[name](); }
  });
  all(".whole", figure).forEach(view => {
    const centre = event => {
      const area = view.getBoundingClientRect(), [, , w, h] = windows[current];
      set((event.clientX - area.left) / area.width * width - w / 2, (event.clientY - area.top) / area.height * height - h / 2, w / width);
    };
    view.addEventListener("pointerdown", event => { view.setPointerCapture(event.pointerId); centre(event); });
    view.addEventListener("pointermove", event => { if (event.buttons) centre(event); });
  });
  all(".whole, .crop", figure).forEach(view => view.addEventListener("wheel", event => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.8 : 1.25);
  }, { passive: false }));
});

// Filters by task and dataset, and a search for runs. The choice is kept in the address, so that it can be shared.
const filters = document.querySelector(".filters");
if (filters) {
  const boxes = name => all(`[name=${name}]`, filters), word = filters.elements.run, out = filters.querySelector("output");
  const chosen = name => boxes(name).filter(box => box.checked).map(box => box.value);
  const apply = () => {
    const datasets = new Set(chosen("dataset")), tasks = new Set(chosen("task")), text = word.value.trim().toLowerCase();
    all("section.task").forEach(section => { section.hidden = !tasks.has(section.dataset.task); });
    all("[data-datasets]").forEach(part => {
      const names = part.dataset.datasets.split(" ").filter(Boolean);
      const known = names.filter(name => boxes("dataset").some(box => box.value === name));
      part.hidden = known.length > 0 && !known.some(name => datasets.has(name));
    });
    all(".run").forEach(run => { run.hidden = run.hidden || !run.dataset.find.includes(text); });
    all(".contents a").forEach(link => {
      const target = document.getElementById(link.hash.slice(1));
      link.parentElement.hidden = Boolean(target && target.closest("[hidden]"));
    });
    const shown = all(".run").filter(run => !run.closest("[hidden]")).length;
    out.textContent = text ? `${shown} runs` : "";
  };
  const writeAddress = () => {
    const state = new URLSearchParams();
    ["task", "dataset"].forEach(name => {
      if (chosen(name).length < boxes(name).length) state.set(name, chosen(name).join(","));
    });
    if (word.value.trim()) state.set("run", word.value.trim());
    const query = String(state);
    history.replaceState(null, "", location.pathname + (query ? `?${query}` : "") + location.hash);
  };
  const state = new URLSearchParams(location.search);
  ["task", "dataset"].forEach(name => {
    if (state.has(name)) boxes(name).forEach(box => { box.checked = state.get(name).split(",").includes(box.value); });
  });
  word.value = state.get("run") || "";
  filters.addEventListener("submit", event => event.preventDefault());
  filters.addEventListener("input", () => { apply(); writeAddress(); });
  apply();
}
