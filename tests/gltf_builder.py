"""glTF files that tests make up, and what Khronos' validator says of files."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

__all__ = ["POINTS", "Builder", "Json", "validator_issues"]

POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

Json = dict[str, Any]


class Builder:
    """A glTF document, put together piece by piece."""

    def __init__(self) -> None:
        self.data = b""
        self.json: Json = {"asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]}
        self.json |= {"bufferViews": [], "accessors": [], "meshes": [], "materials": [{"name": "skin"}, {}]}

    def view(self, data: bytes, **extra: Any) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        self.json["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **extra}
        )
        self.data += data
        return len(self.json["bufferViews"]) - 1

    def accessor(self, values: Any, dtype: str = "f4", **extra: Any) -> int:
        array = np.asarray(values, "<" + dtype)
        width = 1 if array.ndim == 1 else array.shape[1]
        entry = {"bufferView": self.view(array.tobytes()), "componentType": CODES[dtype], "count": len(array)}
        self.json["accessors"].append({**entry, "type": KINDS[width], **extra})
        return len(self.json["accessors"]) - 1

    def mesh(self, *primitives: Json) -> int:
        self.json["meshes"].append({"primitives": list(primitives)})
        return len(self.json["meshes"]) - 1

    def triangle(self) -> Json:
        return {"attributes": {"POSITION": self.accessor(POINTS[:3])}}

    def glb(self) -> bytes:
        self.json["buffers"] = [{"byteLength": len(self.data)}]
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        data = self.data + b"\0" * (-len(self.data) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(data))
        return (
            head
            + struct.pack("<I4s", len(text), b"JSON")
            + text
            + struct.pack("<I4s", len(data), b"BIN\0")
            + data
        )

    def gltf(self, uri: str) -> str:
        return json.dumps({**self.json, "buffers": [{"byteLength": len(self.data), "uri": uri}]})


def validator_issues(path: Path) -> Json:
    """The issues of the validator's report."""
    module, node = os.environ.get("RAF_GLTF_VALIDATOR"), shutil.which("node")
    if not module or not node:
        pytest.skip("set RAF_GLTF_VALIDATOR to the folder of npm's gltf-validator, and install node")
    script = """
        const validator = require(process.argv[1]), fs = require('fs'), path = require('path')
        const read = name => new Uint8Array(fs.readFileSync(name))
        const external = uri => Promise.resolve(read(path.join(path.dirname(process.argv[2]), decodeURI(uri))))
        validator.validateBytes(read(process.argv[2]), {externalResourceFunction: external})
            .then(report => console.log(JSON.stringify(report.issues)))
    """
    done = subprocess.run([node, "-e", script, module, path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
