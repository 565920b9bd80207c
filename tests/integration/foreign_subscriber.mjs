// A subscriber in another language that shares no code with streamcls: prints COUNT events as lines and checks their sequences.
// Usage: node foreign_subscriber.mjs ENDPOINT TOPIC-PREFIX COUNT
import { Subscriber } from "zeromq";

const [endpoint, prefix, count] = process.argv.slice(2);
const socket = new Subscriber();
socket.connect(endpoint);
socket.subscribe(prefix);
const sequences = new Map();
let seen = 0;
for await (const [topic, body] of socket) {
  const event = JSON.parse(body.toString("utf8"));
  const last = sequences.get(topic.toString());
  const sequence = BigInt(event.sequence);
  if (last !== undefined && last.epoch === event.epoch && sequence !== last.sequence + 1n) {
    console.error(`hole in ${topic}: ${last.sequence} then ${sequence}`);
    process.exit(1);
  }
  sequences.set(topic.toString(), { epoch: event.epoch, sequence });
  console.log(JSON.stringify({ topic: topic.toString(), type: event.type, label: event.data.label ?? null }));
  if (++seen === Number(count)) break;
}
socket.close();
