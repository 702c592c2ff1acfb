"""Follow the forecasts: each once, in order, with what a consumer must tell apart."""

import json
import sys

from confluent_kafka import Consumer

servers, wanted = sys.argv[1], int(sys.argv[2])
config = {"bootstrap.servers": servers, "group.id": "my-service", "auto.offset.reset": "earliest"}
consumer = Consumer(config)
consumer.subscribe(["forecast.volatility.v1"])
newest = {}  # instrument to the origin of its last forecast: an older or equal one is a repeat
while len(newest) < wanted:
    message = consumer.poll(1.0)
    if message is None or message.error():
        continue
    forecast = json.loads(message.value())
    if forecast["origin_time_ns"] <= newest.get(forecast["instrument_id"], 0):
        continue
    newest[forecast["instrument_id"]] = forecast["origin_time_ns"]
    horizon = forecast["horizons"].get("5m")  # none where the status is "unavailable"
    print(json.dumps([forecast["id"], forecast["status"], horizon and horizon["quantiles"]["0.95"]]), flush=True)
consumer.close()
