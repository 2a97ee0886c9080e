from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

import raf_sdk
from raf_runtime.devices import DEVICES
from raf_runtime.errors import DeviceError
from raf_sdk import _doctor
from raf_sdk._cli import main
from raf_sdk._rigger import SHIPPED_MODEL

Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return lambda: capsys.readouterr().out


def test_every_device_is_judged_and_what_auto_takes_is_what_a_rigger_takes(said: Said) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(said())
    assert [state["device"] for state in report["devices"]] == list(DEVICES[1:])
    for state in report["devices"]:
        assert state["usable"] == (state["reason"] == "")
    assert report["devices"][0]["usable"]
    assert report["automatic"] == raf_sdk.Rigger().device
    assert hashlib.sha256(SHIPPED_MODEL.read_bytes()).hexdigest() in report["machine"]["model"]


def test_the_table_has_a_row_for_each_device(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: str, *_: object) -> None:
        raise DeviceError(f"{device} has no luck")

    monkeypatch.setattr(_doctor, "try_device", refuse)
    assert main(["doctor"]) == 0
    table = said()
    rows = {line.split()[0]: line.split()[1] for line in table.splitlines() if line}
    assert [rows[device] for device in DEVICES[1:]] == ["yes", "no", "no", "no"]
    assert "cuda has no luck" in table
    assert 'device="auto" takes cpu' in table
