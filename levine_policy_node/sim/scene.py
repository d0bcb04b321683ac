# SPDX-License-Identifier: Apache-2.0
"""The MuJoCo scene and its cameras, rendered in software where there is no GPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from levine_policy_node.core.units import FloatArray
from levine_policy_node.errors import SystemDependencyError, UnknownNameError

JOINT_NAMES = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)
CAMERA_NAMES = ("front", "wrist")
VIEW_CAMERA = "view"
"""Looks at the whole scene; for videos, never an observation."""

ImageArray = npt.NDArray[np.uint8]

_ASSETS = Path(__file__).parent / "assets"
# One apt package and no /dev/dri makes OSMesa the first choice; both cost the same per frame.
_GL_LIBRARIES = {
    # EGL first: equally fast, and MuJoCo 4.0 cannot free an OSMesa context with PyOpenGL 3.1.10.
    "egl": ("libEGL.so.1", "libEGL.so"),
    "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"),
}


@dataclass(frozen=True, slots=True)
class SceneState:
    """Everything a camera can see at one instant of the simulation.

    Attributes:
        qpos: MuJoCo generalised positions of arm and objects, a copy.
        time_s: Simulation time [s].
    """

    qpos: FloatArray
    time_s: float


def prepare_gl() -> None:
    """Choose a headless OpenGL for MuJoCo, unless the user has chosen one in MUJOCO_GL.

    MuJoCo reads MUJOCO_GL when it is imported, so this must run before. Software rendering is
    held to one thread: a second gains little and takes the core that control runs on.

    Raises:
        SystemDependencyError: If there is no library to render with.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")
    if os.environ.get("MUJOCO_GL"):
        return
    backend = _find_backend()
    if backend is None:
        raise SystemDependencyError(
            "sim cameras: no OpenGL library for headless rendering (looked for libEGL and "
            "libOSMesa). Install it with: apt-get install libegl1 libgl1-mesa-dri"
        )
    os.environ["MUJOCO_GL"] = backend


def load_model() -> Any:
    """Compile the scene that ships with the package into an `mujoco.MjModel`.

    MuJoCo's compiled classes carry no types a checker can see, hence Any here and for its data.
    """
    return import_mujoco().MjModel.from_xml_path(str(_ASSETS / "scene.xml"))


def import_mujoco() -> Any:
    """Import MuJoCo with a headless OpenGL chosen, if there is any.

    Physics alone needs none, so a missing library is an error only for a renderer.

    Raises:
        SystemDependencyError: If MuJoCo is not installed.
    """
    backend = _find_backend()
    if backend is not None:
        os.environ.setdefault("MUJOCO_GL", backend)
    try:
        import mujoco
    except ImportError as error:
        raise SystemDependencyError(
            "sim: MuJoCo is not installed. Install it with: pip install 'levine_policy_node[sim]'"
        ) from error
    return mujoco


class CameraRenderer:
    """Renders scene states; keeps its own MuJoCo data, so physics never waits for it.

    An OpenGL context belongs to the thread that makes it: construct, use and close a renderer in
    one thread.
    """

    def __init__(self, *, height: int, width: int) -> None:
        """Open an OpenGL context for frames of `height` x `width` pixels.

        Raises:
            SystemDependencyError: If there is no library to render with.
        """
        prepare_gl()
        mujoco = import_mujoco()
        self._model = load_model()
        self._data = mujoco.MjData(self._model)
        self._mujoco = mujoco
        self._renderer = mujoco.Renderer(self._model, height, width)
        self._cameras = {self._model.camera(i).name for i in range(self._model.ncam)}
        self._shown: SceneState | None = None

    def render(self, camera: str, state: SceneState) -> ImageArray:
        """Draw what `camera` sees, shape (H, W, 3), RGB.

        Raises:
            UnknownNameError: If the scene has no such camera.
        """
        if camera not in self._cameras:
            raise UnknownNameError("sim scene", "camera", camera, self._cameras)
        if state is not self._shown:
            self._data.qpos[:] = state.qpos
            self._mujoco.mj_kinematics(self._model, self._data)
            self._mujoco.mj_camlight(self._model, self._data)
            self._shown = state
        self._renderer.update_scene(self._data, camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free the OpenGL context; later calls do nothing."""
        with contextlib.suppress(ctypes.ArgumentError):  # see _GL_LIBRARIES
            self._renderer.close()


def _find_backend() -> str | None:
    """The first backend whose library can be loaded, as MUJOCO_GL calls it."""
    for backend, libraries in _GL_LIBRARIES.items():
        if any(_loadable(library) for library in libraries):
            return backend
    return None


def _loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
