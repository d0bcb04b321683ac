# SPDX-License-Identifier: Apache-2.0
"""Bundles are tried in a process of their own; whatever happens to it is one line here."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from bundle_factory import (
    JOINTS,
    ROWS,
    constant,
    dark_endless_model,
    dark_invalid_model,
    invalid_model,
    model,
    write_bundle,
)
from onnx import TensorProto, helper, numpy_helper

from levine_policy_node.cli.main import main
from levine_policy_node.errors import BundleError
from levine_policy_node.robot import load_robot
from levine_policy_node.runtime import bundle_trial
from levine_policy_node.runtime.bundle import load_bundle
from levine_policy_node.runtime.bundle_trial import TrialLimits, Trials, try_bundle
from levine_policy_node.runtime.onnx_loader import OnnxOptions

QUICK = OnnxOptions(timeout_s=0.3)


@pytest.fixture(scope="module")
def robot():
    return load_robot("sim_so101")


@pytest.fixture
def trials():
    made = Trials()
    yield made
    made.close()


def refusal(bundle, robot=None, options=None, limits=None) -> str:
    with pytest.raises(BundleError) as caught:
        try_bundle(bundle, robot, options, limits)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 800
    return message


def huge(rows: int, columns: int, *, product: bool) -> bytes:
    """Fills, and multiplies, matrices that are nowhere in the file; the size hangs on an input."""
    size = numpy_helper.from_array(np.array([rows, columns], np.int64))
    filled = ["filled", "filled"] if product else ["filled", "least"]
    return model(
        [
            helper.make_node("Constant", [], ["size"], value=size),
            helper.make_node("Shape", ["observation.state"], ["shape"]),
            constant("zero", 0.0),
            constant("least", 1e-9),
            helper.make_node("Cast", ["shape"], ["shape_f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["shape_f", "zero"], ["nothing_f"]),
            helper.make_node("Cast", ["nothing_f"], ["nothing"], to=TensorProto.INT64),
            helper.make_node("Add", ["size", "nothing"], ["sized"]),
            helper.make_node(
                "ConstantOfShape",
                ["sized"],
                ["filled"],
                value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]),
            ),
            helper.make_node("MatMul" if product else "Mul", filled, ["result"]),
            helper.make_node("ReduceMax", ["result"], ["most"], axes=[0, 1], keepdims=0),
            constant("rows", np.zeros((1, ROWS, len(JOINTS)))),
            helper.make_node("Mul", ["most", "zero"], ["offset"]),
            helper.make_node("Add", ["rows", "offset"], ["action"]),
        ]
    )


def test_a_good_bundle_passes(tmp_path, robot):
    bundle = load_bundle(write_bundle(tmp_path / "ramp"))
    try_bundle(bundle, robot)
    try_bundle(bundle)


def test_one_that_gives_no_number_is_refused(tmp_path, robot):
    bundle = load_bundle(write_bundle(tmp_path / "bad", graph=invalid_model()))
    assert "not finite" in refusal(bundle, robot)


def test_a_graph_may_be_undefined_where_everything_is_zero(tmp_path, robot):
    try_bundle(load_bundle(write_bundle(tmp_path / "dark", graph=dark_invalid_model())), robot)


def test_one_that_does_not_end_on_zeros_is_refused(tmp_path, robot):
    bundle = load_bundle(write_bundle(tmp_path / "bad", graph=dark_endless_model()))
    assert "ran longer than 0.3 s" in refusal(bundle, robot, QUICK)


def test_one_that_wants_a_terabyte_is_refused(tmp_path, robot):
    graph = huge(2**20, 2**20, product=False)
    bundle = load_bundle(write_bundle(tmp_path / "bad", graph=graph))
    assert "llocat" in refusal(bundle, robot)


def test_one_that_wants_more_than_the_limit_is_refused(tmp_path, robot):
    graph = huge(2**14, 2**14, product=False)
    bundle = load_bundle(write_bundle(tmp_path / "bad", graph=graph))
    limits = TrialLimits(memory_bytes=512 * 1024**2)
    assert "llocat" in refusal(bundle, robot, limits=limits)


def test_a_kernel_that_cannot_be_stopped_ends_with_the_process(tmp_path, robot):
    graph = huge(12_000, 12_000, product=True)
    bundle = load_bundle(write_bundle(tmp_path / "bad", graph=graph))
    message = refusal(bundle, robot, QUICK, TrialLimits(timeout_s=1.5))
    assert "its trial took longer than 1.5 s" in message or "used more than 1.5 s" in message


def test_bytes_that_changed_since_are_refused(tmp_path, robot):
    bundle = load_bundle(write_bundle(tmp_path / "ramp"))
    assert "changed" in refusal(dataclasses.replace(bundle, sha256="0" * 64), robot)


def test_a_bundle_that_went_away_is_refused(tmp_path):
    bundle = load_bundle(write_bundle(tmp_path / "ramp"))
    (tmp_path / "ramp" / "policy.onnx").unlink()
    assert "policy.onnx: is missing" in refusal(bundle)


# Ends once it is as little urgent as can be.
LAST_IN_LINE = """
import os, time
while os.getpriority(os.PRIO_PROCESS, 0) != 19:
    time.sleep(0.001)
