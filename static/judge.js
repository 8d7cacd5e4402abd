// Judging with one hand: 1, 2, 3, 4 choose A, tie, B, cannot judge on the current criterion and move to the next; up and down move;
// Enter submits. Without this file the radios and the button do the same. The keys can be turned off (WCAG 2.1.4).
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
    const inForm = document.getElementById("verdicts").contains(document.activeElement);
    const onRadio = Boolean(held());
    if (["1", "2", "3", "4"].includes(event.key)) choose(Number(event.key));
    else if (inForm && event.key === "ArrowDown") move(1);
    else if (inForm && event.key === "ArrowUp") move(-1);
    else if (event.key === "Enter" && (onRadio || document.activeElement === document.body)) submitButton().form.requestSubmit();
    else return;
    event.preventDefault();
  });

  document.addEventListener("focusin", mark);
  document.addEventListener("change", (event) => {
    if (event.target.id === "keys") localStorage.setItem("attune-keys", event.target.checked ? "on" : "off");
    mark();
  });
  document.addEventListener("htmx:afterSettle", mark);

  const notSaved = () => {
    const line = document.getElementById("saved");
    if (line) line.textContent = "Not saved. Your choices stay on this page: check the connection and submit again.";
  };
  document.addEventListener("htmx:sendError", notSaved);
  document.addEventListener("htmx:responseError", notSaved);

  document.getElementById("keys").checked = localStorage.getItem("attune-keys") !== "off";
  document.querySelector(".judge-keys").hidden = false;
  mark();
})();
