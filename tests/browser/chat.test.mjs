// Tests of the chat page in a browser, against two running replicas:
//
//   WARREN_A=http://127.0.0.1:18081 WARREN_B=http://127.0.0.1:18082 node --test tests/browser/*.test.mjs
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';

const CHROMIUM = process.env.WARREN_CHROMIUM ?? '/usr/bin/chromium';
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const TIMEOUT = 15_000;

/** Checks the requirements. A missing one is a failure with instructions, never a skipped test. */
async function requirements() {
  for (const name of ['WARREN_A', 'WARREN_B']) {
    assert.ok(process.env[name], `${name} is not set: start two replicas that share a broker and give their base URLs, such as ${name}=http://127.0.0.1:18081`);
  }
  assert.ok(existsSync(CHROMIUM), `there is no ${CHROMIUM}: apt-get install chromium (or set WARREN_CHROMIUM to one)`);
  try {
    return await import('playwright-core');
  } catch (error) {
    assert.fail(`playwright-core cannot be loaded: run npm ci in tests/browser (${error.message})`);
  }
}

let browser;
let serial = 0;
const freshChannel = () => `test-${process.pid}-${Date.now()}-${++serial}`;

/** Opens the chat of `base` in a new browser context. `problems` collects errors and foreign requests. */
async function open(t, base, channel, { onSocket, ...options } = {}) {
  const context = await browser.newContext({ locale: 'en-GB', timezoneId: 'Europe/Berlin', ...options });
  t.after(() => context.close());
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT);
  if (onSocket) await page.routeWebSocket(/\/ws/, onSocket);
  const problems = [];
  const { host } = new URL(base);
  const sameHost = (url) => new URL(url).host === host || problems.push(`request to ${url}`);
  page.on('request', (request) => sameHost(request.url()));
  page.on('websocket', (socket) => sameHost(socket.url()));
  page.on('console', (message) => message.type() === 'error' && problems.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => problems.push(`uncaught: ${error}`));
  const url = new URL('/', base);
  url.searchParams.set('channel', channel);
  const response = await page.goto(url.href);
  assert.equal(response.status(), 200);
  await connected(page);
  return { page, problems, response };
}

const connected = (page) => page.waitForSelector('#state[data-state="open"]', { timeout: 30_000 });
const shown = (page, text) => page.locator('#log article .body').getByText(text, { exact: true });

async function send(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

/** Waits until a text is shown, and asserts that it is shown only once a moment later. */
async function shownOnce(page, text) {
  await shown(page, text).first().waitFor();
  await page.waitForTimeout(300);
  assert.equal(await shown(page, text).count(), 1, `"${text}" is shown once`);
}

/** A TCP proxy that can be cut and pointed at another replica, and counts bytes. */
async function proxyTo(t, base) {
  const sockets = new Set();
  const proxy = { target: base, received: 0, sent: 0 };
  const server = net.createServer((client) => {
    if (!proxy.target) {
      client.destroy();
      return;
    }
    const { hostname, port } = new URL(proxy.target);
    const upstream = net.connect(Number(port), hostname);
    client.on('data', ({ length }) => (proxy.sent += length));
    upstream.on('data', ({ length }) => (proxy.received += length));
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ]) {
      sockets.add(from);
      from.on('error', () => {});
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  proxy.cut = () => {
    proxy.target = null;
    for (const socket of sockets) socket.destroy();
  };
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    proxy.cut();
    server.close();
  });
  proxy.base = `http://127.0.0.1:${server.address().port}`;
  return proxy;
}

