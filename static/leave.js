// Quick exit: blank the page, then replace it, so that Back does not lead here. Shift three times does the same.
(() => {
  const link = document.querySelector("[data-leave]");
  let presses = 0;
  let last = 0;

  function leave() {
    document.title = " ";
    document.body.replaceChildren();
    location.replace(link.href);
  }

  link.addEventListener("click", (event) => {
    event.preventDefault();
    leave();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Shift") {
      presses = 0;
      return;
    }
    if (event.repeat) return;
    presses = event.timeStamp - last < 1500 ? presses + 1 : 1;
    last = event.timeStamp;
    if (presses === 3) leave();
  });
})();
