# SPDX-License-Identifier: Apache-2.0
"""The rules of CONTRIBUTING.md that a linter does not check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "levine_policy_node"
MODULES = sorted(PACKAGE.rglob("*.py"))

BLOCKER = """
import importlib, pkgutil, sys

BLOCKED = ("rclpy", "sensor_msgs", "trajectory_msgs", "std_msgs", "builtin_interfaces",
           "onnxruntime", "mujoco", "cv2", "mcap", "yaml", "pydantic")

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
import levine_policy_node.core as core
for module in pkgutil.walk_packages(core.__path__, core.__name__ + "."):
    importlib.import_module(module.name)
"""


def test_core_imports_with_everything_else_blocked():
    result = subprocess.run(
        [sys.executable, "-c", BLOCKER], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_are_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 320
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - len(docstring.splitlines())
            assert lines <= 52, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_file_says_its_licence_and_purpose(path):
    text = path.read_text()
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert ast.get_docstring(ast.parse(text))


def test_no_module_is_a_drawer_for_everything():
    names = {path.stem for path in MODULES}
    assert not names & {"utils", "util", "common", "helpers", "misc", "types"}


def test_topic_and_service_names_are_relative():
    creators = {"create_publisher", "create_subscription", "create_service", "create_client"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in creators
            ):
                for argument in node.args[:2]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        absolute = argument.value.startswith("/")
                        assert not absolute or argument.value == "/diagnostics", path
