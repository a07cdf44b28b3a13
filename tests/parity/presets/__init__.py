"""The peers' evaluation tools on the clips of `tests.eval.preset_clips`: what our presets are held against.

    python -m tests.parity.presets.audioldm_eval CLONE VGGISH      writes tests/golden/preset_audioldm_eval.npz
    python -m tests.parity.presets.consistencytta CLONE VGGISH
    python -m tests.parity.presets.fadtk CLONE VGGISH
    python -m tests.parity.presets.av_benchmark CLONE
    python -m tests.parity.presets.stable_audio_metrics CLONE

CLONE is a clone of the tool's repository at the commit that the module names, VGGISH one of harritaylor/torchvggish at
f3f9096. They are not part of `make parity`, because the tools ask for packages that are not in the parity extra. The
goldens were made with torch 2.13, torchaudio 2.11, torchvision 0.28, transformers 4.49, numpy 2.4, scipy 1.17,
librosa 0.11, torchlibrosa 0.1, laion-clap 1.1.7, hear21passt 0.0.26, resampy 0.4.3, scikit-image 0.26, ssr-eval 0.0.7,
pyloudnorm, pandas, hypy-utils, h5py, webdataset, ftfy, colorlog and ipdb, all without CUDA. What is patched is said in
each module; no file of a tool is changed.
"""
