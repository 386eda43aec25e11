// Simulated clients of all kinds. They reconnect when they are disconnected, until the signal aborts.
import { setMaxListeners } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

const CHANNELS = ['lobby', 'lobby', 'lobby', 'orders', 'alerts'];
const SOCKETS = 100;
const STREAMS = 30;
const PUBLISH = { method: 'POST', path: '/messages', headers: { 'Content-Type': 'application/json' } };
const agent = new http.Agent({ keepAlive: true });

/** Starts all clients, and returns when the page with the WebSockets is loaded. */
export async function crowd(browser, address, signal) {
  setMaxListeners(0, signal);
  const page = await browser.newPage();
  await page.goto(address);
  await page.evaluate(sockets, { channels: CHANNELS, count: SOCKETS });
  const { hostname: host, port } = new URL(address);
  const to = { host, port, agent, signal };
  const others = [backend(to), highVolume(to), tooFast(to), foreignPage(to), slow(to), slow(to)];
  for (let n = 0; n < STREAMS; n++) others.push(stream({ ...to, agent: false }, CHANNELS[n % CHANNELS.length]));
  signal.addEventListener('abort', () => agent.destroy());
  // Clients that still run at the end are cut off.
  Promise.allSettled(others);
}

/** Runs in the page: clients with the client module, which publish at random times. */
async function sockets({ channels, count }) {
  const { Warren } = await import('/client.js');
  const words = 'an example of a chat message of some length, '.repeat(8);
  const clients = Array.from({ length: count }, (_, n) => new Warren('/ws', { channels: [channels[n % channels.length]] }));
  const loop = () => {
    // The rate varies with a period of a minute and a half.
    const busy = 1 + 0.6 * Math.sin(Date.now() / 15_000);
    const client = clients[Math.floor(Math.random() * clients.length)];
    client.publish(words.slice(0, 40 + Math.random() * 250)).catch(() => {});
    setTimeout(loop, (-Math.log(Math.random()) * 30) / busy);
  };
  loop();
}

/** Runs `turn` repeatedly and ignores its errors. */
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

/** A backend that publishes over HTTP. */
function backend(to) {
  const body = () => JSON.stringify({ channel: 'orders', text: { id: Math.random(), state: 'paid' } });
  return repeat(to.signal, () => 60 + Math.random() * 60, () => request(to, PUBLISH, body()));
}

/** A program that publishes more than slow clients can read. */
function highVolume(to) {
  const body = JSON.stringify({ channel: 'loud', text: 'x'.repeat(24 << 10) });
  return repeat(to.signal, () => 100, () => request(to, PUBLISH, body));
}

/** A client that exceeds the rate limit. */
function tooFast(to) {
  return repeat(to.signal, () => 20_000 + Math.random() * 30_000, async () => {
    const socket = net.connect(to.port, to.host);
    socket.on('error', () => {}).resume();
    socket.write(handshake('fast'));
    const frame = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x78]);
    for (let n = 0; n < 15; n++) {
      socket.write(Buffer.concat(Array(10).fill(frame)));
      await pause(50);
    }
    socket.destroy();
  });
}

/** A page of a foreign origin. */
function foreignPage(to) {
  const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': 13, 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', Origin: 'http://elsewhere.example' };
  return repeat(to.signal, () => 2000 + Math.random() * 8000, () => request({ ...to, agent: false }, { path: '/ws', headers }));
}

/** A client that neither reads nor notices that it is closed. */
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

/** An event stream that resumes after its last event. */
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
