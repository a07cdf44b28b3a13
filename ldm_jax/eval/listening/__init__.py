"""Listening tests: a page for raters (`make`), and what their answers say (`analyse`)."""
