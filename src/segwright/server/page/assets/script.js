// One listener of each kind for a whole component: what it holds may be replaced at any time.
const figure = (target) => target.closest(".sw-figure");

function all(root, label, act) {
  for (const part of root.querySelectorAll(`.sw-region[data-label="${label}"], .sw-names text[data-label="${label}"]`)) act(part);
}

function light(target) {
  const root = figure(target);
  const label = target.closest("[data-label]")?.dataset.label;
  if (!root) return;
  for (const part of root.querySelectorAll(".sw-lit")) part.classList.remove("sw-lit");
  if (label === undefined) return;
  for (const part of root.querySelectorAll(`.sw-region[data-label="${label}"], tr[data-label="${label}"]`)) part.classList.add("sw-lit");
  const region = root.querySelector(`.sw-region[data-label="${label}"]`);
  if (region) root.querySelector(".sw-readout").textContent = region.dataset.description;
}

function pick(target) {
  const root = figure(target);
  const label = target.closest("[data-label]")?.dataset.label;
  if (!root?.classList.contains("sw-picks") || label === undefined) return;
  for (const section of element.querySelectorAll(".sw-section")) section.hidden = section.dataset.label !== label;
  for (const part of root.querySelectorAll("[data-label]")) part.classList.toggle("sw-picked", part.dataset.label === label);
}

// What is done by hand: ``root.steps`` are the labels that were switched, in order, and 0 where a place was added. A word that is
// switched off is dropped from the files.
function choose(root, label, undone) {
  if (!root?.matches(".sw-choose")) return;
  if (!undone) root.steps.push(Number(label));
  root.querySelector(".sw-undo").disabled = !root.steps.length;
  clearTimeout(root.told);  // a burst of presses is told once, as it ends
  root.told = setTimeout(() => trigger("kept", { steps: root.steps }), 250);
}

function undo(root) {
  const label = root.steps.pop();
  const box = root.querySelector(`.sw-switch[data-label="${label}"]`);
  if (box) {  // an addition is taken out of the picture by the server
    box.checked = !box.checked;
    switched(root, box);
  }
  choose(root, label, true);
}

function switched(root, box) {
  all(root, box.dataset.label, (part) => part.classList.toggle("sw-off", !box.checked));
}

function drop(target) {
  const region = target.closest(".sw-choose:not(.sw-adding) .sw-region");
  if (region) figure(region).querySelector(`.sw-switch[data-label="${region.dataset.label}"]`)?.click();
}

// "This too is ...": while a word is chosen, a click or a box on the photo adds what belongs there to it.
function adding(root) {
  root.classList.toggle("sw-adding", Number(root.querySelector(".sw-also")?.value || 0) > 0);
}

function shares(svg, event) {
  const box = svg.viewBox.baseVal;
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [at.x / box.width, at.y / box.height].map((share) => Math.min(1, Math.max(0, share)));
}

function add(root, place) {
  clearTimeout(root.told);
  trigger("added", { label: Number(root.querySelector(".sw-also").value), place, steps: root.steps });
}

function drawn(root, from, to) {
  const { width, height } = root.querySelector(".sw-photo svg").viewBox.baseVal;
  const [[x0, x1], [y0, y1]] = [0, 1].map((i) => [from[i], to[i]].sort((a, b) => a - b));
  const box = root.querySelector(".sw-box");
  for (const [name, value] of Object.entries({ x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height }))
    box.setAttribute(name, value);
  return [x0, y0, x1, y1];
}

