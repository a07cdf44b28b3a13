"""Token ids against what diffusers' AudioLDM2Pipeline hands to its text encoders."""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
import transformers
from diffusers import AudioLDM2Pipeline

from ldm_jax.convert import random_tokenizers
from ldm_jax.text.phonemes import load_phoneme_tokenizer, phoneme_ids, to_phonemes
from ldm_jax.text.tokenizers import load_tokenizer
from tests.text.test_tokenizers import PEERS, TEXTS, WRITERS, assert_equal_to_transformers

PROMPTS = ["a dog barks in the rain", "techno music " * 200]
TRANSCRIPTS = ["Hello, Dr. Smith!", "", "“Wish you have a good day” " * 30]


class Reached(Exception):
    """The pipeline got to its second text encoder."""


@pytest.mark.parametrize("max_length", [None, 2, 9, 50])
@pytest.mark.parametrize("kind", PEERS)
def test_equal_to_transformers(kind, tmp_path, max_length):
    WRITERS[kind](tmp_path)
    assert_equal_to_transformers(kind, tmp_path, max_length)


def handed_over(folder, speech: bool, prompts: list[str], transcripts: list[str] | None):
    """(ids, mask) that reach CLAP, and those that reach the second encoder."""
    second = transformers.VitsTokenizer if speech else transformers.T5TokenizerFast
    reached = mock.Mock(side_effect=Reached)
    reached.config.model_type = "vits" if speech else "t5"
    vits = mock.Mock(spec=transformers.VitsModel, text_encoder=reached)
    clap = mock.Mock(
        config=SimpleNamespace(model_type="clap"),
        get_text_features=mock.Mock(return_value=torch.zeros(len(prompts), 4)),
    )
    pipeline = SimpleNamespace(
        tokenizer=transformers.RobertaTokenizerFast.from_pretrained(folder / "tokenizer"),
        tokenizer_2=second.from_pretrained(folder / "tokenizer_2"),
        text_encoder=clap,
        text_encoder_2=vits if speech else reached,
    )
    with pytest.raises(Reached):
        AudioLDM2Pipeline.encode_prompt(pipeline, prompts, "cpu", 1, False, transcripts)
    calls = [clap.get_text_features.call_args, reached.call_args]
    return [(call.args[0].numpy(), call.kwargs["attention_mask"].numpy() == 1) for call in calls]


def test_pipeline(tmp_path):
    random_tokenizers.write_roberta(tmp_path / "tokenizer")
    random_tokenizers.write_t5(tmp_path / "tokenizer_2")
    clap, t5 = handed_over(tmp_path, False, PROMPTS + list(TEXTS), None)
    ours = load_tokenizer(tmp_path / "tokenizer")(PROMPTS + list(TEXTS), pad_to=512)
    np.testing.assert_array_equal(ours.ids, clap[0])
    np.testing.assert_array_equal(ours.mask, clap[1])
    ours = load_tokenizer(tmp_path / "tokenizer_2")(PROMPTS + list(TEXTS))
    np.testing.assert_array_equal(ours.ids, t5[0])
    np.testing.assert_array_equal(ours.mask, t5[1])


def test_speech_pipeline(tmp_path):
    to_phonemes("so that phonemizer finds espeak-ng")
    random_tokenizers.write_roberta(tmp_path / "tokenizer")
    random_tokenizers.write_vits(tmp_path / "tokenizer_2")
    prompts = ["a woman speaks"] * len(TRANSCRIPTS)
    _, vits = handed_over(tmp_path, True, prompts, TRANSCRIPTS)
    ours = phoneme_ids(TRANSCRIPTS, load_phoneme_tokenizer(tmp_path / "tokenizer_2"))
    np.testing.assert_array_equal(ours.ids, vits[0])
    np.testing.assert_array_equal(ours.mask, vits[1])
    assert [row.any() for row in ours.ids == 182] == [True, True, False]  # the last fills its row
