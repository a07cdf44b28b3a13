"""Reports: what was measured, on what, and what was left out; as a table, JSON, CSV, Markdown and pictures."""
