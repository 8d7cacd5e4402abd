// Judging with one hand: 1, 2, 3, 4 choose A, tie, B, cannot judge on the current criterion and move to the next; up and down move;
// Enter submits, U takes the last choice back, R and F open reason and flag. Without this file the radios and the button do the same. The keys can be turned off (WCAG 2.1.4).
(() => {
  "use strict";
  const rows = () => [...document.querySelectorAll(".criterion")];
  const held = () => rows().find((row) => row.contains(document.activeElement));
  const current = () => held() ?? rows().find((row) => !row.querySelector(":checked"));
  const submitButton = () => document.querySelector("#verdicts [type=submit]");
  const isOn = () => document.getElementById("keys").checked;

  const goTo = (index) => {
    const row = rows()[index];
    (row ? row.querySelector(":checked") ?? row.querySelector("input") : submitButton())?.focus();
  };

  // What was chosen before each change on this pair, to be taken back in turn.
  let changes = [];
  let before = new Map();
  const chosenIn = (row) => row.querySelector(":checked")?.value ?? "";
  const remember = () => {
    changes = [];
    before = new Map(rows().map((row) => [row.querySelector("input").name, chosenIn(row)]));
    showUndo();
  };
  const showUndo = () => {
    const button = document.getElementById("undo");
    if (button) button.hidden = !changes.length;
  };
  const undo = () => {
    const last = changes.pop();
    const row = last && rows().find((each) => each.querySelector("input").name === last.name);
    if (!row) return;
    for (const radio of row.querySelectorAll("input")) radio.checked = radio.value === last.value;
    before.set(last.name, last.value);
    // A row without a choice sends nothing by itself, so the empty value is sent by name.
    const shown = document.querySelector("#verdicts [name=shown]").value;
    htmx.ajax("POST", row.getAttribute("hx-post"), { source: row, values: { [last.name]: last.value, shown } });
    goTo(rows().indexOf(row));
    showUndo();
  };

  const open = (id) => {
    const more = document.getElementById(id);
    more.open = true;
    more.querySelector("textarea, input[type=radio], button")?.focus();
  };
  const isTyping = (element) => element.closest("textarea, select, input[type=text]") !== null;

  const choose = (number) => {
    const row = current();
    const radio = row?.querySelectorAll("input")[number - 1];
    if (!radio || radio.disabled) return;
    goTo(rows().indexOf(row) + 1);
    if (radio.checked) return;
    radio.checked = true;
    radio.dispatchEvent(new Event("change", { bubbles: true }));
  };

  const move = (step) => {
    const index = held() ? rows().indexOf(held()) : rows().length;
    goTo(Math.max(0, index + step));
  };

  const mark = () => {
    const now = current();
    for (const row of rows()) row.classList.toggle("current", row === now);
  };

  document.addEventListener("keydown", (event) => {
    if (!isOn() || !submitButton() || event.ctrlKey || event.metaKey || event.altKey) return;
    const more = document.activeElement.closest(".judge-more");
    if (more && event.key === "Escape") return goTo(Math.max(0, rows().indexOf(current())));
    if (isTyping(document.activeElement) || (more && event.key !== "u")) return;
    const inForm = document.getElementById("verdicts").contains(document.activeElement);
    const onRadio = Boolean(held());
    if (["1", "2", "3", "4"].includes(event.key)) choose(Number(event.key));
    else if (inForm && event.key === "ArrowDown") move(1);
    else if (inForm && event.key === "ArrowUp") move(-1);
    else if (event.key === "u") undo();
    else if (event.key === "r") open("more-reason");
    else if (event.key === "f") open("more-flags");
    else if (event.key === "Enter" && (onRadio || ["BODY", "H1"].includes(document.activeElement.tagName))) submitButton().form.requestSubmit();
    else return;
    event.preventDefault();
  });

  document.addEventListener("focusin", mark);
  document.addEventListener("change", (event) => {
    const row = event.target.closest(".criterion");
    if (row) {
      const name = event.target.name;
      changes.push({ name, value: before.get(name) });
      before.set(name, event.target.value);
      showUndo();
    }
    if (event.target.id === "keys") localStorage.setItem("attune-keys", event.target.checked ? "on" : "off");
    mark();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#undo")) undo();
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.matches(".judge")) begin();
    else showUndo();
    mark();
  });

  const notSaved = () => {
    const line = document.getElementById("saved");
    if (line) line.textContent = "Not saved. Your choices stay on this page: check the connection and submit again.";
  };
  document.addEventListener("htmx:sendError", notSaved);
  document.addEventListener("htmx:responseError", notSaved);

  const prepare = () => {
    document.getElementById("keys").checked = localStorage.getItem("attune-keys") !== "off";
    document.querySelector(".judge-keys").hidden = false;
    remember();
    mark();
  };
  // A pair that came as the reply to the last one: its heading is read out, and the keys go to its first criterion.
  const begin = () => {
    prepare();
    window.scrollTo(0, 0);
    document.querySelector(".judge h1").focus({ preventScroll: true });
  };
  prepare();
})();
