import asyncio
import os
import resource
from pathlib import Path

import pytest

from weft.adapters import clock
from weft.adapters.inotify import Watch


async def test_a_change_is_told_at_once_and_is_news_only_once(tmp_path: Path) -> None:
    with Watch((tmp_path,)) as watch:
        for change in (
            (tmp_path / "a").touch,
            lambda: (tmp_path / "a").chmod(0o600),
            (tmp_path / "a").unlink,
        ):
            asyncio.get_running_loop().call_later(0.05, change)
            began = clock.elapsed()
            await watch.changed(20)
            assert clock.elapsed() - began < 10
            await watch.changed(0.05)  # what came with it
        began = clock.elapsed()
        await watch.changed(0.2)
        assert clock.elapsed() - began >= 0.2


async def test_where_the_kernel_has_no_more_of_them_one_looks_every_second(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        watch = Watch((tmp_path,)).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    began = clock.elapsed()
    await watch.changed(20)
    assert 0.9 < clock.elapsed() - began < 10
    watch.__exit__(None, None, None)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"), Watch((tmp_path / "none",)):
        pass
