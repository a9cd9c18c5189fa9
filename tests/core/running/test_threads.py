"""Threads: as many as there are, none more than needed, and nobody's number of them changed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from core import Blend, Compute, blend
from core.running.threads import Inline
from tests.helpers import lora_file, same_bits

FILES = lora_file("abcdefgh"), lora_file("abcdefgh", seed=1)
EIGHT = Compute(workers=8)


@pytest.mark.parametrize("most", [0, 1, 2, 3, 6])
def test_with_few_threads_or_none_the_result_is_the_same(monkeypatch, tmp_path, most):
    exact = blend(*FILES, Blend(rank=2), compute=EIGHT).lora
    before = threading.active_count()
    start = threading.Thread.start

    def limited(self):
        if threading.active_count() - before >= most:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    number = torch.get_num_threads()
    found = blend(*FILES, Blend(rank=2), compute=EIGHT).lora
    assert same_bits(found, exact)
    assert threading.active_count() == before and torch.get_num_threads() == number


def test_inline_hands_errors_to_whoever_asks():
    with pytest.raises(ZeroDivisionError):
        Inline().submit(lambda: 1 / 0).result()


def number_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.slow
def test_runs_begun_at_once_leave_the_number_of_threads_alone():
    before = number_of_a_new_thread(), torch.get_num_threads()
    for _ in range(5):
        gate = threading.Barrier(4)

        def one(gate=gate):
            gate.wait()
            blend(*FILES, Blend(rank=2), compute=Compute(workers=2))

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (number_of_a_new_thread(), torch.get_num_threads()) == before
