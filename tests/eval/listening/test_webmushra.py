"""Files for webMUSHRA, and its results. Formats: its doc/experimenter.md and service/write.php."""

import csv
import json

import pytest
import soundfile
import yaml

from ldm_jax.eval.listening.__main__ import main
from ldm_jax.eval.listening.loudness import integrated_loudness
from tests.eval.listening.material import SYSTEMS, arguments_of, write_systems


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["l", *map(str, arguments)])
        status = main()
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


@pytest.fixture
def exported(command, tmp_path):
    """(configuration, key, folder) of what `make --webmushra` writes."""

    def make(*options):
        folder = tmp_path / "web"
        clips = arguments_of(*write_systems(tmp_path / "clips"))
        assert command("make", *clips, "--webmushra", folder, *options)[0] == 0
        (config,) = (folder / "configs").glob("*.yaml")
        return (
            yaml.safe_load(config.read_text()),
            json.loads((tmp_path / "web.key.json").read_text()),
            folder,
        )

    return make


def stimuli_of(config):
    first, *pages = config["pages"][2]
    assert first == "random"
    return {page["id"]: page for page in pages}


def test_mushra_pages(exported):
    config, key, folder = exported("--questions", "mushra", "--reference", "zebra")
    assert config["testId"] == key["test"]
    assert [page if isinstance(page, list) else page["type"] for page in config["pages"]][0::3] == [
        "generic",
        "finish",
    ]
    pages = stimuli_of(config)
    assert set(pages) == set(key["pages"])
    assert len(pages) == 5
    for name, page in pages.items():
        assert page["type"] == "mushra"
        assert page["createAnchor35"] is page["createAnchor70"] is True
        assert not page["showConditionNames"]
        assert sorted(key["pages"][name]["stimuli"].values()) == ["lemur", "okapi"]
        files = [page["reference"], *page["stimuli"].values()]
        waves = [soundfile.read(folder / file, always_2d=True) for file in files]
        assert {rate for _, rate in waves} == {48_000}
        assert len({wave.shape for wave, _ in waves}) == 1
        for wave, _ in waves:
            assert integrated_loudness(wave, 48_000) == pytest.approx(-23, abs=0.1)
    told = json.dumps(config)
    assert not any(system in told for system in SYSTEMS)
    assert soundfile.info(folder / config["pages"][1]["stimulus"]).frames


def test_pages_of_one_clip_with_both_questions(exported):
    config, key, folder = exported()
    pages = stimuli_of(config)
    assert len(pages) == 15
    for name, page in pages.items():
        assert page["type"] == "likert_single_stimulus"
        assert page["mustPlayback"] == "ended"
        assert [[point["value"] for point in scale] for scale in page["response"]] == [
            [1, 2, 3, 4, 5]
        ] * 2
        ((clip, file),) = page["stimuli"].items()
        assert set(key["pages"][name]["stimuli"]) == {clip}
        assert (folder / file).is_file()
    contents = " ".join(page["content"] for page in pages.values())
    assert "an &lt;/script&gt; tone" in contents
    assert not any(system in json.dumps(config) for system in SYSTEMS)


