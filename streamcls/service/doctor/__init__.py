"""What ``streamcls doctor`` looks at: the machine, the libraries, and what a configuration needs of them."""

from __future__ import annotations

from streamcls.service.doctor.clock import clock_findings
from streamcls.service.doctor.devices import device_findings
from streamcls.service.doctor.findings import Finding, Level, worst, worst_first
from streamcls.service.doctor.libraries import library_findings
from streamcls.service.doctor.machine import machine_findings
from streamcls.service.doctor.parts import backend_findings, model_findings, plugin_findings
from streamcls.service.doctor.ports import port_findings
from streamcls.service.doctor.secrets import secret_findings
from streamcls.service.doctor.storage import storage_findings

__all__ = [
    "Finding",
    "Level",
    "backend_findings",
    "clock_findings",
    "device_findings",
    "library_findings",
    "machine_findings",
    "model_findings",
    "plugin_findings",
    "port_findings",
    "secret_findings",
    "storage_findings",
    "worst",
    "worst_first",
]
