// The AMQP half of the Node server that Warren takes the place of, word for word where it matters:
// what it declares, how it consumes and what it publishes. The tests drive it through lines: each
// line on standard input is published, each message consumed is a line of JSON on standard output.
import { createInterface } from 'node:readline';
import amqp from 'amqplib';

const { AMQP_URL = 'amqp://localhost', EXCHANGE = 'messages' } = process.env;

const connection = await amqp.connect(AMQP_URL);
connection.on('error', (error) => console.error(error.message));
const channel = await connection.createChannel();
channel.on('error', (error) => console.error(error.message));
channel.on('close', () => process.exit());

const say = (line) => console.log(JSON.stringify(line));

await channel.assertExchange(EXCHANGE, 'fanout', { durable: false });
const { queue } = await channel.assertQueue('', { exclusive: true });
await channel.bindQueue(queue, EXCHANGE, '');
await channel.consume(
  queue,
  ({ content, fields: { routingKey } }) => say({ consumed: JSON.parse(content), routingKey }),
  { noAck: true },
);
say({ up: true });

for await (const text of createInterface({ input: process.stdin })) {
  channel.publish(EXCHANGE, '', Buffer.from(JSON.stringify({ text, date: new Date() })));
}
await channel.close();
