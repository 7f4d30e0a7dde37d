"""Reads OTLP's JSON strictly: what the types do not know is an error, and so is a trace that does not hang together."""

import base64
import json
import pathlib
import sys

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def ids(node):
    """OTLP writes ids as hexadecimal digits, where JSON of protocol buffers has base64."""
    if isinstance(node, list):
        return [ids(item) for item in node]
    if not isinstance(node, dict):
        return node
    lengths = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
    out = {}
    for name, value in node.items():
        if name in lengths:
            raw = bytes.fromhex(value)
            assert len(raw) == lengths[name] and any(raw), (name, value)
            value = base64.b64encode(raw).decode()
        out[name] = ids(value)
    return out


# Spans of earlier requests: what is told later may hang by one of them.
before = set()


def traces(body):
    request = ParseDict(ids(body), ExportTraceServiceRequest())
    spans = [s for r in request.resource_spans for c in r.scope_spans for s in c.spans]
    known = {(s.trace_id, s.span_id) for s in spans}
    assert len(known) == len(spans), "an id stands twice"
    for span in spans:
        assert span.name and span.kind, span
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
        parent = (span.trace_id, span.parent_span_id)
        assert not span.parent_span_id or parent in known | before, f"{span.name} has no parent"
        for link in span.links:
            assert len(link.trace_id) == 16 and len(link.span_id) == 8, span
    before.update(known)
    return len(spans)


def metrics(body):
    request = ParseDict(body, ExportMetricsServiceRequest())
    found = [m for r in request.resource_metrics for c in r.scope_metrics for m in c.metrics]
    for metric in found:
        data = getattr(metric, metric.WhichOneof("data"))
        assert data.data_points, metric.name
        for point in data.data_points:
            assert point.time_unix_nano > 0, metric.name
            if metric.WhichOneof("data") == "histogram":
                assert len(point.bucket_counts) == len(point.explicit_bounds) + 1, metric.name
                assert sum(point.bucket_counts) == point.count, metric.name
                assert list(point.explicit_bounds) == sorted(point.explicit_bounds), metric.name
    return len(found)


for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    body = json.loads(path.read_text())
    count = traces(body) if path.name.startswith("traces") else metrics(body)
    print(f"{path.name}: {count}")
