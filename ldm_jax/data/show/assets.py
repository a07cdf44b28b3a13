"""The page's style and script."""

STYLE = """
:root{--ground:#fbfaf8;--card:#fff;--ink:#1d1b20;--soft:#69656f;--line:#dedae2;--accent:#8a3a7c;--mark:#f4e9f2}
@media (prefers-color-scheme:dark){:root{--ground:#141217;--card:#1d1a21;--ink:#ece8ee;--soft:#a29ca8;
--line:#38333e;--accent:#e08fc9;--mark:#33253a}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
header,main,.tools,#none{max-width:1500px;margin:0 auto;padding:0 1rem}
h1{margin:1.2rem 0 0;font-size:1.6rem;overflow-wrap:anywhere}
.shown{margin:0 0 .6rem;color:var(--soft)}
dl{display:flex;flex-wrap:wrap;gap:.25rem 1.2rem;margin:.5rem 0}
dl div{display:flex;gap:.4rem;min-width:0}
dt{color:var(--soft);white-space:nowrap}dd{margin:0;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:1.2rem;margin:1rem 0 .2rem}
.chart{margin:0;max-width:420px}figcaption{color:var(--soft);font-size:.85rem;margin-bottom:.3rem}
.chart svg{width:100%;height:auto;display:block;overflow:visible}
.chart text{font-size:11px;fill:var(--soft)}.bar{fill:var(--accent)}.hit{fill:transparent}
g:hover .hit{fill:var(--mark)}
.counted{color:var(--soft);font-size:.85rem;margin:.2rem 0}
details{margin:.5rem 0;color:var(--soft)}li{overflow-wrap:anywhere}
.tools{position:sticky;top:0;z-index:2;display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;
padding-block:.6rem;background:var(--ground);border-bottom:1px solid var(--line)}
.find{flex:1 1 14rem;display:flex;gap:.5rem;align-items:center}
.find input{flex:1;min-width:0;font:inherit;padding:.35rem .6rem;color:inherit;background:var(--card);
border:1px solid var(--line);border-radius:6px}
.chips{display:flex;gap:.4rem}
.chip{font:inherit;padding:.3rem .8rem;border:1px solid var(--line);border-radius:99px;background:var(--card);
color:inherit;cursor:pointer}
.chip[aria-pressed=true]{background:var(--accent);border-color:var(--accent);color:var(--ground)}
.keys,#count{color:var(--soft);font-size:.85rem}
kbd{border:1px solid var(--line);border-radius:4px;padding:0 .3rem;font:inherit}
@media (hover:none){.keys{display:none}}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:1rem;padding-block:1rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.8rem;min-width:0;
scroll-margin-top:5rem;display:flex;flex-direction:column}
.card[hidden]{display:none}
.card:focus,.card.current{outline:2px solid var(--accent);outline-offset:1px}
h2{font-size:.95rem;margin:0;overflow-wrap:anywhere}
.tags{display:flex;gap:.4rem;margin:.2rem 0 .5rem}.tag{font-size:.8rem;color:var(--accent)}
.sound{display:grid;grid-template-columns:3.2rem 1fr;grid-template-rows:auto 1.3rem}
.hertz,.times{position:relative;font-size:.7rem;color:var(--soft)}
.hertz{height:130px}.hertz span{position:absolute;right:.4rem;transform:translateY(50%);white-space:nowrap}
.times{grid-column:2}.times span{position:absolute;top:.1rem;transform:translateX(-50%);white-space:nowrap}
.times span:first-child{transform:none}
.pictures{position:relative;cursor:pointer;min-width:0}
.mel{display:block;width:100%;height:130px;background:#000004}
.level{display:block;width:100%;height:40px;border-bottom:1px solid var(--line)}.level path{fill:var(--accent)}
.head{position:absolute;top:0;bottom:0;left:0;width:2px;background:#fff;mix-blend-mode:difference;pointer-events:none}
audio{width:100%;height:36px;margin:.3rem 0}
.note{margin:0;color:var(--soft);font-size:.8rem}
.problem{background:var(--mark);border-radius:6px;padding:.5rem .7rem;overflow-wrap:anywhere}
.texts{max-height:11rem;overflow:auto;margin:.3rem 0}
.caption{margin:.2rem 0;font-size:1.02rem;overflow-wrap:anywhere}.caption.missing{color:var(--soft);font-style:italic}
.caption+.caption{border-top:1px solid var(--line);padding-top:.2rem}
.transcript{margin:.3rem 0;padding-left:.7rem;border-left:3px solid var(--accent);overflow-wrap:anywhere}
.card dl{margin-top:auto;font-size:.8rem;gap:.1rem .9rem}
#none{padding-block:2rem;color:var(--soft)}
"""

