"""laion-clap 1.1.7 (PyPI) without a hub, with the random weights of `tests.eval.preset_weights`.

Patched: what it would download (tokenisers, roberta-base, checkpoints) and torchvision's compiled operators, which it
does not call. The tokeniser is the one of `ldm_jax.convert.random_tokenizers`.
"""

import pathlib

import numpy as np
import torch
import transformers

from ldm_jax.convert.random_tokenizers import write_roberta
from tests.eval import preset_weights
from tests.parity.presets import networks


def prepare(folder):
    """What laion_clap's import and its constructor look for; its tokeniser is written into `folder`."""
    networks.torchvision_without_operators()
    networks.stub("wget", download=None)
    write_roberta(pathlib.Path(folder))
    tokenizer = transformers.RobertaTokenizer.from_pretrained(str(folder))
    transformers.RobertaTokenizer.from_pretrained = lambda *_, **__: tokenizer
    transformers.BertTokenizer.from_pretrained = lambda *_, **__: None
    transformers.BartTokenizer.from_pretrained = lambda *_, **__: None
    config = transformers.RobertaConfig(
        vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    )
    transformers.RobertaModel.from_pretrained = lambda *_, **__: transformers.RobertaModel(config)


def write_checkpoint(path, variant, *, fusion, position_ids=True):
    """A checkpoint as LAION publishes it: our random tensors, all else as its modules make it.

    `position_ids` of the text tower, which checkpoints have, stop loaders that know only older transformers.
    """
    import laion_clap

    module = laion_clap.CLAP_Module(enable_fusion=fusion, amodel=f"HTSAT-{variant}", device="cpu")
    networks.load(module.model, preset_weights.laion_clap(variant, fusion=fusion))
    state = {f"module.{name}": x for name, x in module.model.state_dict().items()}
    if position_ids:
        state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": 0, "state_dict": state}, path)


def record(module, kept):
    """Makes `module` append what it embeds, and the embeddings, to `kept`."""
    audio, text = module.get_audio_embedding_from_data, module.get_text_embedding

    def of_audio(x, use_tensor=False):
        embedded = audio(x, use_tensor=use_tensor)
        kept.append(
            ("audio", networks.summary([np.asarray(one, np.float32) for one in x]), embedded)
        )
        return embedded

    def of_text(x, tokenizer=None, use_tensor=False):
        embedded = text(x, tokenizer, use_tensor=use_tensor)
        kept.append(("text", None, embedded))
        return embedded

    module.get_audio_embedding_from_data = of_audio
    module.get_text_embedding = of_text


def summarised(kept):
    """What `record` appended, one under another, in the order of the calls."""
    audio = [one for one in kept if one[0] == "audio"]
    texts = [np.asarray(one[2]) for one in kept if one[0] == "text"]
    return {
        "clap/waves": np.concatenate([one[1] for one in audio]),
        "clap/audio": np.concatenate([np.asarray(one[2]) for one in audio]),
        **({"clap/texts": np.concatenate(texts)} if texts else {}),
    }
