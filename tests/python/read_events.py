#!/usr/bin/env python3
"""Reads a run's event files with TensorBoard's own reader and prints what it found as JSON. Optional: needs
`pip install tensorboard`, and no test of the project depends on it.
usage: read_events.py RUN/tensorboard"""
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
found = {"scalars": {}, "histograms": {}, "texts": {}}
for tag in tags["scalars"]:
    found["scalars"][tag] = [(event.step, event.value) for event in events.Scalars(tag)]
for tag in tags["histograms"]:
    found["histograms"][tag] = [
        (event.step, event.histogram_value.num, sum(event.histogram_value.bucket)) for event in events.Histograms(tag)
    ]
for tag in tags["tensors"]:
    found["texts"][tag] = [
        (event.step, event.tensor_proto.string_val[0].decode()[:200]) for event in events.Tensors(tag)
    ]
print(json.dumps(found, indent=1))
