// Publishes directly to the exchange, within a trace of its own. Usage: publish.mjs TEXT.
import amqp from 'amqplib';

const { AMQP_URL, EXCHANGE, ROUTING_KEY, TRACEPARENT } = process.env;
const [text] = process.argv.slice(2);

const connection = await amqp.connect(AMQP_URL);
const channel = await connection.createConfirmChannel();
channel.publish(EXCHANGE, ROUTING_KEY, Buffer.from(JSON.stringify({ text, date: new Date() })), {
  headers: { traceparent: TRACEPARENT },
});
await channel.waitForConfirms();
await connection.close();
