"""Golden outputs of transformers' CLAP and of its feature extractor."""

import numpy as np

from tests import cases_clap as cases
from tests.golden import save
from tests.parity import oracle_clap as oracle


def write() -> None:
    for name, config in cases.TINY.items():
        shapes = oracle.shapes(config)
        outputs = oracle.run(config, cases.weights(shapes), cases.inputs(config), dtype="float64")
        save(f"clap_{name}", shapes=shapes, outputs=outputs)
    features = {}
    for name, (_, padding) in cases.CLIPS.items():
        wave = cases.clip(name)
        plain, _ = oracle.features(wave, padding=padding, fusion=False)
        fused, longer = oracle.features(wave, padding=padding, fusion=True)
        features[f"{name}_plain"] = plain[cases.KEPT_FRAMES].astype(np.float32)
        features[f"{name}_fused"] = fused[:, cases.KEPT_FRAMES].astype(np.float32)
        features[f"{name}_longer"] = np.array(longer)
    save("clap_features", shapes={}, outputs=features)


if __name__ == "__main__":
    write()
