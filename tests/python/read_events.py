#!/usr/bin/env python3
"""Reads a run's event files with TensorBoard's own reader and prints, as JSON, the steps and last value of each tag.
Optional: needs `pip install tensorboard`; no test of the project depends on it.
usage: read_events.py RUN/tensorboard"""
import json
import sys

from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

events = EventAccumulator(sys.argv[1], size_guidance={"tensors": 0})
events.Reload()
found = {}
for tag in events.Tags()["tensors"]:
    plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
    last = tensor_util.make_ndarray(events.Tensors(tag)[-1].tensor_proto)
    if plugin == "text":
        last = [text.decode() for text in last.tolist()]
    else:  # a histogram is a list of [left, right, count]
        last = last.tolist()
    found[tag] = {"plugin": plugin, "steps": [event.step for event in events.Tensors(tag)], "last": last}
print(json.dumps(found, indent=1))
