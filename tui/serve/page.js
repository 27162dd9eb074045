// Keys go to the terminal without a click. textual-serve makes it in `window.onload`.
window.addEventListener("load", () => document.querySelector(".xterm-helper-textarea")?.focus());
