// Keys turn the slides: arrows, space, page keys, Home and End. The deck reads without it.
(() => {
  "use strict";
  const slides = [...document.querySelectorAll(".slide")];
  const current = () => {
    const middle = innerHeight / 2;
    const index = slides.findIndex((slide) => slide.getBoundingClientRect().bottom > middle);
    return index < 0 ? slides.length - 1 : index;
  };
  const show = (index) => {
    const slide = slides[Math.min(Math.max(index, 0), slides.length - 1)];
    slide.scrollIntoView({ block: "start", behavior: "instant" });
    history.replaceState(null, "", `#${slide.id}`);
  };
  // A slide that is higher than the window is scrolled to its end first, by the keys that scroll.
  const hasMore = (down) => {
    const box = slides[current()].getBoundingClientRect();
    return down ? box.bottom > innerHeight + 2 : box.top < -2;
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const isHeld = event.target instanceof Element && event.target.closest("a, summary, pre, input, textarea, select");
    let key = event.key;
    if (key === " ") key = event.shiftKey ? "PageUp" : "PageDown";
    const scrolls = key === "ArrowDown" || key === "PageDown" ? hasMore(true)
      : key === "ArrowUp" || key === "PageUp" ? hasMore(false) : false;
    if (scrolls || (isHeld && event.key !== "Home" && event.key !== "End" && !event.key.startsWith("Page"))) return;
    const step = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 }[key];
    if (step !== undefined) show(current() + step);
    else if (key === "Home") show(0);
    else if (key === "End") show(slides.length - 1);
    else return;
    event.preventDefault();
  });
})();
