# SPDX-License-Identifier: Apache-2.0
"""ament_python package; also installs with plain pip, without ROS."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "levine_policy_node"
ROOT = Path(__file__).parent
SHARED = ("config", "launch", "urdf", "policies")

NODES = (
    "policy_runtime",
    "camera_ingest",
    "policy_executor",
    "safety_supervisor",
    "intervention_recorder",
    "operator",
    "sim_arm",
)


def data_files() -> list[tuple[str, list[str]]]:
    """Ament marker, manifest and every shared directory, kept as a tree."""
    files = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ]
    for top in SHARED:
        for directory in sorted({p.parent for p in Path(top).rglob("*") if p.is_file()}):
            names = [str(p) for p in sorted(directory.iterdir()) if p.is_file()]
            files.append((f"share/{PACKAGE}/{directory}", names))
    return files


setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "sim/assets/*", "sim/assets/**/*"]},
    data_files=data_files(),
    python_requires=">=3.10",
    install_requires=[
        "setuptools",
        "numpy>=1.26",
        "onnxruntime>=1.20",
        "opencv-python-headless>=4.8",
        "pydantic>=2.5",
        "PyYAML>=6.0",
        "ruckig>=0.14",
        "mcap>=1.5",
        "safetensors>=0.4",
    ],
    extras_require={
        "ros": ["ros-rclpy", "ros-common-interfaces", "ros-rmw-fastrtps-cpp"],
        "sim": ["mujoco>=3.3.7,<5"],
        "demo": ["matplotlib>=3.8"],
        "language": ["tokenizers>=0.19"],
        "cartesian": ["pin>=3"],
        "export": ["pyarrow>=16", "av>=12", "h5py>=3.10", "google-crc32c>=1.5"],
        "collision": ["pin>=3.3", "coal>=3"],
        "remote": ["websockets>=11", "msgpack>=1"],
        "spacemouse": ["pyspacemouse>=2"],
        # model-signing imports OpenSSL and does not declare it.
        "signing": ["model-signing>=1.1", "pyOpenSSL"],
        "test": [
            "pytest>=8",
            "pytest-timeout",
            "hypothesis>=6.100",
            "onnx>=1.21",
            "rosbags",
            "psutil",
            "lerobot-doctor>=0.2",
            "protobuf",
            # What it needs does not resolve on 3.10.
            "model-signing>=1.1; python_version >= '3.11'",
            "pyOpenSSL; python_version >= '3.11'",
        ],
        "fuzz": ["atheris>=3"],
        "lint": ["ruff", "pyright[nodejs]", "import-linter"],
    },
    zip_safe=False,
    author="levine_policy_node maintainers",
    maintainer="levine_policy_node maintainers",
    maintainer_email="maintainers@levine-policy-node.example",
    description="On-hardware learned control for ROS 2",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "levine = levine_policy_node.cli.main:main",
            *[f"{node} = levine_policy_node.nodes.{node}:main" for node in NODES],
        ],
    },
)
