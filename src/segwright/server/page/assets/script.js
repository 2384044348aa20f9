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

// A word that is switched off where regions are chosen is dropped from the files; ``root.steps`` are the labels, in order.
function choose(root, label, undone) {
  if (!root?.matches(".sw-choose")) return;
  if (!undone) (root.steps ||= []).push(label);
  root.querySelector(".sw-undo").disabled = !root.steps.length;
  clearTimeout(root.told);  // a burst of presses is told once, as it ends
  root.told = setTimeout(() => {
    trigger("kept", { dropped: [...root.querySelectorAll(".sw-switch:not(:checked)")].map((box) => Number(box.dataset.label)) });
  }, 250);
}

function undo(root) {
  const label = root.steps.pop();
  const box = root.querySelector(`.sw-switch[data-label="${label}"]`);
  box.checked = !box.checked;
  all(root, label, (part) => part.classList.toggle("sw-off", !box.checked));
  choose(root, label, true);
}

function drop(target) {
  const region = target.closest(".sw-choose .sw-region");
  if (region) figure(region).querySelector(`.sw-switch[data-label="${region.dataset.label}"]`)?.click();
}

// Gradio brings new pictures into the old elements: their inputs would stay where they were, while the picture is a fresh one.
function begin(root) {
  if (root.made === root.dataset.made) return;
  root.made = root.dataset.made;
  if (root.matches(".sw-frame")) root.src = URL.createObjectURL(new Blob([root.dataset.page], { type: "text/html" }));
  root.steps = [];
  for (const button of root.querySelectorAll(".sw-undo")) button.disabled = true;
  root.style.removeProperty("--cover");
  if (root.matches(".sw-swipe")) root.style.setProperty("--at", "50%");
  root.classList.remove("sw-wordless");
  for (const part of root.querySelectorAll(".sw-off, .sw-lit, .sw-picked")) part.classList.remove("sw-off", "sw-lit", "sw-picked");
  for (const input of root.querySelectorAll("input")) {
    input.checked = input.defaultChecked;
    input.value = input.defaultValue;
  }
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
  if ((event.key === "Enter" || event.key === " ") && event.target.matches(".sw-region[role=button]")) {
    event.preventDefault();
    pick(event.target);
    drop(event.target);
  }
});
element.addEventListener("change", (event) => {
  const { target } = event;
  if (target.matches(".sw-switch")) {
    all(figure(target), target.dataset.label, (part) => part.classList.toggle("sw-off", !target.checked));
    choose(figure(target), target.dataset.label);
  }
  if (target.matches(".sw-labels")) figure(target).classList.toggle("sw-wordless", !target.checked);
});
element.addEventListener("input", (event) => {
  const { target } = event;
  if (target.matches(".sw-opacity")) figure(target).style.setProperty("--cover", target.value);
  if (target.matches(".sw-swiper")) target.closest(".sw-swipe").style.setProperty("--at", `${target.value}%`);
});