# Left and right: the clip before and the next; space: play or stop; "/": search; Escape: away from the search.
SCRIPT = """
const cards = [...document.querySelectorAll(".card")];
const find = document.getElementById("find");
const chips = [...document.querySelectorAll(".chip")];
const words = cards.map(card => card.textContent.toLowerCase());
let current = -1;

function filter() {
  const wanted = find.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const kinds = chips.filter(chip => chip.ariaPressed === "true").map(chip => chip.dataset.kind);
  let shown = 0;
  cards.forEach((card, i) => {
    const fits = wanted.every(word => words[i].includes(word)) && (!kinds.length || kinds.includes(card.dataset.kind));
    card.hidden = !fits;
    if (!fits) card.querySelector("audio")?.pause();
    shown += fits;
  });
  document.getElementById("count").textContent = shown + " shown";
  document.getElementById("none").hidden = shown > 0;
}

function go(i) {
  if (i < 0 || i >= cards.length) return;
  cards[current]?.classList.remove("current");
  current = i;
  cards[i].classList.add("current");
  cards[i].focus({preventScroll: true});
  cards[i].scrollIntoView({block: "nearest"});
}

function step(by) {
  let i = current + by;
  if (current < 0) i = by > 0 ? 0 : cards.length - 1;
  while (cards[i]?.hidden) i += by;
  const playing = cards[current]?.querySelector("audio");
  const goOn = playing && !playing.paused;
  if (!cards[i]) return;
  go(i);
  if (goOn) cards[i].querySelector("audio")?.play();
}

function toggle() {
  if (current < 0 || cards[current].hidden) step(1);
  const audio = cards[current]?.querySelector("audio");
  if (audio) audio.paused ? audio.play() : audio.pause();
}

find.addEventListener("input", filter);
for (const chip of chips) chip.addEventListener("click", () => {
  chip.ariaPressed = chip.ariaPressed === "true" ? "false" : "true";
  filter();
});

cards.forEach((card, i) => {
  card.addEventListener("click", () => { if (current !== i) go(i); });
  const audio = card.querySelector("audio");
  if (!audio) return;
  const head = card.querySelector(".head"), pictures = card.querySelector(".pictures");
  const draw = () => {
    head.hidden = false;
    head.style.left = 100 * audio.currentTime / (audio.duration || 1) + "%";
    if (!audio.paused) requestAnimationFrame(draw);
  };
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    draw();
  });
  audio.addEventListener("seeked", draw);
  pictures.addEventListener("click", event => {
    const box = pictures.getBoundingClientRect();
    const part = (event.clientX - box.left) / box.width;
    const seek = () => { audio.currentTime = part * audio.duration; audio.play(); };
    if (audio.duration) seek();
    else { audio.addEventListener("loadedmetadata", seek, {once: true}); audio.load(); audio.preload = "auto"; }
  });
});

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === find) {
    if (event.key === "Escape") find.blur();
    return;
  }
  if (event.key === "/") find.focus();
  else if (event.target.closest("button, audio, summary") && event.key === " ") return;
  else if (event.key === "ArrowRight" || event.key === "ArrowDown") step(1);
  else if (event.key === "ArrowLeft" || event.key === "ArrowUp") step(-1);
  else if (event.key === " ") toggle();
  else return;
  event.preventDefault();
});
"""
