"""Figures that papers print, and the listening tests beside them."""
