# SPDX-License-Identifier: Apache-2.0
"""Write the policy as two bundles, one with the loop in the runtime and one with it inside.

Every graph is compared with the network it was made from.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from flow_documents import FLOW, GRAPH
from flow_network import COND, JOINTS, FlowPolicy, Statistics, Unrolled, as_tensor
from pipeline import IMAGE_SIZE, ROWS
from safetensors.numpy import save
from torch import Tensor, nn

_OPSET = 17
_TOLERANCE = 1e-5
_OBSERVED = ("state", "image_front", "image_wrist")


def write_bundles(policy: FlowPolicy, folder: Path) -> None:
    """Write `folder/so101_flow` and `folder/so101_flow_graph`."""
    policy.eval()
    flow, graph = folder / "so101_flow", folder / "so101_flow_graph"
    noise = torch.randn(1, ROWS, JOINTS)
    _export(policy.encode, _observed(), _OBSERVED, "cond", flow / "encode.onnx")
    step = (noise, torch.rand(1, ROWS), torch.randn(1, COND))
    _export(policy.step, step, ("x_t", "timestep", "cond"), "v_t", flow / "step.onnx")
    _finish(flow, FLOW, policy.statistics)
    whole = (*_observed(), noise, torch.randn(1, ROWS, JOINTS), torch.tensor([3]))
    names = (*_OBSERVED, "noise", "action_prefix", "delay")
    _export(Unrolled(policy), whole, names, "actions", graph / "policy.onnx")
    _finish(graph, GRAPH, policy.statistics)


def export_sampler(policy: FlowPolicy, path: Path) -> None:
    """Write a graph with the interface of `examples/train_so101`, which draws its own noise."""
    policy.eval()
    names = ("observation.state", "observation.images.front", "observation.images.wrist")
    _write(_Sampler(policy), _observed(), names, "action", path)


class _Sampler(nn.Module):
    def __init__(self, policy: FlowPolicy) -> None:
        super().__init__()
        self.whole = Unrolled(policy)
        for name in Statistics.__dataclass_fields__:
            self.register_buffer(name, as_tensor(getattr(policy.statistics, name)))

    def forward(self, joints: Tensor, front: Tensor, wrist: Tensor) -> Tensor:
        """Map joints (1, 6) [rad] and images to targets relative to them, (1, 16, 6) [rad]."""
        state = (joints - self.state_mean) / self.state_std
        noise = torch.randn(1, ROWS, JOINTS)
        none = torch.zeros(1, dtype=torch.int64)
        rows = self.whole(state, front, wrist, noise, torch.zeros_like(noise), none)
        return rows * self.action_std + self.action_mean


def _observed() -> tuple[Tensor, Tensor, Tensor]:
    image = (1, 3, IMAGE_SIZE, IMAGE_SIZE)
    return torch.randn(1, JOINTS), torch.rand(image), torch.rand(image)


def _export(
    module: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...], output: str, path: Path
) -> None:
    _write(module, inputs, names, output, path)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    (found,) = session.run([output], feed)
    with torch.no_grad():
        wanted: npt.NDArray[np.float32] = module(*inputs).numpy()
    difference = float(np.abs(np.asarray(found) - wanted).max())
    print(f"{path.parent.name}/{path.name}: {path.stat().st_size / 1e6:.2f} MB, {difference:.1e}")
    if difference > _TOLERANCE:
        raise RuntimeError(f"{path} differs from the network by {difference:.1e}")


def _write(
    module: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...], output: str, path: Path
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        module,
        inputs,
        str(path),
        input_names=list(names),
        output_names=[output],
        opset_version=_OPSET,
        dynamo=False,
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def _finish(folder: Path, document: str, statistics: Statistics) -> None:
    """Add the statistics, and the document with every file's hash."""
    values = {
        "state.mean": statistics.state_mean,
        "state.std": statistics.state_std,
        "action.mean": statistics.action_mean,
        "action.std": statistics.action_std,
    }
    single = {name: value.astype(np.float32) for name, value in values.items()}
    (folder / "stats.safetensors").write_bytes(save(single))
    files = sorted(path for path in folder.iterdir() if path.name != "policy.yaml")
    hashes = "".join(f"  {p.name}: {hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in files)
    (folder / "policy.yaml").write_text(document + "files:\n" + hashes)
