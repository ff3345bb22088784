// A button on every block of code, which copies it. The page reads without it.
(() => {
  "use strict";
  const {copy, copied} = document.body.dataset;
  for (const block of document.querySelectorAll("pre.code")) {
    const text = block.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = copy;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
      } catch { // no clipboard without a secure context: the code is selected, for the keyboard to copy
        const range = document.createRange();
        range.selectNodeContents(block);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        return;
      }
      button.textContent = copied;
      setTimeout(() => { button.textContent = copy; }, 1500);
    });
    const frame = document.createElement("div");
    frame.className = "copyable";
    block.replaceWith(frame);
    frame.append(block, button);
  }
})();
