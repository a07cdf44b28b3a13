"""Sources: what lies on disk, in the layouts in which people have it, as clips.

`open_source` finds the layout by looking. Nothing here decodes sound.
"""

from ldm_jax.data.sources.opening import Source, layouts, open_source

__all__ = ["Source", "layouts", "open_source"]
