// Equations first, then what is too large for its slide is made smaller, then the slides begin.
"use strict";

const LEAST = 18; // px on a slide of 720: smaller than that is not read from the back row
const TALL = 0.66; // a figure of such a height over its width has the whole height, and the words stand on its left

function tooWide(body) {
  return body.scrollWidth > body.clientWidth + 1;
}

function tooHigh(body) {
  return body.scrollHeight > body.clientHeight + 1;
}

// Each element that holds text of its own, with its size.
function texts(parents) {
  const all = parents.flatMap((parent) => [parent, ...parent.querySelectorAll("*")]);
  return all
    .filter((each) => [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()))
    .filter((each) => !each.closest("mjx-container"))
    .map((each) => [each, parseFloat(getComputedStyle(each).fontSize)]);
}

function shrink(parents, stillTooLarge) {
  const sized = texts(parents);
  for (let scale = 0.95; stillTooLarge() && scale > 0.4; scale -= 0.05)
    for (const [each, size] of sized) each.style.fontSize = `${Math.max(LEAST, size * scale)}px`;
}

function fit(body) {
  const image = body.querySelector("img");
  const withWords = Boolean(image) && body.children.length > 1;
  body.classList.toggle("tall", withWords && image.naturalHeight > TALL * image.naturalWidth);
  shrink([...body.querySelectorAll("pre, table")], () => tooWide(body)); // what cannot be wrapped
  if (tooWide(body)) body.classList.add("wrapped");
  shrink([body], () => tooHigh(body));
}

// The figure of the slide in front over all of it: from edge to edge, one part after the other, and back.
function enlarge() {
  const image = Reveal.getCurrentSlide().querySelector(".figure img");
  if (!image) return;
  const height = image.naturalHeight / image.naturalWidth;
  const views = height > 1 ? ["top", "center", "bottom"] : height > 720 / 1280 ? ["top", "bottom"] : ["whole"];
  const next = views[views.indexOf(image.dataset.view) + 1];
  if (next) image.dataset.view = next;
  else delete image.dataset.view;
}

async function begin() {
  await MathJax.startup.promise;
  await MathJax.typesetPromise();
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  const slides = document.querySelector(".slides");
  slides.classList.add("measured");
  document.querySelectorAll(".frame > .body").forEach(fit);
  slides.classList.remove("measured");
  await Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none", slideNumber: "c/t",
    controlsTutorial: false, pdfSeparateFragments: false, plugins: [RevealNotes],
  });
  Reveal.addKeyBinding({ keyCode: 90, key: "Z", description: "Enlarge the figure" }, enlarge);
  Reveal.on("slidechanged", () => document.querySelectorAll("[data-view]").forEach((image) => delete image.dataset.view));
  document.addEventListener("click", (event) => { if (event.target.matches(".figure img")) enlarge(); });
  document.documentElement.classList.add("ready");
}

begin();
