"use strict";
const test = JSON.parse(document.getElementById("test").textContent);
const byId = name => document.getElementById(name);
const audio = byId("audio");
const [LOWEST, HIGHEST] = test.scale === 5 ? [1, 5] : [0, 100];
const PLAY = '<path d="M7 4.5v15l13-7.5z"/>', PAUSE = '<path d="M6 4.5h4v15H6zM14 4.5h4v15h-4z"/>';

// What is known of this rater. It is written down after every change, so that a reload loses nothing.

const asked = (new URLSearchParams(location.search).get("rater") ?? "").trim().slice(0, 80);
const place = `listening:${test.test}:${asked}`;
let kept = true;
let state = read() ?? fresh();

function fresh() {
  const row = rowOf(asked);
  return {
    session: Array.from(crypto.getRandomValues(new Uint8Array(8)), x => x.toString(16).padStart(2, "0")).join(""),
    row, started: new Date().toISOString(), finished: null, device: "", comment: "", step: "welcome", at: 0,
    answers: test.rows[row].map(([clip, text]) => ({clip, text, ratings: {}, heard: false, plays: 0, seconds: 0})),
  };
}

// "?rater=3" is the third row; any other name always gives the same row, and nobody's a random one.
function rowOf(rater) {
  const rows = test.rows.length;
  if (/^\d{1,9}$/.test(rater)) return (Number(rater) + rows - 1) % rows;
  if (!rater) return Math.floor(Math.random() * rows);
  let hash = 2166136261;
  for (const character of rater) hash = Math.imul(hash ^ character.codePointAt(0), 16777619) >>> 0;
  return hash % rows;
}

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(place));
    return found && found.answers.length === test.rows[found.row].length ? found : null;
  } catch {
    return null;
  }
}

function save() {
  try {
    localStorage.setItem(place, JSON.stringify(state));
  } catch {
    if (kept) say("This browser does not store anything for this page: do not close or reload it before the end.");
    kept = false;
  }
}

function say(sentence) {
  byId("notice").textContent = sentence;
  byId("notice").hidden = !sentence;
}
