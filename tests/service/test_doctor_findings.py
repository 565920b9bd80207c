"""What ``streamcls doctor`` finds on a machine, where the machine can be given."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from streamcls.config.conflicts import Bound
from streamcls.errors import BackendUnavailableError
from streamcls.plugins import PluginRecord, Provided, Registry
from streamcls.service.doctor import (
    Finding,
    backend_findings,
    clock_findings,
    device_findings,
    library_findings,
    machine_findings,
    model_findings,
    plugin_findings,
    port_findings,
    storage_findings,
    worst,
    worst_first,
)
from streamcls.service.doctor.clock import kernel_synchronised
from streamcls.service.doctor.libraries import _import_all, _wanted
from streamcls.service.doctor.ports import holder_of
from streamcls.service.doctor.storage import room_finding

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def test_the_worst_comes_first_and_counts() -> None:
    findings = [Finding("a", "ok", "x"), Finding("b", "problem", "y", "mend it"), Finding("c", "warning", "z")]
    assert [finding.area for finding in worst_first(findings)] == ["b", "c", "a"]
    assert worst(findings) == "problem"
    assert worst([]) == "ok"
    assert str(findings[1]) == "problem  b: y (mend it)"


@pytest.mark.parametrize(
    ("free", "total", "wanted", "level", "said"),
    [
        (50, 10_000, 0, "problem", "the disk is full"),
        (400, 10_000, 0, "warning", "the disk is nearly full"),
        (900, 10_000, 1000, "warning", "up to 1000 MiB more may be kept there"),
        (900, 10_000, 0, "ok", "900 MiB free of 10000 MiB"),
        (0, 0, 0, "problem", "no disk"),
    ],
)
def test_room(free: int, total: int, wanted: int, level: str, said: str) -> None:
    finding = room_finding("state", free * MIB, total * MIB, wanted * MIB)
    assert finding.level == level
    assert said in finding.what
    assert bool(finding.hint) == (level != "ok")


def test_what_is_kept_already_is_not_wanted_again(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(bytes(2 * MIB))
    (finding,) = storage_findings({"daemon.state_dir": tmp_path}, {"daemon.state_dir": 2})
    assert finding.level == "ok"
    assert "daemon.state_dir" in finding.what


def _machine(root: Path, limit: str, governor: str, available_kib: int) -> Path:
    for name, text in {
        "proc/self/cgroup": "0::/system.slice/streamcls.service\n",
        "proc/meminfo": f"MemTotal: 4096000 kB\nMemFree: 1 kB\nMemAvailable: {available_kib} kB\n",
        "sys/fs/cgroup/system.slice/streamcls.service/memory.max": limit,
        "sys/fs/cgroup/system.slice/memory.max": "max\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": governor,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    return root


def test_a_machine_with_room(tmp_path: Path) -> None:
    findings = list(machine_findings(_machine(tmp_path, "2147483648\n", "schedutil\n", 2_048_000)))
    text = "\n".join(map(str, findings))
    assert "governor schedutil" in text
    assert "memory of this control group: at most 2048 MiB" in text
    assert "2000 MiB of 4000 MiB available" in text
    assert f"Python {sys.version.split()[0]}" in text


def test_a_machine_without(tmp_path: Path) -> None:
    findings = list(machine_findings(_machine(tmp_path, "268435456\n", "powersave\n", 102_400)))
    said = [finding.what for finding in findings if finding.level == "warning"]
    assert any("governor powersave" in what for what in said)
    assert any("at most 256 MiB" in what for what in said)
    assert any("100 MiB of 4000 MiB" in what for what in said)


def test_a_machine_that_tells_nothing_is_no_trouble(tmp_path: Path) -> None:
    assert worst(machine_findings(tmp_path)) == "ok" or os.sysconf("SC_OPEN_MAX") < 1024


def test_a_clock_that_was_never_set() -> None:
    (finding,) = clock_findings(now=3_600.0)
    assert finding.level == "problem"
    assert "1970-01-01T01:00:00.000Z, which is long ago" in finding.what


def test_the_clock_is_synchronised_or_not_or_nobody_knows() -> None:
    assert kernel_synchronised() in {True, False, None}
    (finding,) = clock_findings()
    assert finding.level in {"ok", "warning"}
    assert "synchronised" in finding.what


def test_every_library_of_the_daemon_is_looked_at() -> None:
    findings = {finding.what.split()[0].rstrip(":"): finding for finding in library_findings()}
    assert {"numpy", "pyzmq", "pydantic", "sounddevice", "httpx"} <= set(findings)
    assert findings["numpy"].level == "ok"
    assert "tensorflow" not in findings


def test_requirements_are_told_from_extras() -> None:
    stated = [
        "httpx>=0.27; extra == 'webhook'",
        "numpy>=1.26",
        'numpy<2; python_version < "3.12" and extra == "tflite-runtime"',
        "tensorflow>=2; extra == 'train'",
    ]
    assert dict(_wanted(stated)) == {"numpy": (">=1.26", ""), "httpx": (">=0.27", "webhook")}


def test_a_library_that_raises_or_ends_the_process_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising.py").write_text("raise OSError('libx.so.1: cannot open')", encoding="utf-8")
    (tmp_path / "crashing.py").write_text("import os; os.abort()", encoding="utf-8")
    (tmp_path / "talking.py").write_text("print('hello')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = _import_all(["raising", "crashing", "talking", "json"])
    assert found == {
        "raising": "OSError: libx.so.1: cannot open",
        "crashing": "it ended the process (status -6)",
        "talking": "",
        "json": "",
    }


def test_a_broken_plugin_is_a_problem_with_its_reason() -> None:
    records = [
        PluginRecord(
            "good", "good", "good-dist", "1.0", provides=[Provided("source", "x"), Provided("policy", "y", "no")]
        ),
        PluginRecord("bad", "bad", "bad-dist", "2.0", "broken", "ImportError: no module"),
    ]
    good, bad = plugin_findings(Registry(records))
    assert str(good) == "ok       plugins: good (good-dist 1.0): source x"
    assert str(bad) == "problem  plugins: bad (bad-dist 2.0): ImportError: no module (mend, update or uninstall it)"


class _Missing:
    @staticmethod
    def unavailable() -> str:
        return "it is not installed"


class _Raising:
    @staticmethod
    def unavailable() -> str:
        raise BackendUnavailableError("boom")


def test_no_backend_at_all_is_a_problem() -> None:
    registry = Registry()
    registry.backends.update(a=_Missing, b=_Raising)  # type: ignore[arg-type]
    findings = list(backend_findings(registry))
    assert [finding.level for finding in findings] == ["ok", "ok", "problem"]
    assert "BackendUnavailableError: boom" in findings[1].what


def test_no_bundle_at_all_is_a_problem(tmp_path: Path) -> None:
    (finding,) = model_findings([tmp_path])
    assert finding.level == "problem"


@pytest.mark.parametrize("needed", [True, False])
def test_devices_that_cannot_be_listed_matter_where_one_is_needed(needed: bool) -> None:
    def of(program: str, timeout_s: float = 60.0) -> Finding:
        command = [sys.executable, "-c", program]
        return next(iter(device_findings(needed=needed, command=command, timeout_s=timeout_s)))

    failed = of("import sys; sys.exit('Error: PortAudio library not found')")
    assert failed.what == "the devices cannot be listed: PortAudio library not found"
    assert failed.level == ("problem" if needed else "ok")
    assert of("print('[]')").level == ("problem" if needed else "ok")
    hanging = of("import time; time.sleep(60)", timeout_s=0.05)
    assert hanging.what == "the sound system does not answer within 0.05 s"
    assert hanging.level == ("problem" if needed else "warning")
    one = '[{"number": 3, "name": "USB", "host_api": "ALSA", "channels": 2, "sample_rate": 48000, "default": true}]'
    assert of(f"print('''{one}''')").what == '3 "USB" (ALSA, 2 channels, 48000 Hz, the default)'


def test_the_daemons_own_ports_are_in_order(tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as ipc:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(1)
        ipc.bind(str(tmp_path / "bus"))
        ipc.listen(1)
        port = tcp.getsockname()[1]
        holder = holder_of(port)
        assert holder is not None
        assert holder[0] == os.getpid()
        bounds = [Bound("a", f"tcp://127.0.0.1:{port}"), Bound("b", f"ipc://{tmp_path}/bus")]
        assert [finding.level for finding in port_findings(bounds, os.getpid())] == ["ok", "ok"]
        assert [finding.level for finding in port_findings(bounds)] == ["problem", "problem"]
    gone = list(port_findings(bounds))
    assert [finding.level for finding in gone] == ["ok", "ok"]
    assert "left behind by a daemon that has gone" in gone[1].what
    assert holder_of(port) is None


def test_a_host_that_nobody_knows_is_named() -> None:
    (finding,) = port_findings([Bound("bus.publish[0]", "tcp://no-such-host.invalid:5757")])
    assert finding.level == "problem"
    assert "bus.publish[0]: tcp://no-such-host.invalid:5757: " in finding.what
