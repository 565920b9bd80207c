"""The contract of the source ``mic``, for a process whose default device is a PulseAudio null sink; see test_contract_suites.py."""

from __future__ import annotations

from typing import Any

from streamcls.testing import SourceContract
from streamcls_mic.source import MicSource


class TestMic(SourceContract):
    component = MicSource
    test_it_delivers_the_same_again_from_any_mark = None  # what a microphone heard is gone
    test_what_can_never_work_ends_in_a_source_error = None  # no device refuses anything here: PulseAudio converts

    def retrying(self) -> list[dict[str, Any]]:
        return [{"device": "a device that nobody has"}]
