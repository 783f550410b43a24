"""Keys change with what matters and with nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from medseg.pipelines import keys
from medseg.pipelines.keys import artefact_digest, case_key, code_version, digest, stage_key
from medseg.stages.resample import Resample


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an importable package ``sample`` with two modules."""
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "one.py").write_text("def f():\n    from sample import two\n    return two.g()\n")
    (folder / "two.py").write_text("def g():\n    return 1\n")
    (folder / "three.py").write_text("x = 1\n")
    module = ModuleType("sample")
    module.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "sample", module)
    return folder


def version(module: str = "sample.one") -> str:
    code_version.cache_clear()
    return code_version(module)


def test_code_version_follows_imports_inside_functions(package: Path) -> None:
    before = version()
    (package / "two.py").write_text("def g():\n    return 2\n")
    assert version() != before
    assert "sample.two" not in sys.modules  # nothing was imported for it


def test_code_version_ignores_comments_docstrings_and_strangers(package: Path) -> None:
    before = version()
    (package / "two.py").write_text('"""New."""\n# why\ndef g():\n    """G."""\n\n    return 1\n')
    (package / "three.py").write_text("x = 2\n")
    assert version() == before


def test_relative_imports_count(package: Path) -> None:
    (package / "one.py").write_text("from . import two\nfrom .three import x\n")
    before = version()
    (package / "three.py").write_text("x = 2\n")
    assert version() != before


def test_templates_beside_the_code_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "medseg" / "part"
    (inner / "templates").mkdir(parents=True)
    for file in (tmp_path / "medseg" / "__init__.py", inner / "__init__.py", inner / "a.py"):
        file.touch()
    page = inner / "templates" / "page.j2"
    page.write_text("old")
    monkeypatch.setattr(keys.medseg, "__file__", str(tmp_path / "medseg" / "__init__.py"))
    before = version("medseg.part.a")
    page.write_text("new")
    assert version("medseg.part.a") != before
    code_version.cache_clear()


def test_real_stages_have_versions_without_importing_torch() -> None:
    code_version.cache_clear()
    assert code_version("medseg.stages.train") != code_version("medseg.stages.infer")


def test_stage_key_depends_on_each_part() -> None:
    base = stage_key(Resample(), "{}", {"a": "1"}, "")
    others = [
        stage_key(Resample(), "{x}", {"a": "1"}, ""),
        stage_key(Resample(), "{}", {"a": "2"}, ""),
        stage_key(Resample(), "{}", {"b": "1"}, ""),
        stage_key(Resample(), "{}", {"a": "1"}, "token"),
    ]
    assert len({base, *others}) == 5
    assert stage_key(Resample(), "{}", {"a": "1"}, "") == base
    assert len(base) == 20
    assert set(base) <= set("0123456789abcdef")


def test_order_of_inputs_does_not_matter() -> None:
    first = stage_key(Resample(), "{}", {"a": "1", "b": "2"})
    assert first == stage_key(Resample(), "{}", {"b": "2", "a": "1"})


def test_case_key_depends_on_function_case_and_arguments() -> None:
    base = case_key(digest, "a", "{}")
    assert len({base, case_key(case_key, "a", "{}"), case_key(digest, "b", "{}"),
                case_key(digest, "a", "[]")}) == 4  # fmt: skip


def test_an_artefact_with_paths_of_its_own_carries_its_stage_key() -> None:
    assert artefact_digest('{"x": 1}', "k1") == artefact_digest('{"x": 1}', "k2")
    inside = '{"x": "@stage/weights"}'
    assert artefact_digest(inside, "k1") != artefact_digest(inside, "k2")
