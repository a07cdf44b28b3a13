"""The peers' evaluation tools on the clips of `tests.eval.preset_clips`: what our presets are held against.

    python -m tests.parity.presets.audioldm_eval CLONE      writes tests/golden/preset_audioldm_eval.npz

CLONE is a clone of the tool's repository at the commit that the module names. The tools ask for packages that are not
in the parity extra: torchaudio, torchlibrosa, laion-clap, resampy, scikit-image and pandas have to be installed for it.
What is patched is said in each module; no file of a tool is changed.
"""
