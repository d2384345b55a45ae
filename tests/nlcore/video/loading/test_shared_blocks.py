"""Clips stay as they are while they are used, and their memory is used again afterwards."""

import os

import numpy as np
from broken_sources import Numbers

from nlcore.video.loading import Workers
from nlcore.video.loading.shared_blocks import Block, Blocks

FLOAT32 = np.dtype("float32")


def test_what_one_writes_the_other_reads():
    blocks = Blocks()
    number = blocks.take()
    theirs = Block(os.dup(blocks[number].file))  # as another process has it
    for shape in ((2, 3), (1,), (50, 1000)):  # it grows
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        theirs.array(shape, FLOAT32)[...] = values
        lent = blocks.lent(number, shape, FLOAT32)
        assert np.array_equal(lent, values) and lent.flags.writeable
    os.close(theirs.file)
    blocks.close()


def test_a_view_keeps_a_block():
    blocks = Blocks()
    number = blocks.take()
    view = blocks.lent(number, (2, 3), FLOAT32)[1, ::2]
    assert blocks.take() != number
    del view
    assert blocks.take() == number
    blocks.close()


def test_an_array_outlives_its_blocks():
    blocks = Blocks()
    array = blocks.lent(blocks.take(), (2, 3), FLOAT32)
    array[...] = 7
    blocks.close()
    assert (array == 7).all()


def test_clips_that_are_dropped_leave_their_blocks_to_others():
    with Workers({"a": Numbers()}, 1) as workers:
        (worker,) = workers._workers
        for clip in workers.clips("a", ((key,) for key in range(50))):
            assert (clip.pixels == clip.video).all()
        assert len(worker.blocks) <= 5
        kept = [clip.pixels for clip in workers.clips("a", ((key,) for key in range(20)))]
        assert len(worker.blocks) >= 20
    assert all((pixels == number).all() for number, pixels in enumerate(kept))
