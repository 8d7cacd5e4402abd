// Ranking made comfortable: number buttons and number keys, up and down, and dragging letters in a bar.
// The selects that the server rendered stay the one source of truth; everything here reads and sets them.
(() => {
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  function enhance(form) {
    if (form.dataset.enhanced) return;
    form.dataset.enhanced = "yes";
    const cards = [...form.querySelectorAll(".response")];
    const size = cards.length;
    const selects = new Map(cards.map((card) => [card.dataset.letter, card.querySelector("select")]));
    const slotList = form.querySelector(".slots");
    const tray = form.querySelector(".tray");
    const announcer = form.querySelector("[data-announce]");

    const rankOf = (letter) => Number(selects.get(letter).value) || 0;

    // The letter at each rank, null where there is none.
    function slots() {
      const order = Array(size).fill(null);
      for (const letter of selects.keys()) if (rankOf(letter)) order[rankOf(letter) - 1] = letter;
      return order;
    }

    function write(order, message) {
      for (const [letter, select] of selects) {
        const rank = order.indexOf(letter) + 1;
        select.value = rank ? String(rank) : "";
      }
      draw();
      announcer.textContent = message;
      form.dispatchEvent(new Event("change", { bubbles: true }));
    }

    // Put a response at a rank; those in between make room towards the place it left, or the nearest gap.
    function place(letter, rank) {
      const order = slots();
      const from = order.indexOf(letter);
      if (from >= 0) order[from] = null;
      const to = rank - 1;
      let gap = from;
      if (gap < 0) {
        gap = order.indexOf(null, to);
        if (gap < 0) gap = order.lastIndexOf(null, to);
      }
      if (order[to] !== null) {
        const step = gap > to ? -1 : 1;
        for (let index = gap; index !== to; index += step) order[index] = order[index + step];
      }
      order[to] = letter;
      write(order, `Response ${letter} is now ${rank} of ${size}`);
    }

    function unrank(letter) {
      write(slots().map((other) => (other === letter ? null : other)), `Response ${letter} is not ranked`);
    }

    function move(letter, by) {
      const rank = rankOf(letter);
      if (!rank) {
        const order = slots();
        place(letter, (by < 0 ? order.indexOf(null) : order.lastIndexOf(null)) + 1);
      } else if (rank + by < 1 || rank + by > size) {
        announcer.textContent = `Response ${letter} is already ${rank} of ${size}`;
      } else {
        place(letter, rank + by);
      }
    }

    function button(text, label, act) {
      const element = document.createElement("button");
      element.type = "button";
      element.textContent = text;
      element.setAttribute("aria-label", label);
      element.addEventListener("click", act);
      return element;
    }

    function controls(letter) {
      const group = document.createElement("div");
      group.className = "rank-buttons";
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", `Rank of response ${letter}, 1 is best`);
      for (let rank = 1; rank <= size; rank += 1) {
        const number = button(String(rank), `Rank response ${letter} ${rank} of ${size}`, () =>
          rankOf(letter) === rank ? unrank(letter) : place(letter, rank));
        number.className = "rank-number";
        number.dataset.rank = rank;
        group.append(number);
      }
      const up = button("\u2191", `Move response ${letter} up`, () => move(letter, -1));
      const down = button("\u2193", `Move response ${letter} down`, () => move(letter, 1));
      up.className = down.className = "rank-move";
      group.append(up, down);
      return group;
    }

    function chip(letter) {
      const element = document.createElement("span");
      element.className = "chip";
      element.dataset.letter = letter;
      element.textContent = letter;
      return element;
    }

    function slot(letter, rank) {
      const element = document.createElement("li");
      element.className = "slot";
      const number = document.createElement("span");
      number.className = "slot-rank";
      number.textContent = rank;
      element.append(number);
      if (letter) element.append(chip(letter));
      return element;
    }

    const positions = () => new Map(
      [...form.querySelectorAll(".chip")].map((element) => [element.dataset.letter, element.getBoundingClientRect()]));

    function slide(before) {
      if (still.matches) return;
      for (const element of form.querySelectorAll(".chip")) {
        const old = before.get(element.dataset.letter);
        const now = element.getBoundingClientRect();
        if (!old || (old.x === now.x && old.y === now.y)) continue;
        element.animate(
          [{ transform: `translate(${old.x - now.x}px, ${old.y - now.y}px)` }, { transform: "none" }],
          { duration: 140, easing: "ease-out" });
      }
    }

    function draw() {
      const before = positions();
      const order = slots();
      slotList.replaceChildren(...order.map((letter, index) => slot(letter, index + 1)));
      const open = [...selects.keys()].filter((letter) => !rankOf(letter));
      tray.replaceChildren(...open.map(chip));
      form.querySelector(".strip-tray").dataset.empty = open.length ? "no" : "yes";
      for (const element of slotList.children) Sortable.create(element, { ...dragging, draggable: ".chip" });
      for (const card of cards) {
        const rank = rankOf(card.dataset.letter);
        card.querySelector(".response-rank").textContent = rank ? `${rank} of ${size}` : "Not ranked";
        card.classList.toggle("is-ranked", rank > 0);
        for (const number of card.querySelectorAll(".rank-number")) {
          number.setAttribute("aria-pressed", String(Number(number.dataset.rank) === rank));
        }
      }
      slide(before);
    }

    // A chip may be dropped on any slot, or back on the tray. The drop is read, then drawn anew from the selects.
    const dragging = {
      group: "letters",
      draggable: ".chip",
      animation: 0,
      forceFallback: true,
      fallbackOnBody: true,
      fallbackTolerance: 4,
      onEnd(event) {
        const letter = event.item.dataset.letter;
        const rank = [...slotList.children].indexOf(event.to) + 1;
        event.item.remove();
        if (rank) place(letter, rank);
        else if (rankOf(letter)) unrank(letter);
        else draw();
      },
    };

    for (const card of cards) {
      const letter = card.dataset.letter;
      card.querySelector(".rank-choice").hidden = true;
      card.append(controls(letter));
      card.tabIndex = 0;
      card.setAttribute("aria-label", `Response ${letter}`);
      card.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.altKey || event.metaKey) return;
        const rank = Number(event.key);
        if (rank >= 1 && rank <= size) {
          event.preventDefault();
          place(letter, rank);
        }
      });
    }
    Sortable.create(tray, dragging);
    form.querySelector(".strip").hidden = false;
    form.querySelector(".how.no-script").hidden = true;
    form.querySelector(".how.scripted").hidden = false;
    draw();
    watchSaving(form);
  }

  // Drafts are saved by htmx; a failed one is told, and sent again when the network is back.
  function watchSaving(form) {
    const status = form.querySelector("[data-save-status]");
    const retry = () => form.dispatchEvent(new Event("change", { bubbles: true }));
    status.addEventListener("htmx:beforeRequest", () => { status.textContent = "Saving"; });
    for (const failure of ["htmx:sendError", "htmx:responseError"]) {
      status.addEventListener(failure, () => {
        status.textContent = "Not saved yet. What you chose stays on this page.";
        addEventListener("online", retry, { once: true });
      });
    }
  }

  const enhanceAll = () => document.querySelectorAll("[data-ranking]").forEach(enhance);
  document.addEventListener("htmx:load", enhanceAll);
  enhanceAll();
})();
