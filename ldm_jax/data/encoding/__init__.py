"""What frozen networks make of a prepared dataset, computed once and stored beside it.

`writing.encode` makes an encoding, `reading.open_encoding` reads it; `settings` says what lies where.
"""
