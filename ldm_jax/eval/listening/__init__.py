"""Listening tests: a page that raters open, and what their answers say.

`python -m ldm_jax.eval.listening make` and `... analyse`; docs/listening.md tells the whole way.
"""
