"""User code finds what lies beside it, disturbs nobody, and its failures are the user's to read."""

from __future__ import annotations

import sys

import pytest
from edgewright.ir.errors import InputError
from edgewright.recipe.user_code import load_callable, split_reference


def call(path, reference, *arguments):
    return load_callable(path.parent, reference, "recipe.yaml", "model.source")(*arguments)


def message(path, reference):
    with pytest.raises(InputError) as caught:
        call(path, reference)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("model.py:build", ("model.py", "build")),
        ("nets/my-model.py:build", ("nets/my-model.py", "build")),
        ("C:\\nets\\model.py:build", ("C:\\nets\\model.py", "build")),
        ("model.py", None),
        ("model:build", None),
        ("model.py:a.b", None),
        ("model.pt2", None),
    ],
)
def test_references(text, parts):
    assert split_reference(text) == parts


def test_modules_of_two_folders_never_meet(write):
    texts = {"model.py": "import blocks\ndef build(): return blocks.NAME", "blocks.py": "NAME = '{0}'"}
    one, two = (write(name, **{file: text.format(name) for file, text in texts.items()}) for name in ("one", "two"))
    assert call(one, "model.py:build") == "one"
    assert call(two, "model.py:build") == "two"
    assert call(one, "model.py:build") == "one"


def test_a_users_passes_are_theirs_and_ours_stay_ours(write):
    model = """
        def build():
            import passes
            import passes.inner as inner
            from passes import outer
            from edgewright.passes import contract
            from . import sibling
            return passes.__file__, inner.NUMBER, outer.NUMBER, sibling.NUMBER, contract.__name__
    """
    path = write(
        **{
            "model.py": model,
            "passes/__init__.py": "from . import inner",
            "passes/inner.py": "import sibling; NUMBER = sibling.NUMBER + 1",
            "passes/outer.py": "from passes.inner import NUMBER",
            "sibling.py": "NUMBER = 1",
        }
    )
    file, *others = call(path, "model.py:build")
    assert file == str(path.parent / "passes/__init__.py")
    assert others == [2, 2, 1, "edgewright.passes.contract"]


def test_nothing_of_a_folder_is_left_where_others_would_find_it(write):
    path = write(**{"model.py": "import helper_beside\ndef build(): return 1", "helper_beside.py": ""})
    before = list(sys.path)
    call(path, "model.py:build")
    assert sys.path == before
    assert "helper_beside" not in sys.modules
    assert "model" not in sys.modules
    assert not list(path.parent.rglob("__pycache__"))
    with pytest.raises(ModuleNotFoundError):
        __import__("helper_beside")


def test_a_folder_without_init_does_not_hide_an_installed_package(write):
    path = write(**{"model.py": "import yaml\ndef build(): return yaml.__file__", "yaml/run.txt": ""})
    assert "yaml/__init__.py" in call(path, "model.py:build")


def test_a_changed_file_is_imported_anew(write):
    path = write(**{"model.py": "from blocks import N\ndef build(): return N", "blocks.py": "N = 1"})
    assert call(path, "model.py:build") == 1
    write(**{"model.py": "from blocks import N\ndef build(): return N", "blocks.py": "N = 22"})
    assert call(path, "model.py:build") == 22


def test_a_failing_import_names_file_line_and_exception(write):
    path = write(
        **{
            "syntax.py": "\ndef build(:\n",
            "missing.py": "import nothing_of_that_name\n",
            "deep.py": "import blocks\n",
            "blocks.py": "\n\nraise RuntimeError('two\\nlines')\n",
            "leaving.py": "import sys\nsys.exit(4)\n",
        }
    )
    start = "recipe.yaml: model.source: expected a file that can be imported"
    assert (
        message(path, "syntax.py:build") == f"{start} (syntax.py), got SyntaxError: invalid syntax (syntax.py, line 2)"
    )
    assert "No module named 'nothing_of_that_name' (missing.py, line 1)" in message(path, "missing.py:build")
    assert message(path, "deep.py:build") == f"{start} (deep.py), got RuntimeError: two lines (blocks.py, line 3)"
    assert "got SystemExit: 4 (leaving.py, line 2)" in message(path, "leaving.py:build")


def test_a_failing_call_names_file_line_and_exception(write):
    path = write(**{"model.py": "def build():\n    return {}['key']\ndef leave():\n    raise SystemExit\n"})
    assert "expected model.py:build to run through, got KeyError: 'key' (model.py, line 2)" in message(
        path, "model.py:build"
    )
    assert "got SystemExit (model.py, line 4)" in message(path, "model.py:leave")


def test_a_missing_callable_says_what_is_there(write):
    path = write(**{"model.py": "def build(): ...\nnumber = 3\n"})
    assert "a callable 'biuld' in model.py, got no such name (did you mean 'build'?)" in message(path, "model.py:biuld")
    assert "got a value of type int" in message(path, "model.py:number")
    assert "got only build" in message(path, "model.py:zzz")
    assert "there is no" in message(path, "none.py:build")


def test_an_import_that_does_not_look_beside_the_file_is_explained(write):
    text = "import importlib\ndef build(): return importlib.import_module('pieces')\n"
    path = write(**{"model.py": text, "pieces.py": ""})
    assert "No module named 'pieces'; what lies beside a file is found by its import statements" in message(
        path, "model.py:build"
    )
