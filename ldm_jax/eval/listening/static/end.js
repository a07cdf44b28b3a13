// The end

function result() {
  const answers = state.answers.map((answer, trial) => ({trial, ...answer, seconds: Math.round(10 * answer.seconds) / 10}));
  return {
    format: test.format, test: test.test, title: test.title, rater: asked, session: state.session, row: state.row,
    started: state.started, finished: state.finished, device: state.device, comment: state.comment,
    answers: answers.filter(answer => Object.keys(answer.ratings).length),
  };
}

const written = () => JSON.stringify(result(), null, 1) + "\n";

function download() {
  const link = document.createElement("a");
  const who = asked.replace(/[^\w-]+/g, "_") || state.session;
  link.href = URL.createObjectURL(new Blob([written()], {type: "application/json"}));
  link.download = `result-${test.test}-${who}.json`;
  document.body.append(link);
  link.click();
  link.remove();
}

async function copy() {
  let done = true;
  try {
    await navigator.clipboard.writeText(written());
  } catch {  // a page that was opened as a file may not
    const area = Object.assign(document.createElement("textarea"), {value: written()});
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  byId("copied").textContent = done ? "Copied." : "This browser does not copy; please download it.";
}

async function send() {
  const sent = byId("sent");
  sent.hidden = false;
  sent.textContent = "Sending …";
  try {
    // text/plain: a server that knows nothing of this page may take it without being asked first
    const reply = await fetch(test.post, {method: "POST", body: written(), headers: {"Content-Type": "text/plain"}});
    if (!reply.ok) throw new Error(`the server says ${reply.status}`);
    sent.textContent = "Your answers have arrived. There is nothing more to do.";
    state.sent = true;
    save();
  } catch (error) {
    sent.textContent = `Your answers could not be sent (${error.message}). Please download the result and hand it in.`;
  }
  byId("send").hidden = false;
}

function openDone() {
  byId("comment").value = state.comment;
  byId("hand-in").textContent = test.post
    ? "You may keep a copy." : "One thing is left: download the result, and hand the file to whoever asked you.";
  byId("send").hidden = !test.post;
  if (test.post && !state.sent) send();
}
