"""What a file stands on is found without running it."""

from __future__ import annotations

from edgewright.recipe.code_files import code_files, named_files


def test_imports_are_followed_within_the_folder(write):
    texts = {
        "model.py": "import torch, blocks\nfrom nets.small import head\ndef f():\n    from . import lazy\n",
        "blocks.py": "import model\nfrom broken import x\n",
        "broken.py": "def (:",
        "lazy.py": "",
        "unused.py": "",
        "nets/__init__.py": "",
        "nets/small.py": "from . import parts\nfrom .. import upper\nfrom .... import far",
        "nets/parts.py": "",
        "nets/head.py": "",
        "upper.py": "",
    }
    folder = write(**texts).parent
    found = {str(file.relative_to(folder)) for file in code_files(folder / "model.py")}
    assert found == {
        *("model.py", "blocks.py", "broken.py", "lazy.py", "upper.py"),
        *("nets/__init__.py", "nets/small.py", "nets/parts.py"),
    }


def test_named_files_are_those_that_exist(write, tmp_path):
    other = tmp_path / "other.h5"
    other.write_text("")
    code = f"A = 'train.h5'\nB = 'none.h5'\nC = {str(other)!r}\nD = 'a\\0b'\nE = 'nets'\n"
    folder = write(**{"data.py": code, "train.h5": "", "nets/a.py": ""}).parent
    assert named_files((folder / "data.py",), folder) == (other, folder / "train.h5")