const DRAGGED = 5;  // pixels of the window: what is shorter is a click
let drag = null;
element.addEventListener("pointerdown", (event) => {
  const svg = event.target.closest(".sw-adding .sw-photo svg");
  if (!svg || event.button) return;
  event.preventDefault();
  drag = { svg, root: figure(svg), from: shares(svg, event), x: event.clientX, y: event.clientY };
  svg.setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", (event) => { if (drag) drawn(drag.root, drag.from, shares(drag.svg, event)); });
element.addEventListener("pointerup", (event) => {
  if (!drag) return;
  const { svg, root, from, x, y } = drag;
  const box = drawn(root, from, shares(svg, event));
  drag = null;
  drawn(root, [0, 0], [0, 0]);
  add(root, Math.hypot(event.clientX - x, event.clientY - y) < DRAGGED ? from : box);
});
element.addEventListener("pointercancel", () => {
  if (drag) drawn(drag.root, [0, 0], [0, 0]);
  drag = null;
});

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function cross(event) {
  const { target } = event, root = figure(target), by = ARROWS[event.key];
  const at = [target.dataset.x, target.dataset.y].map(Number);
  if (event.key === "Enter") add(root, at);
  else if (by) {
    const step = event.shiftKey ? 0.1 : 0.02;
    const [x, y] = at.map((share, i) => Math.min(1, Math.max(0, share + step * by[i])));
    const { width, height } = root.querySelector(".sw-photo svg").viewBox.baseVal;
    target.setAttribute("transform", `translate(${x * width} ${y * height})`);
    [target.dataset.x, target.dataset.y] = [x, y];
  } else return;
  event.preventDefault();
}

// Gradio brings new pictures into the old elements: their inputs would stay where they were, while the picture is a fresh one.
function begin(root) {
  if (root.made === root.dataset.made) return;
  root.made = root.dataset.made;
  if (root.matches(".sw-frame")) root.src = URL.createObjectURL(new Blob([root.dataset.page], { type: "text/html" }));
  root.steps = JSON.parse(root.dataset.steps || "[]");
  for (const button of root.querySelectorAll(".sw-undo")) button.disabled = !root.steps.length;
  root.style.removeProperty("--cover");
  if (root.matches(".sw-swipe")) root.style.setProperty("--at", "50%");
  root.classList.remove("sw-wordless");
  for (const part of root.querySelectorAll(".sw-off, .sw-lit, .sw-picked")) part.classList.remove("sw-off", "sw-lit", "sw-picked");
  for (const input of root.querySelectorAll("input")) {
    input.checked = input.defaultChecked;
    input.value = input.defaultValue;
  }
  for (const choice of root.querySelectorAll(".sw-also"))
    choice.selectedIndex = [...choice.options].findIndex((option) => option.defaultSelected);
  for (const box of root.querySelectorAll(".sw-switch")) switched(root, box);
  adding(root);
}

// A page in a frame is no part of this one. Its address goes when it has been read.
element.addEventListener("load", (event) => { if (event.target.matches?.(".sw-frame")) URL.revokeObjectURL(event.target.src); }, true);

new MutationObserver(() => { for (const root of element.querySelectorAll("[data-made]")) begin(root); })
  .observe(element, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-made"] });

element.addEventListener("mouseover", (event) => light(event.target));
element.addEventListener("focusin", (event) => light(event.target));
element.addEventListener("click", (event) => {
  pick(event.target);
  drop(event.target);
  if (event.target.matches(".sw-undo")) undo(figure(event.target));
  const copy = event.target.closest(".sw-copy");
  if (copy) {
    navigator.clipboard?.writeText(copy.parentElement.querySelector("pre").textContent);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  }
});
element.addEventListener("keydown", (event) => {
  if (event.target.matches(".sw-cross")) cross(event);
  if ((event.key === "Enter" || event.key === " ") && event.target.matches(".sw-region[role=button]")) {
    event.preventDefault();
    pick(event.target);
    drop(event.target);
  }
});
element.addEventListener("change", (event) => {
  const { target } = event;
  if (target.matches(".sw-switch")) {
    switched(figure(target), target);
    choose(figure(target), target.dataset.label);
  }
  if (target.matches(".sw-also")) adding(figure(target));
  if (target.matches(".sw-labels")) figure(target).classList.toggle("sw-wordless", !target.checked);
});
element.addEventListener("input", (event) => {
  const { target } = event;
  if (target.matches(".sw-opacity")) figure(target).style.setProperty("--cover", target.value);
  if (target.matches(".sw-swiper")) target.closest(".sw-swipe").style.setProperty("--at", `${target.value}%`);
});
