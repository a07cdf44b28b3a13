// Sound

const urls = new Map();

function source(name) {
  if (test.folder) return test.folder.replace("NAME", name);
  if (!urls.has(name)) {
    const bytes = Uint8Array.from(atob(byId(`sound-${name}`).textContent.trim()), c => c.charCodeAt(0));
    urls.set(name, URL.createObjectURL(new Blob([bytes], {type: test.type})));
  }
  return urls.get(name);
}

let furthest = 0;  // seconds of this clip that were heard without a gap; nobody can jump before it was heard

function load(name) {
  audio.pause();
  furthest = 0;
  audio.src = source(name);
  if (test.folder && state.step === "trial" && state.answers[state.at + 1])
    new Audio(source(state.answers[state.at + 1].clip)).preload = "auto";
  draw();
}

function toggle() {
  if (!audio.paused) return audio.pause();
  say("");
  audio.play().catch(error => {
    if (error.name !== "AbortError") say(`The sound cannot be played (${error.message}). Try another browser.`);
  });
}

function again() {
  audio.currentTime = 0;
  if (audio.paused) toggle();
}

const clock = seconds => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function draw() {
  const section = byId(state.step), button = section.querySelector("[data-play]");
  if (!button) return;
  const whole = Number.isFinite(audio.duration) ? audio.duration : 0;
  section.querySelector("[data-track] div").style.width = `${whole ? 100 * audio.currentTime / whole : 0}%`;
  section.querySelector("[data-time]").textContent = whole ? `${clock(audio.ended ? Math.ceil(whole) : audio.currentTime)} / ${clock(Math.ceil(whole))}` : "";
  const wanted = audio.paused ? "Play" : "Pause";
  if (button.ariaLabel !== wanted || !button.querySelector("path")) {
    button.ariaLabel = wanted;
    button.querySelector("svg").innerHTML = audio.paused ? PLAY : PAUSE;
  }
  if (!audio.paused) requestAnimationFrame(draw);
}

audio.addEventListener("play", () => {
  if (state.step === "trial") { current().plays += 1; save(); }
  draw();
});
for (const event of ["pause", "seeked", "loadedmetadata"]) audio.addEventListener(event, draw);
audio.addEventListener("error", () => {
  if (audio.src) say("This sound cannot be loaded or played. Reload the page, or try another browser.");
});
audio.addEventListener("timeupdate", () => {
  furthest = Math.max(furthest, audio.currentTime);
  if (audio.duration && test.listen < 1 && furthest >= test.listen * audio.duration) heard();
});
audio.addEventListener("ended", () => { heard(); draw(); });

function heard() {
  if (state.step === "volume") {
    byId("ready").dataset.heard = "yes";
    checkReady();
  } else if (state.step === "trial" && !current().heard) {
    current().heard = true;
    save();
    drawTrial();
  }
}

for (const button of document.querySelectorAll("[data-play]")) button.addEventListener("click", toggle);
for (const track of document.querySelectorAll("[data-track]")) track.addEventListener("click", event => {
  if (!track.classList.contains("free") || !audio.duration) return;
  const box = track.getBoundingClientRect();
  audio.currentTime = (event.clientX - box.left) / box.width * audio.duration;
});
