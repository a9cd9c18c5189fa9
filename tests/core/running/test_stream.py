"""The loop over modules: order, progress, cancelling, errors, and threads that do not stay."""

import re
import threading
import time

import pytest
import torch

from core import Blend, Cancelled, Compute, LoraError, blend, choose_device
from core.running.stream import stream
from tests.helpers import lora_file, same_bits

ITEMS = list(range(20))


def run(function, items=ITEMS, **settings):
    return stream(items, str, lambda item, compute: function(item), Compute(**settings))


@pytest.mark.parametrize("workers", [None, 1, 3, 50])
def test_results_come_in_order(workers):
    def slow_first(item):
        time.sleep(0.02 if item == 0 else 0)
        return item * 2

    assert list(run(slow_first, workers=workers)) == [item * 2 for item in ITEMS]
    assert list(run(slow_first, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_progress_counts_every_item_once_and_in_order(workers):
    calls = []
    list(run(lambda item: item, workers=workers, progress=lambda *call: calls.append(call)))
    assert calls == [(item + 1, 20, str(item)) for item in ITEMS]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_out_and_stops_the_loop(workers):
    started = []

    def fail(item):
        started.append(item)
        if item == 4:
            raise LoraError("is broken", "mend it")
        return item

    results = run(fail, workers=workers)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(LoraError, match=r"^module 4: is broken; mend it$"):
        next(results)
    assert len(started) <= 5 + 2 * workers


@pytest.mark.parametrize("workers", [1, 3])
def test_cancelling_stops_before_the_next_item(workers):
    started = []
    with pytest.raises(Cancelled, match="nothing was written"):
        for item in run(started.append, workers=workers, cancelled=lambda: len(started) >= 5):
            assert item is None
    assert len(started) <= 5 + 2 * workers


def test_a_bounded_number_of_items_is_in_memory():
    started = []
    for taken, _ in enumerate(run(started.append, workers=3), start=1):
        assert len(started) - taken <= 6


def test_leaving_the_loop_leaves_no_threads():
    before = threading.active_count()
    results = run(lambda item: item, workers=3)
    next(results)
    results.close()
    list(run(lambda item: item, workers=3))
    assert threading.active_count() == before


def threads_of_torch():
    """The numbers of threads of torch, OpenMP and MKL (where torch has it)."""
    info = torch.__config__.parallel_info()
    return [int(number) for number in re.findall(r"(?:get_num|max)_threads\(\) : (\d+)", info)]


def test_every_worker_computes_with_one_thread():
    def after_some_work(item):
        torch.ones(512, 512) @ torch.ones(512, 512)
        torch.ones(1 << 20).bfloat16()
        return threads_of_torch()

    torch.set_num_threads(4)
    for numbers in run(after_some_work, workers=2):
        assert numbers
        assert set(numbers) == {1}


def test_the_number_of_torch_threads_stays():
    torch.set_num_threads(3)
    list(run(lambda item: item, workers=2))
    assert set(threads_of_torch()) == {3}


@pytest.fixture(autouse=True)
def same_threads_for_the_next_test():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_decomposition_that_fails_names_the_module():
    def fail(item):
        raise torch.linalg.LinAlgError("did not converge")

    with pytest.raises(LoraError, match="module 0: its singular values cannot be computed"):
        list(run(fail))


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")],
)
def test_a_machine_without_enough_memory_names_the_module(error):
    def fail(item):
        raise error

    with pytest.raises(LoraError, match="module 0: needs more memory than this machine has"):
        list(run(fail))


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_a_module_that_does_not_fit_on_the_card_is_computed_on_the_cpu(error):
    asked, fell_back = [], []

    def large_sevens(item, compute):
        asked.append((item, compute.device.type))
        if item == 7 and compute.device.type == "cuda":
            raise error
        return item

    compute = Compute(torch.device("cuda"), fell_back=fell_back.append)
    assert list(stream(ITEMS, str, large_sevens, compute)) == ITEMS
    assert fell_back == ["7"]
    on_the_cpu = [item for item, device in asked if device == "cpu"]
    assert on_the_cpu == [7] and len(asked) == len(ITEMS) + 1


def test_other_errors_on_the_card_come_out():
    def broken(item, compute):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(stream(ITEMS, str, broken, Compute(torch.device("cuda"))))


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_workers():
    first, second = (lora_file("abcdefg", seed=seed, shape=(40, 30)) for seed in (1, 2))
    for settings in (Blend(rank=3), Blend(rank=3, truncation="pca"), Blend(rank="full")):
        results = [
            blend(first, second, settings, compute=Compute(workers=workers)).lora
            for workers in (1, 2, 5)
        ]
        assert same_bits(results[0], results[1]) and same_bits(results[0], results[2])


def test_gradients_are_off_and_results_usable_with_them():
    tensors = {key: t.requires_grad_() for key, t in lora_file("ab").items()}
    for tensor in blend(tensors, None, Blend((0.5,), 2)).lora.values():
        assert not tensor.requires_grad
        (tensor * torch.ones(1, requires_grad=True)).sum().backward()


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "", "xpu:0"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(LoraError, match="device"):
        choose_device(name)


def test_the_cpu_is_always_there():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")
