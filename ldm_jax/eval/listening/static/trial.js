// One clip

const current = () => state.answers[state.at];
const complete = answer => test.questions.every(question => answer.ratings[question.name] !== undefined);
let active = 0, opened = 0;

// Time on a clip counts while its page is to be seen.
function noteTime() {
  if (state.step === "trial" && opened) current().seconds += (performance.now() - opened) / 1000;
  opened = document.hidden ? 0 : performance.now();
}
document.addEventListener("visibilitychange", () => { noteTime(); save(); });

function openTrial() {
  opened = document.hidden ? 0 : performance.now();
  load(current().clip);
  active = Math.max(0, test.questions.findIndex(question => current().ratings[question.name] === undefined));
  const about = new Set(test.questions.map(question => question.text)), text = test.texts[current().text];
  byId("shown").hidden = !text;
  byId("shown-what").textContent = about.has("transcript") ? "What is said" : "The text";
  byId("text").textContent = text;
  byId("number").textContent = `Clip ${state.at + 1}`;
  byId("left").textContent = `of ${state.answers.length}`;
  byId("questions").replaceChildren(...test.questions.map(test.scale === 5 ? points : range));
  drawTrial();
}

function field(question, index) {
  const fieldset = document.createElement("fieldset");
  fieldset.className = "choice";
  fieldset.dataset.question = question.name;
  fieldset.append(Object.assign(document.createElement("legend"), {textContent: question.ask}));
  fieldset.addEventListener("focusin", () => { active = index; mark(); });
  return fieldset;
}

function points(question, index) {
  const fieldset = field(question, index), grid = document.createElement("div");
  grid.className = "points";
  question.labels.forEach((label, i) => {
    const input = Object.assign(document.createElement("input"), {type: "radio", name: question.name, value: i + 1});
    input.checked = current().ratings[question.name] === i + 1;
    input.addEventListener("change", () => rate(index, i + 1));
    // After a click the arrows shall go from clip to clip again, and not change what was clicked.
    input.addEventListener("click", event => { if (event.detail) input.blur(); });
    const whole = document.createElement("label"), name = document.createElement("span"), number = document.createElement("b");
    number.textContent = i + 1;
    name.textContent = label;
    whole.append(input, number, name);
    grid.append(whole);
  });
  fieldset.append(grid);
  return fieldset;
}

function range(question, index) {
  const fieldset = field(question, index), line = document.createElement("div"), names = document.createElement("div");
  const input = Object.assign(document.createElement("input"), {type: "range", min: LOWEST, max: HIGHEST, step: 1});
  input.value = current().ratings[question.name] ?? 50;
  input.ariaLabel = question.ask;
  const set = () => rate(index, Number(input.value), true);
  input.addEventListener("input", set);
  input.addEventListener("click", set);  // 50, where the slider stands already, is an answer too
  line.className = "range";
  names.className = "fifths";
  names.append(...question.labels.map(label => Object.assign(document.createElement("span"), {textContent: label})));
  line.append(input, document.createElement("output"));
  fieldset.append(line, names);
  return fieldset;
}

function rate(index, value, stay = false) {
  if (!current().heard) return;
  current().ratings[test.questions[index].name] = value;
  save();
  const open = test.questions.findIndex(question => current().ratings[question.name] === undefined);
  active = stay || open < 0 ? index : open;
  drawTrial();
}

function mark() {
  document.querySelectorAll("#questions fieldset").forEach((fieldset, index) => {
    fieldset.classList.toggle("current", current().heard && test.questions.length > 1 && index === active);
  });
}

function drawTrial() {
  const answer = current();
  document.querySelectorAll("#questions fieldset").forEach((fieldset, index) => {
    const value = answer.ratings[test.questions[index].name];
    fieldset.disabled = !answer.heard;
    for (const input of fieldset.querySelectorAll("[type=radio]")) input.checked = Number(input.value) === value;
    const output = fieldset.querySelector("output"), slider = fieldset.querySelector("[type=range]");
    if (output) {
      output.textContent = value ?? "–";
      slider.classList.toggle("unset", value === undefined);
      if (value !== undefined) slider.value = value;
    }
  });
  mark();
  byId("trial").querySelector("[data-track]").classList.toggle("free", answer.heard);
  byId("listen").textContent = answer.heard ? "" :
    test.listen < 1 ? `Listen to ${Math.round(100 * test.listen)} % of it before you rate.` : "Listen to the end before you rate.";
  byId("back").disabled = state.at === 0;
  byId("next").disabled = !complete(answer);
  byId("next").textContent = state.at + 1 === state.answers.length ? "Finish" : "Next";
  const done = state.answers.filter(complete).length;
  byId("progress").firstElementChild.style.width = `${100 * done / state.answers.length}%`;
  byId("progress").ariaValueNow = done;
  byId("progress").ariaValueText = `${done} of ${state.answers.length} clips rated`;
}

function move(by) {
  if (by > 0 && !complete(current())) return;
  if (state.at + by < 0) return;
  if (state.at + by >= state.answers.length) {
    noteTime();
    state.finished ??= new Date().toISOString();
    return go("done");
  }
  noteTime();
  state.at += by;
  save();
  show();
}