raise SystemExit(9)
"""

CHILDREN = {
    LAST_IN_LINE: "exit code 9",
    "import os; os.abort()": "crashed (SIGABRT)",
    "import os; os.kill(os.getpid(), 11)": "crashed (SIGSEGV)",
    "import os; os.kill(os.getpid(), 9)": "was killed",
    "import threading; threading.Event().wait()": "took longer than 0.8 s",
    "raise SystemExit(7)": "exit code 7",
    "raise ValueError": "exit code 1",
    "print('x' * 10**7)": "refused",
    "print('\\n' * 100 + 'nonsense')": "refused",
}


def evil(tmp_path, monkeypatch, code):
    """Run this in place of a trial, and wait for 0.8 s at most."""
    (tmp_path / "evil_child.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(bundle_trial, "_CHILD", "evil_child")
    monkeypatch.setattr(bundle_trial, "_START_S", 0.6)


@pytest.mark.parametrize("code", CHILDREN)
def test_whatever_the_server_does_is_one_line(tmp_path, monkeypatch, code):
    evil(tmp_path, monkeypatch, code)
    bundle = load_bundle(write_bundle(tmp_path / "ramp"))
    assert CHILDREN[code] in refusal(bundle, limits=TrialLimits(timeout_s=0.1))


@pytest.mark.parametrize("code", CHILDREN)
def test_whatever_the_child_does_is_one_line(tmp_path, monkeypatch, code):
    evil(tmp_path, monkeypatch, "def run(text):\n" + textwrap.indent(code, "    "))
    bundle = load_bundle(write_bundle(tmp_path / "ramp"))
    assert CHILDREN[code] in refusal(bundle, limits=TrialLimits(timeout_s=0.1))


def test_one_server_tries_many_and_a_dead_one_is_replaced(tmp_path, robot, trials):
    good = load_bundle(write_bundle(tmp_path / "good"))
    endless = load_bundle(write_bundle(tmp_path / "endless", graph=dark_endless_model()))
    bad = load_bundle(write_bundle(tmp_path / "bad", graph=invalid_model()))
    trials.try_bundle(good, robot)
    [server] = children()
    for bundle, reason in ((endless, "ran longer"), (bad, "not finite")):
        with pytest.raises(BundleError, match=reason):
            trials.try_bundle(bundle, robot, QUICK)
    trials.try_bundle(good, robot)
    assert children() == [server]
    os.kill(server, signal.SIGKILL)
    wait_until_ended(server)
    trials.try_bundle(good, robot)
    assert children() != [server]
    trials.close()
    assert children() == []


def test_a_server_ends_with_whom_it_serves(tmp_path, robot):
    """Also in the middle of a trial that does not end."""
    bundle = write_bundle(tmp_path / "bad", graph=huge(12_000, 12_000, product=True))
    code = (
        "import sys, threading\n"
        "from levine_policy_node.robot import load_robot\n"
        "from levine_policy_node.runtime.bundle import load_bundle\n"
        "from levine_policy_node.runtime.bundle_trial import Trials\n"
        "trials = Trials()\n"
        f"bundle, robot = load_bundle({str(bundle)!r}), load_robot('sim_so101')\n"
        "threading.Thread(target=trials.try_bundle, args=(bundle, robot), daemon=True).start()\n"
        "while trials._server is None or not list(open(\n"
        "    f'/proc/{trials._server.pid}/task/{trials._server.pid}/children').read().split()):\n"
        "    pass\n"
        "print(trials._server.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    server = int(process.stdout.readline())
    [child] = children(server)
    process.kill()
    process.communicate()
    wait_until_ended(server)
    wait_until_ended(child)


def wait_until_ended(pid: int) -> None:
    deadline = time.monotonic() + 10.0
    while running(pid):
        assert time.monotonic() < deadline


def children(pid: int | None = None) -> list[int]:
    """The processes that this one, or another, has started and that still run."""
    own = pid or os.getpid()
    found: list[int] = []
    for task in Path(f"/proc/{own}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def running(pid: int) -> bool:
    """Whether it is there, and no zombie that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_modules_in_the_bundle_are_not_imported(tmp_path, monkeypatch):
    directory = write_bundle(tmp_path / "ramp")
    for name in ("yaml", "numpy", "json"):
        (directory / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(directory)
    try_bundle(load_bundle(directory))
    assert not (tmp_path / "ran").exists()


def test_check_tries_a_bundle_first(tmp_path, capsys):
    directory = str(write_bundle(tmp_path / "bad", graph=invalid_model()))
    assert main(["check", directory, "--robot", "sim_so101"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "not finite" in line
    good = str(write_bundle(tmp_path / "good"))
    assert main(["check", good, "--robot", "sim_so101"]) == 0
    assert main(["check", good, "--robot", "sim_so101", "--no-trial"]) == 0
