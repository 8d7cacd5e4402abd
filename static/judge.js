// Judging with one hand. The keys are told on the page and can be turned off there (WCAG 2.1.4). Without this file the
// radios and buttons do the same.
(() => {
  "use strict";
  const find = (selector) => document.querySelector(selector);
  const criteria = () => [...document.querySelectorAll(".criteria .criterion")];
  const held = () => document.activeElement.closest(".criterion");
  const isOpen = (row) => !row.querySelector(":checked");
  // Where a key goes: the row that has the focus, else the first one without a choice.
  const current = () => held() ?? criteria().find(isOpen);
  const mark = () => {
    const now = current();
    for (const row of document.querySelectorAll(".criterion")) row.classList.toggle("current", row === now);
  };

  // The row takes the focus, not a radio in it, so that Space goes on scrolling and chooses nothing by accident.
  const goTo = (row) => (row ?? find("#verdicts .primary"))?.focus();
  const beside = (row, step) => {
    const rows = [...(row.closest("details") ?? find(".criteria")).querySelectorAll(".criterion")];
    return rows[rows.indexOf(row) + step];
  };

  const choose = (number) => {
    const row = current();
    const radio = row?.querySelectorAll("input")[number - 1];
    if (!radio) return;
    if (!row.closest("details")) goTo(beside(row, 1));
    if (radio.checked) return;
    radio.checked = true;
    radio.dispatchEvent(new Event("change", { bubbles: true }));
  };

  const move = (step) => {
    const row = held();
    if (row) goTo(beside(row, step) ?? (step < 0 || row.closest("details") ? row : null));
    else goTo(step < 0 && find("#verdicts").contains(document.activeElement) ? criteria().at(-1) : current());
  };

  const open = (id, field) => {
    find(id).open = true;
    find(`${id} ${field}`).focus();
  };

  const goBack = () => goTo(criteria().find(isOpen));

  const KEYS = {
    w: () => move(-1),
    s: () => move(1),
    u: () => find("#undo").click(),
    z: () => find("#undo").click(),
    c: () => find("#rest").click(),
    r: () => open("#more-reason", "textarea"),
    f: () => open("#more-flags", ".criterion"),
  };

  // What Enter does where it has no meaning of its own: submit, or go on from what was submitted.
  const finish = () => {
    const onward = find("#verdicts .primary");
    if (onward.form) onward.form.requestSubmit(onward);
    else onward.click();
  };

  const actionOf = (event) => {
    const at = document.activeElement;
    const key = event.key.toLowerCase();
    if (key === "enter") return at.matches("body, h1, .feedback, .criteria *") ? finish : null;
    if (!find("#undo")) return null;
    if (["1", "2", "3", "4"].includes(key)) return () => choose(Number(key));
    if (key === "arrowup" || key === "arrowdown") {
      return find("#verdicts").contains(at) ? () => move(key === "arrowup" ? -1 : 1) : null;
    }
    return KEYS[key];
  };

  // Until the reply is there, an undo lets the keys wait for the form it brings, and a submission lets them go: nobody
  // judges a pair unseen.
  let undoing = false;
  let leaving = false;
  const waiting = [];
  const settled = () => {
    undoing = leaving = false;
    while (waiting.length && !undoing) press(waiting.shift());
  };
  document.addEventListener("click", ({ target }) => {
    if (target.closest("#undo")) undoing = true;
    if (target.closest("#rest")) {
      for (const row of criteria().filter(isOpen)) row.querySelector(".cannot input").checked = true;
      goTo(null);
    }
  });
  document.addEventListener("submit", ({ target }) => {
    leaving = target.id === "verdicts";
  });

  const press = (event) => {
    const at = document.activeElement;
    const withModifier = event.ctrlKey || event.metaKey || event.altKey;
    let action = null;
    if (at.closest(".judge-words") && (event.key === "Escape" || (event.key === "Enter" && held()))) action = goBack;
    else if (find("#keys").checked && !withModifier && !at.matches("textarea")) action = actionOf(event);
    if (!action) return;
    event.preventDefault();
    // A key held too long is one answer, not one for each criterion.
    if (event.repeat && !["arrowup", "arrowdown", "w", "s"].includes(event.key.toLowerCase())) return;
    if (undoing) waiting.push(event);
    else if (!leaving) action();
  };
  document.addEventListener("keydown", press);

  document.addEventListener("focusin", mark);
  document.addEventListener("change", (event) => {
    if (event.target.id === "keys") localStorage.setItem("attune-keys", event.target.checked ? "on" : "off");
    mark();
  });

  // The line is gone once a pair is submitted.
  const notKept = () => {
    const line = find("#saved");
    if (line) line.textContent = "Not saved. Your choices stay on this page: check the connection and submit again.";
  };
  for (const failure of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) document.addEventListener(failure, notKept);

  const prepare = () => {
    find("#keys").checked = localStorage.getItem("attune-keys") !== "off";
    find(".judge-keys").hidden = false;
    mark();
  };
  // What came as the reply to a submission is read out from its heading, and scrolls as a new page would.
  document.addEventListener("htmx:afterSettle", ({ target }) => {
    if (target.matches(".judge")) {
      prepare();
      scrollTo(0, 0);
      (find(".feedback") ?? find(".judge h1")).focus({ preventScroll: true });
    } else if (target.id === "verdicts") find(".here")?.focus();
    mark();
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (["undo", "verdicts"].includes(detail.requestConfig.elt.id)) settled();
  });
  prepare();
})();
