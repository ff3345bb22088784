// The card of a token, and the way to it by pointer and keyboard. The page reads without it.
// A token's element holds what its neighbours do not tell: ids (i), characters if not one (n), labels where they are
// not plainly ids or -100 (y), the role where it changes (r). The rest is counted along a row, from its line's start.
(() => {
  "use strict";
  const words = JSON.parse(document.getElementById("words").textContent);
  const card = document.getElementById("card");
  const known = new WeakMap();

  const read = (record) => {
    if (known.has(record)) return known.get(record);
    const {num_sides, pieces} = JSON.parse(record.querySelector("script.data").textContent);
    const rows = Array.from({length: num_sides}, () => []);
    for (const block of record.querySelectorAll(".tokens")) { // one block a text; ranges compare within it
      const members = block.dataset.sides.split(" ").map(Number);
      const role = members.map(() => "");
      for (const line of block.querySelectorAll(".l")) {
        const firsts = line.dataset.k.split(" ").map(Number);
        const many = line.classList.contains("v");
        members.forEach((side, place) => {
          let char = Number(line.dataset.c), token = firsts[place];
          const marks = many ? `.t > t-c > t-r:nth-child(${place + 1}) > t-k` : ".t > t-k";
          for (const mark of line.querySelectorAll(marks)) {
            const ids = mark.hasAttribute("i") ? mark.getAttribute("i").split(" ") : [];
            const count = Number(mark.getAttribute("q") ?? 1);
            if (mark.hasAttribute("r")) role[place] = mark.getAttribute("r");
            if (mark.hasAttribute("a")) role[place] = "";
            const chars = Number(mark.getAttribute("n") ?? 1);
            const about = {mark, side, block, ids, start: char, end: char + chars, token, role: role[place], members: many ? [side] : members,
              labels: mark.getAttribute("y")?.split(" "), supervised: mark.classList.contains("s"), pieces: pieces[side] ?? pieces[0], at: rows[side].length};
            char += chars;
            token += count > 1 ? count : ids.length;
            rows[side].push(about);
            if (!known.has(mark)) known.set(mark, about);
          }
        });
      }
    }
    const found = {rows};
    known.set(record, found);
    return found;
  };

  const about = (target) => {
    const mark = target.closest?.("t-k");
    const record = mark?.closest(".record");
    if (!record) return null;
    read(record);
    return known.get(mark);
  };

  const cell = (row, text, tag = "td") => {
    const made = row.insertCell ? document.createElement(tag) : row;
    made.textContent = text;
    row.append(made);
  };

  const bytes = (entry) => (typeof entry === "string" ? [...new TextEncoder().encode(entry)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ") : entry[1] ?? "");

  let lit = [];
  const hide = () => {
    card.hidden = true;
    for (const mark of lit) mark.classList.remove("h");
    lit = [];
  };

  const show = (found) => {
    hide();
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const word of [words.token, words.id, words.piece, words.bytes, words.label]) cell(head, word, "th");
    const body = table.createTBody();
    found.ids.forEach((id, index) => {
      const row = body.insertRow(), entry = found.pieces[id] ?? "";
      const label = found.labels ? found.labels[index] : found.supervised ? id : "-100";
      cell(row, found.token + index);
      cell(row, id);
      cell(row, typeof entry === "string" ? entry : entry[0]);
      cell(row, bytes(entry));
      cell(row, label === "-100" ? `-100 ${words.masked}` : `${label} ${words.supervised}`);
    });
    const line = document.createElement("div");
    const names = found.members.map((side) => words.side.replace("{number}", side + 1)).join(", ");
    line.textContent = [names, words.range.replace("{range}", `${found.start}:${found.end}`), found.role, found.ids.length ? "" : words.gap].filter(Boolean).join(" · ");
    card.replaceChildren(line, ...(found.ids.length ? [table] : []));
    card.hidden = false;
    const box = (found.mark.closest("t-c") ?? found.mark).getBoundingClientRect(); // beside all sides, not over them
    const below = box.bottom + 8 + card.offsetHeight < innerHeight;
    card.style.top = `${Math.max(4, below ? box.bottom + 8 : box.top - 8 - card.offsetHeight)}px`;
    card.style.left = `${Math.max(4, Math.min(box.left, innerWidth - card.offsetWidth - 8))}px`;
    for (const row of read(found.mark.closest(".record")).rows) {
      for (const other of row) {
        if (other.block !== found.block) continue;
        const same = other.start === found.start && other.end === found.end;
        if (!same && !(other.start < found.end && found.start < other.end)) continue;
        other.mark.classList.add("h");
        lit.push(other.mark);
      }
    }
  };

  const go = (from, to) => {
    if (!to) return;
    to.mark.closest("details")?.setAttribute("open", "");
    from.mark.tabIndex = -1;
    to.mark.tabIndex = 0;
    to.mark.focus();
  };

  document.addEventListener("pointerover", (event) => { const found = about(event.target); if (found) show(found); else hide(); });
  document.addEventListener("focusin", (event) => { const found = about(event.target); if (found) show(found); else hide(); });
  document.addEventListener("pointerdown", (event) => { const found = about(event.target); if (found) { found.mark.tabIndex = 0; found.mark.focus(); } });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const found = event.target.matches?.("t-k") ? about(event.target) : null;
    if (!found || event.ctrlKey || event.metaKey || event.altKey) return;
    const {rows} = read(found.mark.closest(".record")), row = rows[found.side];
    const across = (step) => {
      for (let side = found.side + step; rows[side]; side += step) {
        const to = rows[side].find((other) => other.end > found.start || other.start === found.start);
        if (to && to.mark !== found.mark) return {...to, side};
      }
    };
    const moves = {ArrowRight: () => row[found.at + 1], ArrowLeft: () => row[found.at - 1], ArrowDown: () => across(1), ArrowUp: () => across(-1), Home: () => row[0], End: () => row.at(-1)};
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    go(found, move());
  });
  addEventListener("scroll", () => { if (!document.activeElement?.matches("t-k")) hide(); }, {passive: true});
  addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details.m")) part.open = true; });
})();
