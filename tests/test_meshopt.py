"""Streams that meshoptimizer 0.23 has written of parts of an icosphere, and what hostile ones do."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from raf_runtime.errors import MeshFileError
from raf_sdk import Rig
from raf_sdk.io import read_mesh
from raf_sdk.io._meshopt import unpack
from raf_sdk.io._meshopt_filters import undo_filter

BALL = trimesh.creation.icosphere(2)
FACES = np.asarray(BALL.faces, np.uint32)
SHUFFLED = FACES[np.random.default_rng(0).permutation(len(FACES))[:100]]
# Base 85. Triangles in the two versions of the codec, and in an order that shares few edges.
VERSION_1 = (
    ";r{>sB>(^aB>(^aBmb)ZEC2uhBme*ZBme*Y691|HD*ylgBme*ZBme*ZBmb)ZEC2uhBme*ZBme*ZBmb)ZEC2uhBme*ZBme*ZBmb)ZEC2uhB>(^a"
    "B>(^aBmb)ZEC2uhB>$2Ervd+{0mlK%0UxUYN&hO!0U-Y${Q;N)9|q$A|1XdN!vRmk0Rtbu0b!p&%mHZt|CIu272g&F9~nE(2v*+-1|I}d{|Q_j"
    "PaXp?k55im0RL@NHqSLW9|K?S5q#f0Iv)gQ{{d_XPYMGc1%00ic4+|rjRA@QX5VFM9|Nrc&llhU-+g)?1i=CS1<U~(PaFjw72N@!7Rmu>0RQs="
    "@Bt#<At)aO#{tg=`T^fbMjr&}0sjZ~0V_`|1s^5-0iP_^0cimLl>%-~|4mJx0UrZ}0sj?HYX50x&H*0;odN#^r~w~OAO#;8tpT49paE$B|F;36"
    "0<i)AvH{xx;sGDG0aXBYhgN5JsfJ~VXqW+M000"
)
VERSION_0 = (
    ";Qs&rB>(^aB>(^aBmb)ZEC2uhBme*ZBme*Y691|HD*ylgBme*ZBme*ZBmb)ZEC2uhBme*ZBme*ZBma^Drvd+{0mlK%0UxUYN&hO!0U-Y${Q;N)"
    "9|q$A|1XdN!vRmk0Rtbu0b!p&%mHZt|CIu272g&F9~nE(2v*+-1|I}d{|Q_jPaXp?k55im0RL@NHqSLW9|K?S5q#f0Iv)gQ{{d_XPYMGc1%00i"
    "c4+|rjRA@QX5VFM9|Nrc&llhU-+g)?1i=CS1<U~(PaFjw72N><c86AHc&UbEiD;MsX#fB"
)
APART = (
    ";s5{t|NsC0|NsC0|NsC0|NsC0|Ns8~|NsC0|NsC0|NsC0|NsC0|Nj2}{{R2~|NsC0|NsC0|NsC0|NsC0|NsC0|NsC0|NsC0|NsC0|NsC0|NsC0"
    "-~a#r|NsC0|NsC0|NoK!Bm@6l8dd+&0R^K0|EK{;ZU0ya2LDV72>(GE1OEjD1^+mm0ipr_Sfc{u0skER0hj{+@d2g*4gWu9YX4ZR0j2@}Rs-b$"
    "|1-1!ZGU970smwH1^<=-zX7xX|1paJkOBW41PT9arvZNlL;vgn1R4K}0ZT;xIn)6L|K|ZdKL1eD0geIxOY8vz|CIt{5dTs}1pgb`0kQ%A-2r?B"
    "|EK{C3cue0>;eD10a;@ICVz?n{}2cU|BnH_0R{it0Z?lHKMVg8Bma&8r2(t~|7jrqML&W9{}=ZGi~;{51AzhmUIGXIA;1Bl0{^xG1ttH50)zn|"
    "{|%D?)B*KPY5$Y~8pi?ujsXK}|9B4;{{s>S|2KLB|D^#tcK<gz1pgVh0gVFx$N?vd0smTMiUI!=2(tnIQc?r|ivfNM|2auc|1-1!CI1{nO8+qg"
    "g8~2Y0R^c6|4fqsZ2xEr2LBtQ0iXf@qXCWq4*wwtg#rK80o?)A0splD-T@8&`2o5C8UHl~g8~0^S$_YK0rUY0|9N+u0sln=3;!kqRsSXM0V4lH"
    "23sKiE(VbS|KI@x(E;<+0V)510Z~r>jsX(M0skeC0>c6SdIl^1eXs#a{}I~()&c(yCZhuXQVBtingR^~c86AHc&UbEiD;MsX#fB"
)
SEQUENCE = (
    "(WL@O2dDuwvjX@53Q-8X0qz1T6Ai!u6c9Nz2MY@eamE4(^aGazemDg*O_l)~u>sBk1%v~u0S@^C2c`mM%K?l56Fs5<-vI*)<O5R{ViO2D2oiJH"
    "0o4Hyjsb@OfB^_Hl>x2;4|BW&3>(q{`2m~)hXRTLg#o|<2utDuAOHXW00"
)
POSITIONS = (
    "pnd%hKfuh-I5#*OrnIJM)YH^yY1GryX;J`b0BQhf02d(uY5-{fY5*8fL_<V+B7Xh*52zu$oFb?pyqqF_{reB7A-tR-s3E+QttHg0C69|KysfB<"
    "DZH(`udO8x#;qj|or@{Ft*DDBysf;K02KfL0NJi4)2=3vj4HdXr;IAQuDh_VCJn`|CJmm9D!Z<yj4HdXyO;nL0IF663YstgV9<azRug4mU@$;1"
    "O#}l314dR-1P}utK>z?U1P}utK>z?kNo1KInVXVi1Bd|FX$yv724;2{gg^xS{~rwh!2Gm|I5#*OFJOVB08vo@qySMDFoD#8FoD!*7cha;fiQv8"
    "X?p<p0LHBWu&n{eo2~+{t^&u$MBl9eu&n{eo2~+{t^&u$M5T<U+l#0JBC4wmwjrsk4z7cYr@Uy3sJpl#s;dpQA*rkmt^fcI8yp*TjHla+r~@LZ"
    "s|~gxsjLpJgN&!VXp5-3xFV{n4YnbvtPZXK01g}Q0000S8>*=q0MII$FaT`;;8zX>B?bis5>Q}JVPMb#5Fri{0U(x=Nj4by4haS+AtE#u6fzVN"
    "2_XU_L19B703~ICDIp>>78EiR5(yy!BSB$9Apj-t000061=ar_0L=f)rnHJUH#i#?4+G517f2YH7`zwrGcXTPX&Ag0Q3#8Y1&fjn6N{1si;@nP"
    "0CbFz28@vn6pWDujFAnP074-W5Frwjtqcv;C9Mn%)(saT5w5)=5w5<j3l7yLt_u#;4#z~A0EhsEArcTF5|phB4b~;C3=P%|7a|d^y&@5=zOD-n"
    ")h4bB4%H6FM4AA=0001pYE=~g0ASE6nlK;$NdN;tFrYwF0}2EM001IMnI?@1hGrQ}1|;E_X9Ea?he?tKZ^%+k2?hfL8HRXB2y~ey{00dI1AqVk"
    "000000000000000000000000000000000000002;{Zj(~0000"
)
FLOATS = (
    "panm`%+HvYn6%<N;&S8v0002w<8pEZKfuh-hJ}VfY}sxnPX7P^08LIMCj}+|1cqS%000F5004vu000054FA9kJZYGhn6z@w0002va&iR>|G@m&"
    "Du#uIK|p^e&j0`b&Shr>1SS9wfdBvi1poj5gb4ru0098Z|G?rrX_%Lov;_dn|IBRJDu#uIK|lil004gl00brg0RR911poj5gb4ru0000000000"
    "00000000000000009xMv@^Ll*@&Et;@&"
)


def rows(
    stream: str, mode: str, count: int, dtype: str, width: int, filtered: str | None = None
) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize
    stride = size * (width if mode == "ATTRIBUTES" else 1)
    unpacked = unpack(base64.b85decode(stream), mode, filtered, count, stride)
    return np.frombuffer(unpacked, dtype).reshape(-1, width)


@pytest.mark.parametrize(
    ("stream", "faces"), [(VERSION_1, FACES[:100]), (VERSION_0, FACES[:60]), (APART, SHUFFLED)]
)
@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_triangles_keep_their_order_and_winding(stream: str, faces: NDArray[np.uint32], dtype: str) -> None:
    found = rows(stream, "TRIANGLES", faces.size, dtype, 3)
    # The codec may begin a triangle with any of its corners.
    turned = np.stack([np.roll(faces, -turn, axis=1) for turn in range(3)])
    assert (turned == found).all(axis=2).any(axis=0).all()


def test_sequences() -> None:
    assert np.array_equal(rows(SEQUENCE, "INDICES", 90, "<u4", 3), SHUFFLED[:30])


def test_whole_numbers() -> None:
    expected = np.round(BALL.vertices * 1000)
    found = rows(POSITIONS, "ATTRIBUTES", 162, "<i2", 4, "NONE")
    assert np.array_equal(found[:, :3], expected)
    assert not found[:, 3].any()


def test_floats_of_fifteen_bits() -> None:
    found = rows(FLOATS, "ATTRIBUTES", 20, "<f4", 3, "EXPONENTIAL")
    np.testing.assert_allclose(found, BALL.vertices[:20], atol=4e-5)


@pytest.mark.parametrize(("dtype", "bits"), [("i1", 6), ("i1", 8), ("i2", 11), ("i2", 16)])
def test_unit_vectors_on_an_octahedron(dtype: str, bits: int) -> None:
    expected = np.concatenate([BALL.vertices, np.eye(3), -np.eye(3)])
    one, most = 2 ** (bits - 1) - 1, np.iinfo(dtype).max
    flat = expected / np.abs(expected).sum(axis=1, keepdims=True)
    folded = np.copysign(1 - np.abs(flat[:, [1, 0]]), flat[:, :2])
    corner = np.where(flat[:, 2:] < 0, folded, flat[:, :2])
    sign = np.where(np.arange(len(corner)) % 2, 1, -1)
    packed = np.column_stack([np.rint(corner * one), np.full(len(corner), one), sign]).astype(dtype)
    found = np.frombuffer(undo_filter(packed.view(np.uint8), "OCTAHEDRAL"), dtype).reshape(-1, 4)
    np.testing.assert_allclose(found[:, :3] / most, expected, atol=2 / one)
    np.testing.assert_allclose(np.linalg.norm(found[:, :3] / most, axis=1), 1, atol=2 / most)
    assert np.array_equal(found[:, 3], sign)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_rotations_without_their_largest_component(bits: int) -> None:
    expected = np.random.default_rng(0).normal(size=(200, 4))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    largest = np.abs(expected).argmax(axis=1)
    rows = np.arange(len(expected))
    one = 2 ** (bits - 1) - 1
    upright = expected * np.sign(expected[rows, largest])[:, None]
    others = [upright[rows, (largest + step) % 4] for step in (1, 2, 3)]
    packed = np.column_stack([*(np.rint(other * 2**0.5 * one) for other in others), one & ~3 | largest])
    found = np.frombuffer(undo_filter(packed.astype("i2").view(np.uint8), "QUATERNION"), "i2").reshape(-1, 4)
    np.testing.assert_allclose(found / 32767, upright, atol=2 / one)


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    points, corners = base64.b85decode(POSITIONS), base64.b85decode(VERSION_0)
    uri = "data:application/octet-stream;base64," + base64.b64encode(points + corners).decode()
    packed: list[dict[str, Any]] = [
        {"byteLength": len(points), "byteStride": 8, "count": 162, "mode": "ATTRIBUTES"},
        {
            "byteOffset": len(points),
            "byteLength": len(corners),
            "byteStride": 2,
            "count": 180,
            "mode": "TRIANGLES",
        },
    ]
    views: list[dict[str, Any]] = [
        {"buffer": 1, "byteLength": entry["count"] * entry["byteStride"]} for entry in packed
    ]
    for view, entry in zip(views, packed, strict=True):
        view["extensions"] = {"EXT_meshopt_compression": {"buffer": 0, **entry}}
    views[0]["byteStride"] = 8
    root = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["EXT_meshopt_compression", "KHR_mesh_quantization"],
        "buffers": [{"byteLength": len(points + corners), "uri": uri}, {"byteLength": 1656}],
        "bufferViews": views,
        "accessors": [
            {"bufferView": 0, "componentType": 5122, "count": 162, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 180, "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
    }
    path = tmp_path / "head.gltf"
    path.write_text(json.dumps(root))
    mesh = read_mesh(path)
    assert np.array_equal(mesh.vertices, np.round(BALL.vertices * 1000))
    assert np.array_equal(np.sort(mesh.faces, axis=1), np.sort(FACES[:60], axis=1))
    # What comes back is not compressed: not every tool reads it.
    rig = Rig(mesh, ("jawOpen",), np.ones((1, 162, 3), np.float32))
    rig.save(tmp_path / "rig.gltf")
    written = (tmp_path / "rig.gltf").read_text()
    assert "meshopt" not in written
    assert json.loads(written)["extensionsUsed"] == ["KHR_mesh_quantization"]
    back = Rig.load(tmp_path / "rig.gltf")
    assert np.array_equal(back.vertices, rig.vertices)
    assert np.array_equal(back.faces, rig.faces)
    assert np.array_equal(back.deltas, rig.deltas)


@pytest.mark.parametrize(
    ("mode", "filtered", "stride", "message"),
    [
        ("TRIANGLE", None, 4, "mode 'TRIANGLE'"),
        ("ATTRIBUTES", "COLOR", 8, "filter 'COLOR'"),
        ("ATTRIBUTES", "QUATERNION", 4, "filter 'QUATERNION' of 4 bytes"),
        ("ATTRIBUTES", None, 6, "elements of 6 bytes"),
        ("ATTRIBUTES", None, 0, "elements of 0 bytes"),
        ("TRIANGLES", None, 8, "version 0xa0"),
        ("INDICES", None, 4, "version 0xa0"),
    ],
)
def test_other_kinds_say_what(mode: str, filtered: str | None, stride: int, message: str) -> None:
    with pytest.raises(MeshFileError, match=message):
        unpack(base64.b85decode(POSITIONS), mode, filtered, 40, stride)


@pytest.mark.parametrize(
    ("stream", "mode", "count", "stride"),
    [
        (POSITIONS, "ATTRIBUTES", 162, 8),
        (FLOATS, "ATTRIBUTES", 20, 12),
        (VERSION_1, "TRIANGLES", 300, 4),
        (APART, "TRIANGLES", 300, 4),
        (SEQUENCE, "INDICES", 90, 4),
    ],
)
def test_damaged_streams_are_refused_or_come_out_in_their_size(
    stream: str, mode: str, count: int, stride: int
) -> None:
    data = base64.b85decode(stream)
    for end in range(0, len(data) // 2, 3):
        with pytest.raises(MeshFileError, match=r"truncated|version"):
            unpack(data[:end], mode, None, count, stride)
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        for place in rng.integers(1, len(data), 3):
            damaged[place] = int(rng.integers(256))
        try:
            assert len(unpack(bytes(damaged), mode, None, count, stride)) == count * stride
        except MeshFileError:
            pass
