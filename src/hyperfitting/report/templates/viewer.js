"use strict";
// The token viewer: draws one text at a time from the data beside it. Text of models is only ever
// put into text nodes and attributes, never read as markup.
(function () {
  const source = document.getElementById("viewer-data");
  const root = document.getElementById("viewer-view");
  if (!source || !root) return;
  const data = JSON.parse(source.textContent);
  const at = (id) => document.getElementById("viewer-" + id);
  const text = at("text"), detail = at("detail"), said = at("said");
  const state = { arm: Math.min(2, data.arms.length - 1), context: 0, token: null, filter: "all" };

  function make(name, attributes, content) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    if (content !== undefined) element.textContent = content;
    return element;
  }

  const current = () => data.texts[state.arm][state.context];

  function matches(arm, context) {
    const one = data.texts[arm][context];
    if (!one) return false;
    if (state.filter === "looped") return one.loop !== null;
    if (state.filter === "copied") return one.copied.length > 0;
    if (state.filter === "broken") return one.broken.length > 0;
    if (state.filter === "ended") return one.ending === "ended";
    return true;
  }

  function shown(piece) {
    const visible = piece.replace(/\n/g, "↵");
    return visible.trim() ? visible : visible.replace(/ /g, "␣") || "∅";
  }

  function percent(p) {
    if (p === null || p === undefined) return "–";
    if (p >= 0.9995) return "> 99.9 %";
    if (p < 0.0005) return "< 0.1 %";
    return (100 * p).toFixed(1) + " %";
  }

  function band(rank) {
    return rank === 1 ? "r1" : rank <= 10 ? "r2" : "r3";
  }

  function marks(one, place) {
    const found = [];
    if (one.loop !== null && place >= one.loop) found.push("loop");
    if (one.copied.includes(place)) found.push("copied");
    if (one.broken.includes(place)) found.push("broken");
    return found;
  }

  const MARKS = {
    loop: "inside a loop",
    copied: "copied from a training window",
    broken: "part of a word that does not exist",
  };

  function drawArms() {
    const group = at("arms");
    group.replaceChildren();
    data.arms.forEach((arm, index) => {
      const chosen = index === state.arm;
      const button = make("button", {
        type: "button", role: "radio", "aria-checked": String(chosen), tabindex: chosen ? "0" : "-1",
      }, arm.label);
      button.addEventListener("click", () => go({ arm: index, token: null }));
      button.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const count = data.arms.length;
        go({ arm: (state.arm + step + count) % count, token: null });
        group.children[state.arm].focus();
      });
      group.append(button);
    });
  }

  function drawContexts() {
    const select = at("context");
    select.replaceChildren();
    data.contexts.forEach((context, index) => {
      if (!matches(state.arm, index)) return;
      const words = context.text.trim().split(/\s+/).slice(-6).join(" ");
      const option = make("option", { value: String(index) }, context.index + 1 + ": … " + words);
      option.selected = index === state.context;
      select.append(option);
    });
  }

  function drawText() {
    const one = current();
    text.replaceChildren(make("span", { class: "viewer-head" }, data.contexts[state.context].text));
    detail.replaceChildren();
    if (!one) return;
    one.p.forEach((piece, place) => {
      const found = marks(one, place);
      const name = "token " + (place + 1) + ", " + shown(piece) + ", rank " + one.r[place] +
        found.map((mark) => ", " + MARKS[mark]).join("");
      const token = make("span", {
        role: "button", class: ["tok", band(one.r[place]), ...found].join(" "),
        tabindex: place === (state.token || 0) ? "0" : "-1", "data-place": String(place),
        "aria-label": name,
      }, piece || "\u200b");
      text.append(token);
    });
    const parts = [data.arms[state.arm].label + ": TTR " + (one.ttr === null ? "–" : one.ttr.toFixed(2))];
    if (one.loop !== null) parts.push("loops from token " + (one.loop + 1));
    if (one.copied.length) parts.push(one.copied.length + " tokens copied");
    if (one.broken.length) parts.push("words that do not exist");
    if (one.ending === "ended") parts.push("ends by itself where it may");
    said.textContent = parts.join(" · ");
    if (state.token !== null) showToken();
  }

  function choices(title, ids, probabilities, own) {
    const box = make("div");
    box.append(make("h3", {}, title));
    if (!ids) return box;
    const table = make("table"), body = make("tbody");
    ids.forEach((id, index) => {
      const word = data.words[id] === undefined ? "#" + id : data.words[id];
      const row = make("tr", word === own ? { class: "own" } : {});
      row.append(make("th", { scope: "row" }, shown(word)), make("td", {}, percent(probabilities[index])));
      body.append(row);
    });
    table.append(body);
    box.append(table);
    return box;
  }

  function showToken() {
    const one = current(), place = state.token;
    for (const token of text.querySelectorAll(".tok")) {
      const chosen = Number(token.dataset.place) === place;
      token.tabIndex = chosen ? 0 : -1;
      token.classList.toggle("chosen", chosen);
    }
    const piece = one.p[place], own = data.arms[state.arm].label;
    const facts = make("p");
    facts.append(make("strong", {}, shown(piece)), " rank " + one.r[place].toLocaleString("en") +
      " in the original; probability " + percent(one.o[place]) + " there" +
      (one.t ? ", " + percent(one.t[place]) + " in the tuned model" : ""));
    for (const mark of marks(one, place)) facts.append(make("br"), MARKS[mark]);
    const tuned = data.arms[state.arm].name === "human" ? "The tuned model" : own;
    const boxes = [choices("The original", one.ot[place], one.op[place], piece)];
    if (one.tt) boxes.push(choices(tuned, one.tt[place], one.tp[place], piece));
    const both = make("div", { class: "viewer-tops" });
    both.append(...boxes);
    detail.replaceChildren(facts, both);
  }

  function address() {
    let hash = "#viewer:" + data.arms[state.arm].name + ":" + (data.contexts[state.context].index + 1);
    if (state.token !== null) hash += ":" + (state.token + 1);
    history.replaceState(null, "", hash);
  }

  function go(change, focus) {
    Object.assign(state, change);
    if (!matches(state.arm, state.context)) {
      const first = data.contexts.findIndex((_, index) => matches(state.arm, index));
      if (first >= 0) state.context = first;
    }
    const none = !matches(state.arm, state.context);
    drawArms();
    drawContexts();
    if (none) {
      text.replaceChildren();
      detail.replaceChildren();
      said.textContent = "No text of " + data.arms[state.arm].label + " does that.";
    } else {
      drawText();
      address();
    }
    if (focus) {
      const target = text.querySelector('[tabindex="0"]');
      if (target) target.focus();
    }
  }

  function step(by, focus) {
    const fitting = data.contexts.map((_, index) => index).filter((index) => matches(state.arm, index));
    const place = fitting.indexOf(state.context);
    if (fitting.length) go({ context: fitting[(place + by + fitting.length) % fitting.length], token: null }, focus);
  }

  function pick(token) {
    state.token = Number(token.dataset.place);
    showToken();
    address();
  }

  for (const kind of ["mouseover", "focusin", "click"]) {
    text.addEventListener(kind, (event) => {
      const token = event.target.closest(".tok");
      if (token && Number(token.dataset.place) !== state.token) pick(token);
    });
  }
  text.addEventListener("keydown", (event) => {
    const token = event.target.closest(".tok");
    if (!token || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = Number(token.dataset.place);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: current().p.length - 1 }[event.key];
    const other = next === undefined ? null : text.querySelector('[data-place="' + next + '"]');
    if (other) other.focus();
    else if (event.key === "ArrowDown") step(1, true);
    else if (event.key === "ArrowUp") step(-1, true);
    else if (/^[1-9]$/.test(event.key) && data.arms[event.key - 1]) go({ arm: event.key - 1, token: null }, true);
    else return;
    event.preventDefault();
  });
  at("context").addEventListener("change", (event) => go({ context: Number(event.target.value), token: null }));
  at("filter").addEventListener("change", (event) => go({ filter: event.target.value, token: null }));
  at("back").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));

  function fromAddress() {
    const parts = decodeURIComponent(location.hash).split(":");
    if (parts[0] !== "#viewer" || parts.length < 3) return false;
    const arm = data.arms.findIndex((each) => each.name === parts[1]);
    const context = data.contexts.findIndex((each) => each.index + 1 === Number(parts[2]));
    if (arm < 0 || context < 0 || !data.texts[arm][context]) return false;
    const place = Number(parts[3]) - 1;
    state.token = place >= 0 && place < data.texts[arm][context].p.length ? place : null;
    state.arm = arm;
    state.context = context;
    return true;
  }

  root.hidden = false;
  const isLinked = fromAddress();
  drawArms();
  drawContexts();
  drawText();
  if (isLinked) root.scrollIntoView();
  window.addEventListener("hashchange", () => {
    if (fromAddress()) go({});
  });
})();
