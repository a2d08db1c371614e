"""The product runs nothing that comes from outside: no pickles, no remote code, no shell, no eval."""

import ast
from pathlib import Path

import pytest

import monitor

PRODUCT = sorted(Path(monitor.__file__).parent.rglob("*.py"))
FORBIDDEN_IMPORTS = {"marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"load", "loads", "Unpickler"}


def name_of(node: ast.expr) -> str:
    return ast.unparse(node)


def offences(tree: ast.AST) -> list[str]:
    """Return what would run, or unpickle, something from outside."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else {
                (node.module or "").split(".")[0]}  # fmt: skip
            found += [f"{node.lineno}: import {name}" for name in names & FORBIDDEN_IMPORTS]
        elif isinstance(node, ast.Call):
            called = name_of(node.func)
            given = {keyword.arg: name_of(keyword.value) for keyword in node.keywords}
            module, _, function = called.rpartition(".")
            if (
                called in FORBIDDEN_CALLS
                or (module == "pickle" and function in UNPICKLES)
                or (called == "torch.load" and given.get("weights_only") != "True")
                or (called == "yaml.load" and "Safe" not in ast.unparse(node))
                or called in {"yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}
                or given.get("trust_remote_code", "False") != "False"
                or given.get("allow_pickle", "False") != "False"
                or given.get("shell", "False") != "False"
                or (function == "from_pretrained" and "AutoModel" in module)
            ):
                found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: path.stem)
def test_the_product_runs_nothing_from_outside(path):
    assert offences(ast.parse(path.read_text())) == []


def test_weights_of_checkpoints_are_read_as_weights_only():
    text = (Path(monitor.__file__).parent / "encoders/clap_original.py").read_text()
    calls = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and name_of(node.func).endswith("kind.from_pretrained")
    ]
    assert calls
    for call in calls:
        given = {keyword.arg: name_of(keyword.value) for keyword in call.keywords}
        assert given["weights_only"] == "True"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.loads(x)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "AutoTokenizer.from_pretrained(x, trust_remote_code=True)",
        "subprocess.run(x, shell=True)",
        "eval(x)",
        "import marshal",
        "from joblib import load",
        "yaml.load(x, Loader=yaml.Loader)",
    ],
)
def test_what_is_forbidden_would_be_found(code):
    assert offences(ast.parse(code))
