"""Marks that two threads of one process rewrite at the same time."""

from threading import Event, Thread

from aiida_mlfc.exchange.marks import Attempt, rewrite

READS = 20_000


def test_a_mark_that_is_rewritten_twice_at_once_is_never_empty(tmp_path):
    """As at SIGTERM: the thread that watches for it and the one that ends both say so. Empty, a mark says that the
    structure killed its process."""
    path, attempt, done = tmp_path / 'Si2.1', Attempt('f', {'pid': 1}, False, ended='stopped'), Event()
    path.write_text(attempt.text)

    def again():
        while not done.is_set():
            rewrite(path, attempt)

    threads = [Thread(target=again) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        found = {Attempt.read(path).ended for _ in range(READS)}
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert found == {'stopped'}
    assert list(tmp_path.iterdir()) == [path]