describe('the chat page', () => {
  const { WARREN_A: A, WARREN_B: B } = process.env;

  before(async () => {
    const { chromium } = await requirements();
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
  });
  after(() => browser?.close());

  test('gap frame shows a divider', async (t) => {
    let socket;
    const onSocket = (routed) => {
      routed.connectToServer();
      socket = routed;
    };
    const a = await open(t, A, freshChannel(), { onSocket });
    await send(a.page, 'before the gap');
    await shownOnce(a.page, 'before the gap');
    // After the initial replay.
    await a.page.locator('#log[aria-live="polite"]').waitFor();
    socket.send(JSON.stringify({ gap: { message: 'disconnected' } }));
    await a.page.locator('.divider[data-kind="gap"]').waitFor();
    await send(a.page, 'after the gap');
    await shownOnce(a.page, 'after the gap');
    assert.deepEqual(a.problems, []);
  });

  test('message sent on one replica is shown once on both', async (t) => {
    const channel = freshChannel();
    const a = await open(t, A, channel);
    const b = await open(t, B, channel);
    await send(a.page, 'hello from A');
    await shownOnce(a.page, 'hello from A');
    await shownOnce(b.page, 'hello from A');
    await send(b.page, 'hello from B');
    await shownOnce(b.page, 'hello from B');
    await shownOnce(a.page, 'hello from B');
    assert.equal(await a.page.inputValue('#text'), '');
    await a.page.locator('article[data-own]').getByText('hello from A').waitFor();
    assert.equal(await a.page.locator('article[data-own]').count(), 1, 'the page marks its own messages');
    const time = a.page.locator('article time').first();
    assert.ok(!Number.isNaN(Date.parse(await time.getAttribute('datetime'))));
    assert.match(await time.getAttribute('title'), /20\d\d/);
    assert.deepEqual([...a.problems, ...b.problems], []);
  });

  test('long message is compressed to and from the replicas', async (t) => {
    const channel = freshChannel();
    const ways = [await proxyTo(t, A), await proxyTo(t, B)];
    const [a, b] = [await open(t, ways[0].base, channel), await open(t, ways[1].base, channel)];
    const agreed = await b.page.evaluate(
      () =>
        new Promise((resolve) => {
          const socket = new WebSocket('/ws');
          socket.onopen = () => {
            resolve(socket.extensions);
            socket.close();
          };
        }),
    );
    assert.match(agreed, /^permessage-deflate\b/);
    const before = [ways[0].sent, ways[1].received];
    const text = `${'a burrow, '.repeat(4000)}the end`;
    await send(a.page, text);
    await shownOnce(b.page, text);
    await shownOnce(a.page, text);
    const [up, down] = [ways[0].sent - before[0], ways[1].received - before[1]];
    assert.ok(up < text.length / 10 && down < text.length / 10, `${up} and ${down} bytes of ${text.length}`);
    assert.deepEqual([...a.problems, ...b.problems], []);
  });

  test('later visitor sees the history of the channel only', async (t) => {
    const channel = freshChannel();
    const a = await open(t, A, channel);
    await send(a.page, 'before you came');
    await shownOnce(a.page, 'before you came');
    const later = await open(t, A, channel);
    await shownOnce(later.page, 'before you came');
    assert.equal(await later.page.locator('.divider').count(), 0);
    await later.page.waitForSelector('#log[aria-live="polite"]');
    const elsewhere = await open(t, B, freshChannel());
    assert.equal(await shown(elsewhere.page, 'before you came').count(), 0);
  });

  test('markup is shown as text', async (t) => {
    const channel = freshChannel();
    const a = await open(t, A, channel);
    const b = await open(t, B, channel);
    const markup = '<img src=x onerror="document.title=1"><script>document.title=2</script>&amp;\n<b>bold</b>';
    await send(a.page, markup);
    for (const { page } of [a, b]) {
      await page.locator('#log article').waitFor();
      assert.equal(await page.locator('#log article .body').evaluate((node) => node.textContent), markup);
      assert.equal(await page.locator('#log :is(img, script, b)').count(), 0);
      assert.match(await page.title(), /Warren$/);
    }
    assert.deepEqual([...a.problems, ...b.problems], []);
  });

  test('roster shows both replicas and marks the one that serves the page', async (t) => {
    const channel = freshChannel();
    const names = [];
    for (const base of [A, B]) {
      const { page, problems } = await open(t, base, channel);
      const name = await page.textContent('#replica');
      names.push(name);
      await page.waitForSelector(`#roster li[data-here][data-replica="${name}"]`);
      await page.waitForFunction(() => document.querySelectorAll('#roster li').length >= 2);
      assert.match(await page.textContent('#census'), /^\d+ replicas, \d+ connections?$/);
      assert.deepEqual(problems, []);
    }
    assert.notEqual(names[0], names[1]);
    const { page } = await open(t, A, channel);
    for (const name of names) {
      const connections = page.locator(`#roster li[data-replica="${name}"] .connections`);
      await connections.waitFor();
      await page.waitForFunction((replica) => Number(document.querySelector(`#roster li[data-replica="${replica}"] .connections`).textContent) >= 1, name);
    }
  });

  test('page has a strict content security policy and sends no foreign requests', async (t) => {
    const { page, problems, response } = await open(t, A, freshChannel());
    const policy = response.headers()['content-security-policy'] ?? '';
    for (const directive of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]) {
      assert.ok(policy.includes(directive), `${directive} is missing in: ${policy}`);
    }
    for (const [path, type] of [
      ['/', /^text\/html/],
      ['/style.css', /^text\/css/],
      ['/app.js', /^text\/javascript/],
      ['/client.js', /^text\/javascript/],
      ['/client.d.ts', /^text\/plain/],
      ['/icon.svg', /^image\/svg\+xml/],
    ]) {
      const answer = await page.request.get(new URL(path, A).href);
      assert.equal(answer.status(), 200, path);
      assert.match(answer.headers()['content-type'], type, path);
    }
    assert.equal(await page.locator('[style], style, script:not([src])').count(), 0);
    await page.waitForTimeout(500);
    assert.deepEqual(problems, []);
  });

  test('page fits a width of 360 px', async (t) => {
    const { page } = await open(t, A, freshChannel(), { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true });
    await send(page, `${'x'.repeat(600)} ${'word '.repeat(60)}`);
    await page.locator('#log article').waitFor();
    await page.fill('#channel', 'another-channel-with-a-rather-long-name');
    await page.locator('#go').waitFor();
    const widest = await page.evaluate(() => {
      const edges = [...document.querySelectorAll('header *, main *')].map((node) => node.getBoundingClientRect().right);
      return Math.max(document.documentElement.scrollWidth, ...edges);
    });
    assert.ok(widest <= 360, `something reaches ${widest} px`);
    for (const id of ['text', 'send', 'state', 'replica']) assert.ok(await page.locator(`#${id}`).isVisible(), id);
  });

  test('page works with the keyboard and has accessible names', async (t) => {
    const { page } = await open(t, A, freshChannel());
    const focused = () => page.evaluate(() => document.activeElement.id);
    assert.equal(await focused(), 'text', 'the message field has the focus');
    const order = [];
    // Tab once around the page.
    while (order.length < 20 && !(order.includes('channel') && order.at(-1) === 'send')) {
      await page.keyboard.press('Tab');
      order.push(await focused());
      if (order.at(-1) === 'text') {
        await page.keyboard.type('first line');
        await page.keyboard.press('Shift+Enter');
        await page.keyboard.type('second line');
      }
    }
    for (const id of ['channel', 'log', 'text', 'send']) assert.ok(order.includes(id), `Tab reaches #${id}: ${order}`);
    await page.keyboard.press('Enter');
    await page.locator('#log article').waitFor();
    assert.equal(await page.locator('.body').evaluate((node) => node.textContent), 'first line\nsecond line');
    assert.equal(await focused(), 'text', 'the message field keeps the focus');
    await page.keyboard.type('and more');
    await page.keyboard.press('Enter');
    await shownOnce(page, 'and more');

    await page.getByRole('log', { name: /^Messages in / }).waitFor();
    await page.getByRole('textbox', { name: 'Message', exact: true }).waitFor();
    await page.getByRole('textbox', { name: 'Channel' }).waitFor();
    await page.getByRole('button', { name: 'Send' }).waitFor();
    await page.getByRole('list', { name: 'Live replicas' }).waitFor();
    for (const landmark of ['banner', 'main', 'complementary']) await page.getByRole(landmark).waitFor();
  });

  test('new message does not scroll a reader who scrolled up', async (t) => {
    const channel = freshChannel();
    const a = await open(t, A, channel, { viewport: { width: 800, height: 500 } });
    const b = await open(t, B, channel);
    for (let n = 1; n <= 30; n += 1) await send(b.page, `line ${n}`);
    await shownOnce(a.page, 'line 30');
    const top = () => a.page.locator('#log').evaluate((log) => log.scrollTop);
    assert.ok((await top()) > 0, 'the newest message is in view');
    await a.page.locator('#log').evaluate((log) => (log.scrollTop = 0));
    await a.page.waitForTimeout(200);
    await send(b.page, 'news');
    await a.page.getByRole('button', { name: '1 new message' }).click();
    await a.page.waitForFunction(() => document.getElementById('newer').hidden);
    assert.ok((await top()) > 0);
  });

  test('text that is too long returns to the input field', async (t) => {
    const { page } = await open(t, A, freshChannel());
    const long = 'x'.repeat(70_000);
    await send(page, long);
    await page.waitForFunction(() => /too long/.test(document.getElementById('notice').textContent));
    assert.equal(await page.inputValue('#text'), long);
    await connected(page);
    await send(page, 'a shorter one');
    await shownOnce(page, 'a shorter one');
    assert.equal(await page.inputValue('#text'), '');
  });

  test('channel can be changed', async (t) => {
    const channel = freshChannel();
    const { page, problems } = await open(t, A, freshChannel());
    await page.fill('#channel', channel);
    await page.press('#channel', 'Enter');
    await page.waitForURL((url) => url.searchParams.get('channel') === channel);
    await connected(page);
    assert.equal(await page.inputValue('#channel'), channel);
    assert.deepEqual(problems, []);
  });

  for (const [title, back] of [
    ['the same replica', A],
    ['another replica', B],
  ]) {
    test(`lost connection resumes on ${title} with missed and waiting messages`, async (t) => {
      const channel = freshChannel();
      const proxy = await proxyTo(t, A);
      const a = await open(t, proxy.base, channel);
      const b = await open(t, B, channel);
      const [nameOfA, nameOfB] = [await a.page.textContent('#replica'), await b.page.textContent('#replica')];
      await send(b.page, 'before');
      await shownOnce(a.page, 'before');

      proxy.cut();
      await a.page.waitForSelector('#state:not([data-state="open"])');
      await send(a.page, 'sent meanwhile');
      assert.match(await a.page.textContent('#notice'), /^Waiting for the connection to send 1 message/);
      await a.page.fill('#text', 'a draft');
      await send(b.page, 'missed');
      await shownOnce(b.page, 'missed');
      assert.equal(await shown(a.page, 'missed').count(), 0);

      proxy.target = back;
      await connected(a.page);
      await shownOnce(a.page, 'missed');
      await shownOnce(a.page, 'before');
      assert.equal(await a.page.textContent('#replica'), back === A ? nameOfA : nameOfB);
      for (const { page } of [a, b]) await shownOnce(page, 'sent meanwhile');
      await a.page.waitForFunction(() => document.getElementById('notice').textContent === '');
      assert.equal(await a.page.inputValue('#text'), 'a draft', 'the draft is kept');
      assert.match(await a.page.textContent('.divider'), /^You were away \d+ s · [12] messages?$/, 'no message is missing');
      assert.deepEqual(
        await a.page.$$eval('.divider, article .body', (nodes) => nodes.map((node) => (node.matches('.divider') ? '—' : node.textContent))),
        ['before', '—', 'missed', 'sent meanwhile'],
      );
      assert.equal(await a.page.locator('article[data-own]').count(), 1);
      await a.page.press('#text', 'Enter');
      await shownOnce(b.page, 'a draft');
      await shownOnce(a.page, 'a draft');
    });
  }
});
