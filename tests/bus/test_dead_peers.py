"""A peer that resets its connection while our receive queue is full must not end the process, as ZeroMQ's own heartbeats make it do."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import zmq

from streamcls.bus.binding import give_up_on_the_dead
from streamcls_zmq.liveness import notice_the_dead

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
import os, sys, time, zmq
from streamcls.bus.binding import give_up_on_the_dead
from streamcls_zmq.liveness import notice_the_dead

context = zmq.Context()
socket = context.socket(zmq.PULL)
socket.rcvhwm = 10
{ours}
port = socket.bind_to_random_port("tcp://127.0.0.1")
child = os.fork()
if child == 0:
    sender = zmq.Context().socket(zmq.PUSH)
    sender.connect(f"tcp://127.0.0.1:{{port}}")
    for _ in range(400):
        try:
            sender.send(bytes(100_000), zmq.NOBLOCK)
        except zmq.Again:
            time.sleep(0.002)
    os._exit(0)
os.waitpid(child, 0)
time.sleep(1.5)
while socket.poll(200):
    socket.recv()
print("alive")
"""


@pytest.mark.parametrize("ours", ["give_up_on_the_dead(socket)", "notice_the_dead(socket)"])
def test_a_peer_that_crashes_while_we_are_full_ends_nothing(ours: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(ours=ours)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.parametrize("ours", [give_up_on_the_dead, notice_the_dead])
def test_the_system_watches_the_connection_and_zeromq_does_not(ours: Callable[[zmq.Socket[bytes]], None]) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        ours(socket)
        assert socket.getsockopt(zmq.TCP_KEEPALIVE) == 1
        assert socket.getsockopt(zmq.HEARTBEAT_IVL) == 0


def test_why_there_are_no_heartbeats() -> None:
    """The day this is an expected failure, libzmq is mended, and its heartbeats can be had again."""
    heartbeats = "socket.setsockopt(zmq.HEARTBEAT_IVL, 300); socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 900)"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(ours=heartbeats)], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode == 0:
        pytest.xfail("this libzmq survives it")
    assert "_io_error" in done.stderr
