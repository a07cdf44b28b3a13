"""The page in a real browser: play, rate, reload, finish, download, analyse."""

import functools
import http.server
import json
import threading

import pytest

from ldm_jax.eval.listening.__main__ import main
from tests.eval.listening import chromium
from tests.eval.listening.material import arguments_of, right_answer, write_systems

pytestmark = pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing())
CAPTIONS = ("a deep tone", "a <b>high</b> & </script> tone")


@pytest.fixture(scope="module")
def tab():
    with chromium.chromium() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _without_errors(tab):
    tab.errors.clear()
    yield
    assert tab.errors == []


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["listening", *map(str, arguments)])
    assert main() == 0


@pytest.fixture
def made(tmp_path, monkeypatch):
    """(address of the page, key) of a test with given options."""

    def make(*options, name="test.html"):
        folders, table = write_systems(
            tmp_path / f"clips-{name}", systems=("zebra", "okapi"), captions=CAPTIONS, seconds=0.4
        )
        out = tmp_path / name
        run(monkeypatch, "make", *arguments_of(folders, table), "--out", out, *options)
        return out, json.loads((tmp_path / f"{name.removesuffix('.html')}.key.json").read_text())

    return make


def shown(tab):
    """The step that is to be seen."""
    return tab.run(
        "[...document.querySelectorAll('section')].filter(s => s.getClientRects().length).map(s => s.id)"
    )


def hurry(tab):
    """Plays everything from now on four times as fast."""
    tab.run("audio.playbackRate = audio.defaultPlaybackRate = 4")


def begin(tab):
    """From the welcome to the first clip."""
    assert shown(tab) == ["welcome"]
    assert tab.run("document.querySelector('#begin').disabled")
    tab.click("#consent")
    tab.click("#begin")
    assert shown(tab) == ["volume"]
    tab.press("Enter")  # not before the sound was heard
    assert shown(tab) == ["volume"]
    tab.press(" ")
    hurry(tab)
    tab.until("document.querySelector('#ready').dataset.heard === 'yes'")
    tab.click("[name=device][value=headphones]")
    tab.click("#ready")
    assert shown(tab) == ["trial"]


def listen(tab):
    """Plays the clip to its end by the space bar."""
    assert not tab.run("document.querySelector('[data-question] input').matches(':enabled')")
    tab.press("5")
    assert tab.run("Object.keys(current().ratings).length") == 0  # nobody rates what was not heard
    tab.press(" ")
    tab.until("audio.currentTime > 0 || current().heard")
    tab.until("current().heard && audio.paused")


def answer_of(key, row, number):
    """(trial, what to answer by question) of a rater who likes zebras."""
    trial = key["rows"][row][number]
    check = trial.get("check")
    if check and check["kind"] == "repeat":
        return answer_of(key, row, check["of"])
    if check:
        return {q: right_answer(check, q, key["scale"]) for q in key["questions"]}
    good = key["clips"][trial["clip"]]["system"] == "zebra"
    return {"ovl": 5 if good else 2, "rel": 4 if good else 1}


def test_play_rate_reload_finish_download_analyse(tab, made, tmp_path, monkeypatch, capsys):
    out, key = made()
    tab.open(out.as_uri() + "?rater=1")
    begin(tab)
    trials = key["rows"][0]
    for number, trial in enumerate(trials):
        if number == 3:  # in the middle of a clip that is heard and half rated
            listen(tab)
            tab.press(str(answer_of(key, 0, number)["ovl"]))
            tab.reload()
            hurry(tab)
            assert shown(tab) == ["trial"]
            assert tab.run("[current().heard, current().ratings.ovl]") == [
                True,
                answer_of(key, 0, number)["ovl"],
            ]
            assert tab.run("document.querySelector('[name=ovl]:checked').value") == str(
                answer_of(key, 0, number)["ovl"]
            )
            tab.press(str(answer_of(key, 0, number)["rel"]))
        else:
            listen(tab)
            assert tab.run("document.querySelector('#next').disabled")
            tab.press("Enter")
            assert tab.run("state.at") == number
            for question in ("ovl", "rel"):
                tab.press(str(answer_of(key, 0, number)[question]))
        assert tab.run("document.querySelector('#number').textContent") == f"Clip {number + 1}"
        assert tab.run("document.querySelector('#text').textContent") == CAPTIONS[trial["text"]]
        assert tab.run("document.querySelector('#progress').ariaValueNow") == str(number + 1)
        tab.press("Enter" if number % 2 else "ArrowRight")
    assert shown(tab) == ["done"]
    tab.reload()
    assert shown(tab) == ["done"]
    tab.click("#download")
    found = tab.downloaded()
    result = json.loads(found.read_text())
    found.unlink()
    assert result["rater"] == "1"
    assert result["finished"] > result["started"]
    assert result["device"] == "headphones"
    assert [each["clip"] for each in result["answers"]] == [trial["clip"] for trial in trials]
    assert [each["ratings"] for each in result["answers"]] == [
        answer_of(key, 0, n) for n in range(len(trials))
    ]
    assert all(each["plays"] == 1 and each["heard"] for each in result["answers"])
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "1.json").write_text(json.dumps(result))
    run(
        monkeypatch,
        "analyse",
        tmp_path / "results",
        "--key",
        tmp_path / "test.key.json",
        "--out",
        tmp_path / "report",
    )
    assert "1 of 1 raters count" in capsys.readouterr().out
    analysis = json.loads((tmp_path / "report" / "analysis.json").read_text())
    means = {(score["question"], score["system"]): score["mean"] for score in analysis["scores"]}
    assert means == {
        ("ovl", "zebra"): 5,
        ("ovl", "okapi"): 2,
        ("rel", "zebra"): 4,
        ("rel", "okapi"): 1,
    }
    assert [rater["checks"] for rater in analysis["raters"]] == [4]
    assert [rater["failed"] for rater in analysis["raters"]] == [[]]


