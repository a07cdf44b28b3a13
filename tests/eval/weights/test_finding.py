import dataclasses
import pathlib
import re

import pytest

from ldm_jax.eval.cache import home
from ldm_jax.eval.weights import PUBLISHED, WeightsError, find, find_tokenizer, is_published

VGGISH = "vggish-10086976.pth"
CNN14 = "Cnn14_16k_mAP=0.438.pth"


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A home without anything in it."""
    for name in ("XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def small(monkeypatch):
    """The table without sizes, so that stand-ins will do."""
    plain = {name: dataclasses.replace(one, size=None) for name, one in PUBLISHED.items()}
    monkeypatch.setattr("ldm_jax.eval.weights.finding.PUBLISHED", plain)


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("weights")
    return path


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("vggish", f".cache/torch/hub/checkpoints/{VGGISH}"),
        ("vggish", f".cache/ldm_jax/eval/{VGGISH}"),
        ("cnn14_16k", f".cache/audioldm_eval/ckpt/{CNN14}"),
        ("cnn14_16k", ".cache/torch/hub/Cnn14_16k_mAP%3D0.438.pth"),
        ("cnn14_32k", "panns_data/Cnn14_mAP=0.431.pth"),
        ("cnn14_8k", ".cache/ldm_jax/eval/Cnn14_8k_mAP=0.416.pth"),
        ("passt", ".cache/torch/hub/checkpoints/passt-s-f128-p16-s10-ap.476-swa.pt"),
        ("clap:630k-audioset-fusion-best", ".cache/torch/hub/630k-audioset-fusion-best.pt"),
    ],
)
def test_where_others_leave_them(user, name, place):
    with pytest.raises(WeightsError):
        find(name)
    there = put(user / place)
    assert find(name) == there


@pytest.mark.usefixtures("small")
def test_the_nearer_place_first(user, tmp_path, monkeypatch):
    there = put(user / ".cache/torch/hub/checkpoints" / VGGISH)
    assert find("vggish") == there
    ours = put(home() / VGGISH)
    assert find("vggish") == ours
    given = put(tmp_path / "given" / VGGISH)
    assert find("vggish", folder=tmp_path / "given") == given
    other = put(tmp_path / "mine.bin")
    assert find("vggish", folder=tmp_path / "given", path=other) == other
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    there = put(tmp_path / "torch/hub/checkpoints" / VGGISH)
    assert find("vggish") == there
    ours = put(tmp_path / "xdg/ldm_jax/eval" / VGGISH)
    assert find("vggish") == ours


@pytest.mark.usefixtures("small")
def test_packages_that_hold_weights(user, tmp_path, monkeypatch):
    for package, below in (("laion_clap", ""), ("fadtk", ".model-checkpoints")):
        put(tmp_path / "site" / package / "__init__.py").write_text("raise RuntimeError")
        there = put(tmp_path / "site" / package / below / "630k-audioset-best.pt")
        monkeypatch.syspath_prepend(tmp_path / "site")
        assert find("clap:630k-audioset-best") == there
        there.unlink()


@pytest.mark.usefixtures("small")
def test_musicnn_in_its_package_or_its_wheel(user, tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"file of musicnn:MTT_musicnn, musicnn-0.1.0-py3-none-"):
        find("musicnn")
    package = tmp_path / "site" / "musicnn"
    put(package / "__init__.py").write_text("raise RuntimeError")
    for network in ("MTT_musicnn", "MSD_musicnn"):
        put(package / network / ".index")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find("musicnn") == find("musicnn:MTT_musicnn") == package / "MTT_musicnn"
    assert find("musicnn:MSD_musicnn") == package / "MSD_musicnn"
    wheel = put(home() / "musicnn-0.1.0-py3-none-any.whl")
    assert find("musicnn") == find("musicnn:MSD_musicnn") == wheel
    unzipped = put(tmp_path / "given" / "musicnn" / "MTT_musicnn" / ".index").parent
    assert find("musicnn", folder=tmp_path / "given") == unzipped
    with pytest.raises(WeightsError, match="'musicnn:MTT_vgg' is no backbone"):
        find("musicnn:MTT_vgg")


@pytest.mark.usefixtures("small")
def test_the_cache_of_the_hub(user):
    def cached(repository, file):
        root = user / "hub" / f"models--{repository.replace('/', '--')}"
        put(root / "refs" / "main").write_text("a1b2")
        return put(root / "snapshots" / "a1b2" / file)

    there = cached("lukewys/laion_clap", "music_audioset_epoch_15_esc_90.14.pt")
    assert find("clap:music_audioset_epoch_15_esc_90.14") == there
    assert find_tokenizer() is None
    there = cached("laion/clap-htsat-unfused", "tokenizer.json")
    assert find_tokenizer() == there.parent
    assert find("roberta") == there.parent
    there = cached("roberta-base", "merges.txt")
    assert find_tokenizer() == there.parent


def test_tokenizers_in_folders(user, tmp_path):
    with pytest.raises(WeightsError, match=r"the file of roberta, tokenizer\.json, is not in"):
        find("roberta")
    ours = put(home() / "roberta-base" / "tokenizer.json").parent
    assert find_tokenizer() == ours
    given = put(tmp_path / "given" / "merges.txt").parent
    assert find_tokenizer(folder=given) == given
    within = put(tmp_path / "given" / "roberta-base" / "tokenizer.json").parent
    assert find_tokenizer(folder=given) == within


def test_what_is_missing_is_said_in_one_sentence(user, tmp_path):
    with pytest.raises(WeightsError) as caught:
        find("cnn14_16k", folder=tmp_path)
    said = str(caught.value)
    places = (
        ".cache/ldm_jax/eval",
        ".cache/torch/hub/checkpoints",
        ".cache/audioldm_eval/ckpt",
        "panns_data",
    )
    for place in places:
        assert str(user / place) in said
    assert f"`python -m ldm_jax.eval.weights cnn14_16k --to {tmp_path}`" in said
    assert "https://zenodo.org/records/3987831/files/Cnn14_16k_mAP%3D0.438.pth" in said
    assert said.startswith(f"the file of cnn14_16k, {CNN14}, is not in {tmp_path}, ")
    assert "\n" not in said


def test_a_file_that_is_not_whole_is_not_taken(user, tmp_path):
    broken = put(tmp_path / "given" / CNN14)
    with pytest.raises(WeightsError, match=re.escape(f"; {broken} has 7 bytes, not 358,668,570")):
        find("cnn14_16k", folder=tmp_path / "given")


def test_what_cannot_be_found(user, tmp_path):
    with pytest.raises(WeightsError, match="'vgish' is no backbone; known are vggish, cnn14_8k"):
        find("vgish")
    with pytest.raises(WeightsError, match="the weights of vggish are not at"):
        find("vggish", path=tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"the folder of weights, .*, is not there"):
        find("vggish", folder=tmp_path / "none")
    with pytest.raises(WeightsError, match=r"clap:laion/clap-htsat-fused: .* run `hf download"):
        find("clap:laion/clap-htsat-fused")
    assert find(f"clap:{tmp_path}") == tmp_path


def test_the_table_agrees_with_itself():
    for name, one in PUBLISHED.items():
        for known in (one.sha256, one.inner):
            assert re.fullmatch(r"[0-9a-f]{64}|", known), name
        assert one.url.startswith("https://")
        assert one.url.replace("%3D", "=").endswith(f"/{one.file}")
        assert not name.startswith("clap:") or one.file == f"{name.removeprefix('clap:')}.pt"
    named = re.search(r"-([0-9a-f]{8})\.pth$", PUBLISHED["vggish"].file)
    assert named is not None
    assert PUBLISHED["vggish"].sha256.startswith(named[1])  # torch.hub's convention


def test_is_published():
    known = PUBLISHED["vggish"].sha256
    assert is_published("vggish", known) is True
    assert is_published("vggish", "0" * 64) is False
    assert is_published("musicnn", PUBLISHED["musicnn:MTT_musicnn"].inner) is True
    assert is_published("musicnn:MSD_musicnn", PUBLISHED["musicnn:MTT_musicnn"].inner) is False
    assert is_published("clap:630k-best", "0" * 64) is None
    assert is_published(str(pathlib.Path("elsewhere")), "0" * 64) is None
