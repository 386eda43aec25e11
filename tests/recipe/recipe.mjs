// The AMQP part of the Node server that Warren replaces. Declarations, consumer and published messages equal
// those of the original. Tests drive it line by line: it publishes each line of standard input, and writes each
// consumed message to standard output as JSON.
import { createInterface } from 'node:readline';
import amqp from 'amqplib';

const { AMQP_URL = 'amqp://localhost', EXCHANGE = 'messages' } = process.env;

const connection = await amqp.connect(AMQP_URL);
connection.on('error', (error) => console.error(error.message));
const channel = await connection.createChannel();
channel.on('error', (error) => console.error(error.message));
channel.on('close', () => process.exit());

const print = (line) => console.log(JSON.stringify(line));

await channel.assertExchange(EXCHANGE, 'fanout', { durable: false });
const { queue } = await channel.assertQueue('', { exclusive: true });
await channel.bindQueue(queue, EXCHANGE, '');
await channel.consume(
  queue,
  ({ content, fields: { routingKey } }) => print({ consumed: JSON.parse(content), routingKey }),
  { noAck: true },
);
print({ up: true });

for await (const text of createInterface({ input: process.stdin })) {
  channel.publish(EXCHANGE, '', Buffer.from(JSON.stringify({ text, date: new Date() })));
}
await channel.close();
