"""The table of which tests state what a file does names files that are there."""

from tests.trust.mutations import ROOT, TESTS


def test_every_file_of_the_algebra_and_of_the_kinds_is_in_the_table_or_without_numbers():
    others = {"algebra/cached.py", "algebra/lapack.py"}  # a decorator, ways around LAPACK's bugs
    found = {
        str(path.relative_to(ROOT).as_posix())
        for folder in ("algebra", "adapters")
        for path in (ROOT / "core" / folder).glob("[!_]*.py")
    }
    assert TESTS.keys() == found - {f"core/{name}" for name in others}


def test_its_tests_are_there():
    for names in TESTS.values():
        assert all((ROOT / f"tests/core/{name}.py").exists() for name in names), names
