"""Counts events by kind and writes the counts to a file at the end."""

import collections
import json
import pathlib

import streamcls


class Tally:
    name = "tally"

    class Config(streamcls.ComponentConfig):
        path: pathlib.Path

    def __init__(self, config):
        self.path = config.path
        self.counts = collections.Counter()

    def handle(self, event):
        self.counts[event["type"]] += 1

    def close(self):
        self.path.write_text(json.dumps(self.counts), encoding="utf-8")


@streamcls.hookimpl
def register_subscribers():
    return [Tally]
