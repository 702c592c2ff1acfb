// Follow the forecasts: each once, in order, with what a consumer must tell apart. node consume.mts SERVERS COUNT
import { Consumer, stringDeserializers } from "@platformatic/kafka";

const [servers, wanted] = process.argv.slice(2);
const consumer = new Consumer({ clientId: "my-service", groupId: "my-web-service", bootstrapBrokers: [servers],
  deserializers: stringDeserializers });
const stream = await consumer.consume({ topics: ["forecast.volatility.v1"], mode: "earliest" });
const newest = new Map<string, bigint>(); // instrument to the origin of its last forecast: an older or equal one is a repeat
for await (const { value } of stream) {
  const forecast = JSON.parse(value);
  const origin = BigInt(forecast.id.split("@")[1]); // nanoseconds do not fit a JavaScript number
  if (origin <= (newest.get(forecast.instrument_id) ?? 0n)) continue;
  newest.set(forecast.instrument_id, origin);
  const horizon = forecast.horizons["5m"]; // none where the status is "unavailable"
  console.log(JSON.stringify([forecast.id, forecast.status, horizon?.quantiles["0.95"] ?? null]));
  if (newest.size >= Number(wanted)) break;
}
await consumer.close(true);
