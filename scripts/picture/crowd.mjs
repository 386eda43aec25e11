// Clients of all kinds. They come back when they are cut, as clients do, until they are told to stop.
import { setMaxListeners } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

const CHANNELS = ['lobby', 'lobby', 'lobby', 'orders', 'alerts'];
const SOCKETS = 100;
const STREAMS = 30;
const PUBLISH = { method: 'POST', path: '/messages', headers: { 'Content-Type': 'application/json' } };
const agent = new http.Agent({ keepAlive: true });

/** Lets them all come, and returns when the first ones are there. */
export async function crowd(browser, address, signal) {
  setMaxListeners(0, signal);
  const page = await browser.newPage();
  await page.goto(address);
  await page.evaluate(sockets, { channels: CHANNELS, count: SOCKETS });
  const { hostname: host, port } = new URL(address);
  const to = { host, port, agent, signal };
  const others = [backend(to), loud(to), eager(to), stranger(to), slow(to), slow(to)];
  for (let n = 0; n < STREAMS; n++) others.push(stream({ ...to, agent: false }, CHANNELS[n % CHANNELS.length]));
  signal.addEventListener('abort', () => agent.destroy());
  // What still runs then is cut off in the middle.
  Promise.allSettled(others);
}

/** In the page: the client module over WebSocket. Each says something now and then. */
async function sockets({ channels, count }) {
  const { Warren } = await import('/client.js');
  const words = 'so it goes on and on, as rabbits do, '.repeat(8);
  const clients = Array.from({ length: count }, (_, n) => new Warren('/ws', { channels: [channels[n % channels.length]] }));
  const loop = () => {
    // More and less by turns, in a minute and a half.
    const busy = 1 + 0.6 * Math.sin(Date.now() / 15_000);
    const client = clients[Math.floor(Math.random() * clients.length)];
    client.publish(words.slice(0, 40 + Math.random() * 250)).catch(() => {});
    setTimeout(loop, (-Math.log(Math.random()) * 30) / busy);
  };
  loop();
}

/** Runs `turn` over and over, whatever becomes of it. */
async function repeat(signal, rest, turn) {
  while (!signal.aborted) {
    await turn().catch(() => {});
    await pause(rest() ?? 0, null, { signal }).catch(() => {});
  }
}

function request(to, options, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request({ ...to, ...options }, (response) => {
      response.resume();
      response.on('end', resolve).on('error', reject);
    });
    sent.on('upgrade', (_, socket) => resolve(socket.destroy())).on('error', reject).end(body);
  });
}

/** Programs that publish over HTTP. */
function backend(to) {
  const body = () => JSON.stringify({ channel: 'orders', text: { id: Math.random(), state: 'paid' } });
  return repeat(to.signal, () => 60 + Math.random() * 60, () => request(to, PUBLISH, body()));
}

/** A program that says so much that some cannot follow. */
function loud(to) {
  const body = JSON.stringify({ channel: 'loud', text: 'x'.repeat(24 << 10) });
  return repeat(to.signal, () => 100, () => request(to, PUBLISH, body));
}

/** Sends more at once than one client may. */
function eager(to) {
  return repeat(to.signal, () => 20_000 + Math.random() * 30_000, async () => {
    const socket = net.connect(to.port, to.host);
    socket.on('error', () => {}).resume();
    socket.write(handshake('eager'));
    const frame = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x78]);
    for (let n = 0; n < 15; n++) {
      socket.write(Buffer.concat(Array(10).fill(frame)));
      await pause(50);
    }
    socket.destroy();
  });
}

/** A page of somebody else. */
function stranger(to) {
  const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': 13, 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', Origin: 'http://elsewhere.example' };
  return repeat(to.signal, () => 2000 + Math.random() * 8000, () => request({ ...to, agent: false }, { path: '/ws', headers }));
}

/** Does not read, and does not even notice that it is closed. */
function slow(to) {
  return repeat(to.signal, () => 20_000 + Math.random() * 20_000, async () => {
    const socket = net.connect(to.port, to.host);
    socket.write(handshake('loud'));
    socket.on('error', () => {}).pause();
    await pause(40_000, null, { signal: to.signal }).catch(() => {});
    socket.destroy();
  });
}

function handshake(channel) {
  return `GET /ws?channel=${channel} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
    + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
}

/** An event stream that goes on where it was cut. */
function stream(to, channel) {
  let last;
  return repeat(to.signal, () => 500 + Math.random() * 3000, () => new Promise((resolve, reject) => {
    const headers = last ? { 'Last-Event-ID': last } : {};
    http.get({ ...to, path: `/events?channel=${channel}`, headers }, (response) => {
      response.setEncoding('utf8');
      response.on('data', (text) => { last = text.match(/^id: ?(.*)$/m)?.[1] ?? last; });
      response.on('close', resolve);
    }).on('error', reject);
  }));
}
