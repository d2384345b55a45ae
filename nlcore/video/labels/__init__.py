"""A set of videos with labels: published list formats, and one index file made from them."""

from nlcore.video.labels.formats import FORMATS, read_list
from nlcore.video.labels.index_file import read_index
from nlcore.video.labels.listing import ListError, Source
from nlcore.video.labels.making import Summary, index_of_files, make_index
from nlcore.video.labels.splitting import divided
from nlcore.video.labels.videos import Index, Video, labels_of

__all__ = [
    "FORMATS",
    "Index",
    "ListError",
    "Source",
    "Summary",
    "Video",
    "divided",
    "index_of_files",
    "labels_of",
    "make_index",
    "read_index",
    "read_list",
]