def test_mouse_back_and_another_rater(tab, made):
    out, _ = made("--checks", "")
    tab.open(out.as_uri() + "?rater=2")
    assert shown(tab) == [
        "welcome"
    ]  # another test and another rater: nothing is left of the one before
    begin(tab)
    listen(tab)
    tab.click("[name=ovl][value='2']")
    tab.click("[name=rel][value='3']")
    tab.press(
        "ArrowLeft"
    )  # goes from clip to clip, not from answer to answer: there is none before
    tab.press("ArrowRight")
    assert tab.run("[state.at, state.answers[0].ratings]") == [1, {"ovl": 2, "rel": 3}]
    tab.click("#back")
    assert tab.run("document.querySelector('[name=rel]:checked').value") == "3"
    tab.run("document.querySelector('[name=rel][value=\\'5\\']').focus()")
    tab.press(" ")  # as one does who comes by Tab
    assert tab.run("[audio.paused, state.answers[0].ratings]") == [True, {"ovl": 2, "rel": 5}]
    tab.press("ArrowLeft")
    tab.press("ArrowLeft")
    assert tab.run("[state.at, state.answers[0].ratings]") == [0, {"ovl": 2, "rel": 3}]
    tab.run("document.activeElement.blur()")
    tab.press("ArrowUp")
    tab.press("4")
    assert tab.run("state.answers[0].ratings") == {"ovl": 4, "rel": 3}
    tab.press("ArrowRight")
    listen(tab)
    tab.press("r")
    tab.until("!audio.paused")
    tab.press(" ")
    tab.until("audio.paused")
    tab.run("document.querySelector('details').open = true")
    tab.click("#partial")
    found = tab.downloaded()
    result = json.loads(found.read_text())
    found.unlink()
    assert result["finished"] is None
    assert [each["ratings"] for each in result["answers"]] == [{"ovl": 4, "rel": 3}]


class Receiver(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and keeps what is posted."""

    posted = None
    status = 200

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(type(self).status)
        self.end_headers()
        if type(self).status == 200:
            type(self).posted = json.loads(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tab, tmp_path):
    handler = functools.partial(Receiver, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        tab.open("about:blank")  # before nothing answers any more
        serving.shutdown()
        thread.join()


def test_folder_with_slider_opus_and_post(tab, made, server):
    _, key = made(
        "--scale", 100, "--questions", "ovl", "--checks", "", "--codec", "opus", "--folder", "--post", f"{server}/post",
        "--listen", "0.5", "--clips", "2", name="out",
    )  # fmt: skip
    Receiver.status = 500
    tab.open(f"{server}/out/index.html?rater=2")
    begin(tab)
    listen(tab)
    tab.press("7")
    assert tab.run("document.querySelector('output').textContent") == "70"
    tab.run("document.querySelector('[type=range]').focus()")
    tab.press("ArrowRight")
    assert tab.run("[state.at, current().ratings.ovl]") == [0, 71]
    tab.press("Enter")
    listen(tab)
    tab.click("[type=range]")
    assert 45 <= tab.run("current().ratings.ovl") <= 55
    tab.click("#next")
    tab.until(
        "document.querySelector('#sent').textContent.includes('could not be sent (the server says 500)')"
    )
    tab.errors.clear()  # the browser notes the 500
    Receiver.status = 200
    tab.click("#send")
    tab.until("document.querySelector('#sent').textContent.includes('have arrived')")
    assert Receiver.posted["test"] == key["test"]
    assert Receiver.posted["row"] == 1
    assert Receiver.posted["answers"][0]["ratings"] == {"ovl": 71}


def test_without_storage_it_says_so(tab, made):
    out, _ = made("--checks", "")
    identifier = tab.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Storage.prototype.setItem = () => {throw new Error('full')}",
    )["identifier"]
    tab.open(out.as_uri() + "?rater=9")
    assert "does not store" in tab.run("document.querySelector('#notice').textContent")
    tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=identifier)


def test_every_control_has_a_name_and_nothing_runs_over_a_phone(tab, made):
    out, _ = made("--checks", "")
    tab.look(width=360, height=740)
    tab.open(out.as_uri() + "?rater=3")
    begin(tab)
    tab.call("Accessibility.enable")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    for role in ("button", "radio", "progressbar"):
        names = [name for each, name in roles if each == role]
        assert names, role
        assert all(names), (role, names)
    assert ("radio", "5 Excellent") in roles
    assert ("group", "How well does the sound match the text?") in roles
    assert tab.run("document.documentElement.scrollWidth <= 360")
    smallest = tab.run(
        "Math.min(...[...document.querySelectorAll('#trial .points label')].map(l => l.offsetHeight))"
    )
    assert smallest >= 44
    tab.call("Emulation.clearDeviceMetricsOverride")
