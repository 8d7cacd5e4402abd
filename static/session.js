// Two minutes before a session ends its owner is warned and can stay signed in (WCAG 2.2.1). When it has ended, here or in
// another tab, the page is kept as it stands, and goes on once its owner has signed in again beside it.
(() => {
  "use strict";
  const dialog = document.getElementById("session");
  const [title, words, stay, close, again] = ["title", "words", "stay", "close", "again"].map((part) => document.getElementById(`session-${part}`));
  const WARN = 120;
  let timer = 0;
  let told = null; // Which of the two warnings: each is given once, and may be closed.

  const ask = async (method = "GET") => {
    const headers = { "x-csrftoken": token() };
    const reply = await fetch(dialog.dataset.time, { method, headers, cache: "no-store" });
    return reply.json();
  };
  const token = () => document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "";

  const show = (heading, text, ...ways) => {
    title.textContent = heading;
    words.textContent = text;
    for (const way of [stay, close, again]) way.hidden = !ways.includes(way);
    if (!dialog.open) dialog.showModal();
    ways[0].focus();
  };
  const warn = (left) => {
    told = left.can_extend;
    if (left.can_extend) show("Are you still there?", "You are signed out in two minutes, to keep the study's data safe.", stay);
    else show("Your session ends in two minutes", "You signed in many hours ago. Finish what you are doing; then sign in again.", close);
  };
  const end = () => {
    dialog.dataset.ended = "yes";
    show("Your session ended", "Sign in again in a new tab, then come back here: your choices so far are kept, and this page stays as it is.", again);
  };
  // Signing in elsewhere renews the token that the page was made with.
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    detail.headers["x-csrftoken"] = token();
    if (detail.parameters.csrfmiddlewaretoken) detail.parameters.csrfmiddlewaretoken = token();
  });
  const goOn = () => {
    for (const field of document.getElementsByName("csrfmiddlewaretoken")) field.value = token();
    delete dialog.dataset.ended;
    told = null;
    dialog.close();
  };

  // Other tabs may have kept the session alive, or ended it: the server knows.
  const look = async (method) => {
    clearTimeout(timer);
    let left;
    try {
      left = await ask(method);
    } catch {
      timer = setTimeout(look, 15_000);
      return;
    }
    if (left.seconds === 0) return end();
    if (left.seconds > WARN) goOn();
    else if (told !== left.can_extend) warn(left);
    timer = setTimeout(look, 1000 * (left.seconds > WARN ? left.seconds - WARN : Math.min(left.seconds, 15) + 1));
  };

  stay.addEventListener("click", () => look("POST"));
  close.addEventListener("click", () => dialog.close());
  // Esc stays where the warning can be put off, and does not hide that the session ended.
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    if (!stay.hidden) stay.click();
    else if (!close.hidden) close.click();
  });
  // The page's own keys rest while the dialog stands.
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) look();
  });
  // A reply that comes from the sign-in page is not what was asked for.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!new URL(event.detail.xhr.responseURL).pathname.startsWith(dialog.dataset.signIn)) return;
    event.detail.shouldSwap = false;
    end();
  });
  look();
})();
