"""Clips and views as other projects take them, as pure functions. `docs/clips.md` has the rules.

Six dialects: which frames a clip has, to which size they are resized, which part of them is seen,
and how bytes become numbers.
"""

from nlcore.video.sampling.clip_dialect import ClipDialect
from nlcore.video.sampling.cropping import View
from nlcore.video.sampling.table import CLIP_DIALECTS, dialect

__all__ = ["CLIP_DIALECTS", "ClipDialect", "View", "dialect"]