def write_mushra(path, key, raters, score):
    """mushra.csv as write.php makes it: one line a condition, webMUSHRA's own among them."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            (
                "session_test_id",
                "rater",
                "session_uuid",
                "trial_id",
                "rating_stimulus",
                "rating_score",
                "rating_time",
                "rating_comment",
            )
        )
        for rater in raters:
            for trial, page in key["pages"].items():
                for stimulus in (*page["stimuli"], "reference", "anchor35", "anchor70"):
                    system = page["stimuli"].get(stimulus, stimulus)
                    rows.writerow(
                        (
                            key["test"],
                            rater,
                            f"uuid-{rater}",
                            trial,
                            stimulus,
                            score(rater, system),
                            1234,
                            "",
                        )
                    )


def test_mushra_results(exported, command, tmp_path):
    _, key, _ = exported("--questions", "mushra", "--reference", "zebra")
    scores = {"okapi": 70, "lemur": 50, "reference": 100, "anchor35": 20, "anchor70": 40}
    write_mushra(
        tmp_path / "mushra.csv",
        key,
        ("1", "2", "bad"),
        lambda r, s: (
            80 if (r, s) == ("bad", "reference") else scores[s] + (r == "2" and s == "okapi")
        ),
    )
    status, said = command(
        "analyse",
        tmp_path / "mushra.csv",
        "--key",
        tmp_path / "web.key.json",
        "--out",
        tmp_path / "report",
    )
    assert status == 0
    assert "2 of 3 raters count" in said
    assert "left out: bad failed 5 of 5 checks (reference 5 times)" in said
    found = json.loads((tmp_path / "report" / "analysis.json").read_text())
    assert {score["system"]: score["mean"] for score in found["scores"]} == {
        "zebra": 100, "okapi": 70.5, "lemur": 50, "anchor35": 20, "anchor70": 40,
    }  # fmt: skip
    assert len(found["comparisons"]) == 10


def test_single_stimulus_results(exported, command, tmp_path):
    _, key, _ = exported()
    path = tmp_path / "lss.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            (
                "session_test_id",
                "rater",
                "trial_id",
                "stimuli_rating1",
                "stimuli_rating2",
                "stimuli",
                "rating_time",
            )
        )
        for rater, more in (("ann", 0), ("ben", 1)):
            for trial, page in key["pages"].items():
                ((clip, system),) = page["stimuli"].items()
                rows.writerow(
                    (
                        key["test"],
                        rater,
                        trial,
                        SYSTEMS.index(system) + 1 + more,
                        5 - SYSTEMS.index(system),
                        clip,
                        99,
                    )
                )
    status, said = command(
        "analyse", path, "--key", tmp_path / "web.key.json", "--out", tmp_path / "report"
    )
    assert status == 0
    assert "2 of 2 raters count" in said
    found = json.loads((tmp_path / "report" / "analysis.json").read_text())
    means = {(score["question"], score["system"]): score["mean"] for score in found["scores"]}
    for number, system in enumerate(SYSTEMS):
        assert means["ovl", system] == number + 1.5
        assert means["rel", system] == 5 - number
    lines = path.read_text().splitlines()
    (tmp_path / "nobody.csv").write_text("\n".join([lines[0], lines[1].replace("ann", "")]))
    (tmp_path / "stranger.csv").write_text(
        "\n".join([lines[0], *(line.replace(key["test"], "test_x") for line in lines[1:])])
    )
    (tmp_path / "six.csv").write_text(
        "\n".join([lines[0], lines[1].replace(",99", ",99").replace("trial_", "other_")])
    )
    (tmp_path / "none.csv").write_text("a,b\n1,2\n")
    for name, told in (
        ("nobody", "line 2 does not tell the rater"),
        ("stranger", "30 lines of other tests are left out"),
        ("six", "its trial 'other_"),
        ("none", "it has none of webMUSHRA's rows"),
    ):
        status, said = command(
            "analyse", tmp_path / f"{name}.csv", "--key", tmp_path / "web.key.json"
        )
        assert status == 2
        assert told in said


def test_long_clips_and_folders_that_are_there(command, tmp_path):
    clips = arguments_of(*write_systems(tmp_path / "clips", seconds=12.5, captions=("a", "b")))
    options = ("--webmushra", tmp_path / "web", "--questions", "mushra", "--reference", "zebra")
    status, said = command("make", *clips, *options)
    assert status == 2
    assert "webMUSHRA takes 12 s: give --seconds 12" in said
    (tmp_path / "there").mkdir()
    status, said = command("make", *clips, "--webmushra", tmp_path / "there")
    assert status == 2
    assert "there is there already" in said
    assert command("make", *clips, *options, "--seconds", "1")[0] == 0
    assert {len(soundfile.read(file)[0]) for file in (tmp_path / "web").rglob("*.wav")} == {48_000}
