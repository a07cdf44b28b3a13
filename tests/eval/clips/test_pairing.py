import shutil

import pytest

from ldm_jax.eval.clips import pair, read_side
from tests.eval.clips.sounds import names, sound, told


def sides(tmp_path, generated, reference):
    for seed, name in enumerate(generated):
        sound(tmp_path / "gen" / name, seed=seed)
    for seed, name in enumerate(reference, start=1000):
        sound(tmp_path / "ref" / name, seed=seed)
    return read_side(tmp_path / "gen"), read_side(tmp_path / "ref")


def test_suffixes_may_differ(tmp_path):
    pairing = pair(*sides(tmp_path, ["a.wav", "x/b.wav"], ["a.flac", "x/b.ogg"]))
    assert pairing.names == ("a", "x/b")
    assert pairing.share == 1.0
    assert pairing.problems == ()
    assert names(pairing.reference) == ["a", "x/b"]


def test_clips_alone_are_named_and_kept(tmp_path):
    pairing = pair(
        *sides(tmp_path, ["a.wav", "b.wav", "c.wav"], ["b.wav", "c.wav", "d.wav", "e.wav"])
    )
    assert pairing.names == ("b", "c")
    assert pairing.share == 0.5  # 2 of 4 references; 2 of 3 generated
    assert names(pairing.generated) == ["a", "b", "c"]
    assert names(pairing.reference) == ["b", "c", "d", "e"]
    ref, gen = str(tmp_path / "ref"), str(tmp_path / "gen")
    assert told(pairing.problems) == [
        (f"{gen}/a.wav", False),
        (f"{ref}/d.wav", False),
        (f"{ref}/e.wav", False),
    ]
    assert pairing.problems[0].why == (
        f"no clip of its name in {ref}: left out where clips are compared in pairs"
    )
    assert pairing.refusal == ""
    refused = pair(read_side(tmp_path / "gen"), read_side(tmp_path / "ref"), least=0.5)
    assert refused.names == ("b", "c")
    assert refused.refusal == (
        f"only 2 names are both among the 3 of {gen} and among the 4 of {ref};"
        " more than 50% of either side are expected for pairs"
    )


def test_no_name_in_common(tmp_path):
    pairing = pair(*sides(tmp_path, ["output_0.wav"], ["Yabc.wav"]))
    assert pairing.names == ()
    assert pairing.share == 0.0
    assert "have no name in common" in pairing.refusal
    assert "'output_0' and 'Yabc'" in pairing.refusal


def test_captions_come_from_the_reference_where_there_is_no_other(tmp_path):
    generated, _ = sides(tmp_path, ["a.wav", "b.wav"], ["a.wav", "b.wav"])
    (tmp_path / "ref/a.txt").write_text("of the reference")
    (tmp_path / "ref/b.txt").write_text("of the reference")
    (tmp_path / "gen/b.txt").write_text("its own")
    pairing = pair(read_side(tmp_path / "gen"), read_side(tmp_path / "ref"))
    assert [clip.captions for clip in pairing.generated] == [("of the reference",), ("its own",)]
    assert generated.clips[0].captions == ()


def test_copies_of_references(tmp_path):
    sides(tmp_path, ["a.wav", "b.wav"], ["a.wav", "b.wav"])
    shutil.copy(tmp_path / "ref/a.wav", tmp_path / "gen/b.wav")
    pairing = pair(read_side(tmp_path / "gen"), read_side(tmp_path / "ref"))
    (problem,) = pairing.problems
    assert (problem.file, problem.dropped) == (str(tmp_path / "gen/b.wav"), False)
    assert problem.why == f"byte for byte the reference {tmp_path / 'ref/a.wav'}"


@pytest.mark.parametrize(("missing", "above"), [(0, True), (1, True), (2, False)])
def test_share_as_audioldm_eval_takes_it(tmp_path, missing, above):
    """Its rule: the shared names divided by those of either folder, both above 0.99."""
    everything = [f"{i:03}.wav" for i in range(150)]
    (tmp_path / "gen").mkdir()
    (tmp_path / "ref").mkdir()
    for name in everything:
        (tmp_path / "gen" / name).write_text(name)
    for name in everything[missing:]:
        (tmp_path / "ref" / name).write_text("r" + name)
    pairing = pair(read_side(tmp_path / "gen"), read_side(tmp_path / "ref"), least=0.99)
    assert pairing.share == (150 - missing) / 150
    assert (pairing.refusal == "") == above
