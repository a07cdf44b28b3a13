// The steps: welcome, volume, trial, done

function go(step) {
  noteTime();
  state.step = step;
  save();
  show();
}

function show() {
  for (const section of document.querySelectorAll("section")) section.hidden = section.id !== state.step;
  const rows = state.answers.length, done = state.answers.filter(complete).length;
  const progress = byId("progress");
  progress.hidden = state.step === "welcome" || state.step === "volume";
  progress.ariaValueMax = rows;
  progress.ariaValueNow = done;
  progress.ariaValueText = `${done} of ${rows} clips rated`;
  progress.firstElementChild.style.width = `${100 * done / rows}%`;
  audio.pause();
  if (state.step === "volume") load("volume");
  if (state.step === "trial") openTrial();
  if (state.step === "done") openDone();
  if (state.step !== "welcome") byId(state.step).querySelector("h2").focus({preventScroll: true});
  scrollTo(0, 0);
}

function checkReady() {
  const fits = byId("ready").dataset.heard === "yes" && state.device;
  byId("ready").disabled = !fits;
  byId("ready-hint").hidden = Boolean(fits);
}

// Keys: space plays, digits rate, up and down change the question, left and right the clip, Enter goes on.

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target instanceof Element ? event.target : document.body;
  const box = target.closest("input, textarea"), typed = target.closest("button, summary, textarea, [type=checkbox]");
  if (state.step !== "trial" && state.step !== "volume") return;
  const arrows = event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End";
  if (box && arrows) return;
  if (event.key === " " && box?.type === "radio" && !box.checked) return;  // who came by Tab chooses so
  if (event.key === " ") {
    if (typed && !typed.matches("[data-play]")) return;
    toggle();
  } else if (event.key === "Enter") {
    if (typed) return;
    if (state.step === "volume") byId("ready").click();
    else move(1);
  } else if (state.step !== "trial") return;
  else if (/^[0-9]$/.test(event.key)) {
    const value = Number(event.key);
    if (test.scale === 5 && LOWEST <= value && value <= HIGHEST) rate(active, value);
    else if (test.scale === 100) rate(active, 10 * value);
    else return;
  } else if (event.key === "r" || event.key === "R") again();
  else if (event.key === "ArrowRight") move(1);
  else if (event.key === "ArrowLeft") move(-1);
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const by = event.key === "ArrowDown" ? 1 : -1;
    active = Math.min(test.questions.length - 1, Math.max(0, active + by));
    mark();
  } else return;
  event.preventDefault();
});

// Wiring

const facts = [
  ["Clips", state.answers.length], ["Time", `about ${test.minutes} minute${test.minutes > 1 ? "s" : ""}`],
  ["Breaks", "at any time: your answers stay in this browser"],
  ["You need", "headphones, if you have any, and a quiet place"],
];
byId("title").textContent = test.title;
byId("facts").append(...facts.flatMap(([term, value]) => [
  Object.assign(document.createElement("dt"), {textContent: term}),
  Object.assign(document.createElement("dd"), {textContent: value}),
]));
const intro = test.intro.length ? test.intro : [
  "You will hear short sounds, and say of each what you think of it. There is no right answer: we want to know what you hear.",
  "Some sounds may be poor, and a few are checks: where a voice tells you what to answer, please do so.",
];
byId("intro").append(...intro.map(line => Object.assign(document.createElement("p"), {textContent: line, dir: "auto"})));
const digits = test.scale === 5 ? "<kbd>1</kbd> to <kbd>5</kbd>" : "<kbd>0</kbd> to <kbd>9</kbd>";
byId("keys").innerHTML = "<kbd>space</kbd> play or pause, <kbd>R</kbd> from the start, " + digits + " rate, " +
  (test.questions.length > 1 ? "<kbd>↑</kbd> <kbd>↓</kbd> question, " : "") +
  "<kbd>←</kbd> <kbd>→</kbd> clip, <kbd>Enter</kbd> next";

byId("consent").addEventListener("change", event => { byId("begin").disabled = !event.target.checked; });
byId("begin").addEventListener("click", () => go("volume"));
for (const input of document.querySelectorAll("[name=device]")) {
  input.checked = input.value === state.device;
  input.addEventListener("change", () => { state.device = input.value; save(); checkReady(); });
  input.addEventListener("click", event => { if (event.detail) input.blur(); });
}
byId("ready").addEventListener("click", () => go("trial"));
byId("back").addEventListener("click", () => move(-1));
byId("next").addEventListener("click", () => move(1));
byId("questions").addEventListener("submit", event => event.preventDefault());
byId("partial").addEventListener("click", () => { noteTime(); save(); download(); });
byId("comment").addEventListener("input", event => { state.comment = event.target.value; save(); });
byId("download").addEventListener("click", download);
byId("copy").addEventListener("click", copy);
byId("send").addEventListener("click", send);
byId("anew").addEventListener("click", () => {
  try { localStorage.removeItem(place); } catch { /* there is nothing to remove */ }
  state = fresh();
  delete byId("ready").dataset.heard;
  byId("consent").checked = false;
  byId("begin").disabled = true;
  for (const input of document.querySelectorAll("[name=device]")) input.checked = false;
  checkReady();
  show();
});
save();
checkReady();
show();
