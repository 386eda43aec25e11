// The Node server that Warren takes the place of. It prints its port when it serves.
import { createServer } from 'node:http';
import express from 'express';
import { Server } from 'socket.io';
import amqp from 'amqplib';

const { AMQP_URL = 'amqp://localhost', EXCHANGE = 'messages' } = process.env;

const app = express();
app.get('/', (_, response) => response.send('hello'));
const server = createServer(app);
const io = new Server(server);

const connection = await amqp.connect(AMQP_URL);
const channel = await connection.createChannel();
await channel.assertExchange(EXCHANGE, 'fanout', { durable: false });
const { queue } = await channel.assertQueue('', { exclusive: true });
await channel.bindQueue(queue, EXCHANGE, '');
await channel.consume(queue, ({ content }) => io.emit('message', JSON.parse(content)), { noAck: true });

io.on('connection', (socket) => {
  socket.on('message', (text) => {
    channel.publish(EXCHANGE, '', Buffer.from(JSON.stringify({ text, date: new Date() })));
  });
});

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
