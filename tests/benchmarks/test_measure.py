"""The measuring helpers measure what they say they do."""

import sys

import pytest

from benchmarks import measure
from benchmarks.generate import generate
from benchmarks.measure import Layer, anonymous_memory_peak, floor_seconds, layers_of

PROJ = "double_blocks.0.img_attn.proj"


@pytest.fixture
def two_files(tmp_path):
    paths = [tmp_path / "kohya.safetensors", tmp_path / "generic.safetensors"]
    generate(paths[0], "flux", rank=2, modules=PROJ)
    generate(paths[1], "flux", rank=4, modules=PROJ, spelling="generic")
    return paths


def test_median_leaves_the_warm_up_out(monkeypatch):
    clock = 0.0
    durations = iter([100, 1, 30, 2])

    def tick():
        nonlocal clock
        clock += next(durations)

    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock)
    assert measure.median_seconds(tick, repeats=3) == 2


def test_dense_svd():
    assert 0 < measure.dense_svd_seconds(n=32, repeats=2) < 1


def test_layers_of_two_spellings(two_files):
    assert layers_of(two_files, rank=3) == [Layer(out=3072, inner=3072, stacked=6, rank=3)]
    assert layers_of(two_files, rank=99)[0].rank == 6
    assert layers_of(two_files[:1], rank=1) == [Layer(3072, 3072, 2, 1)]


def test_layers_of_convolutions(tmp_path):
    generate(tmp_path / "f", "sd1.5", rank=2, modules="input_blocks.1.0.in_layers.2")
    assert layers_of([tmp_path / "f"], rank=1) == [Layer(320, 320 * 9, 2, 1)]


def test_files_without_common_layers_are_refused(two_files, tmp_path):
    generate(tmp_path / "other", "flux", rank=2, modules="double_blocks.0.img_mlp.0")
    with pytest.raises(ValueError, match="different sizes"):
        layers_of([two_files[0], tmp_path / "other"], rank=2)


def test_floor_is_the_sum_of_its_parts_and_leaves_no_file(two_files, tmp_path):
    before = set(tmp_path.iterdir())
    floor = floor_seconds(two_files, layers_of(two_files, rank=2), tmp_path, repeats=1)
    assert min(floor.read, floor.write, floor.multiply) > 0
    assert floor.total == pytest.approx(floor.read + floor.write + floor.multiply)
    assert set(tmp_path.iterdir()) == before


@pytest.fixture
def bare_baseline(monkeypatch):
    """Saves the seconds that importing torch takes: the baseline becomes a bare interpreter."""
    baseline = measure._sampled_peak("import time; time.sleep(0.1)", None, 0.002)
    monkeypatch.setattr(measure, "_torch_baseline", lambda every: baseline)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_peak_counts_what_is_allocated_for_a_moment(bare_baseline):
    program = "import time; block = b'x' * 60_000_000; time.sleep(0.2); del block; time.sleep(0.1)"
    assert anonymous_memory_peak(program) == pytest.approx(60e6, rel=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_failing_program_says_why(bare_baseline):
    with pytest.raises(RuntimeError, match="no such luck"):
        anonymous_memory_peak([sys.executable, "-c", "raise SystemExit('no such luck')"])
