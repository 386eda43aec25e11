// The chat page: shows what the client module reports. What others wrote only ever becomes text.
import { Warren } from './client.js';

const SHOWN = 500; // messages on the page
const LONG = { characters: 1500, lines: 20 }; // a longer text is folded
const QUIET = 300; // ms without a message after which a replay is over…
const REPLAY = 3_000; // …and the most that it may take
const POLL = 5_000; // ms between two looks at the roster
const SENDING = 1_000; // ms after which a message counts as taking long
const ONCE_MINE = 'warren.mine';

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);

const channel = new URLSearchParams(location.search).get('channel') || 'lobby';
const warren = new Warren(new URL('ws', document.baseURI), { channels: [channel] });
const on = (type, listener) => warren.addEventListener(type, ({ detail }) => listener(detail));

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

const count = (n, noun) => `${n} ${noun}${n === 1 ? '' : 's'}`;
const announce = (text) => ($('status').textContent = text);

function duration(ms, spoken = false) {
  const [size, short, long] = ms < 60_000 ? [1000, 's', 'second'] : ms < 3_600_000 ? [60_000, 'min', 'minute'] : [3_600_000, 'h', 'hour'];
  const n = Math.max(1, Math.round(ms / size));
  return spoken ? count(n, long) : `${n} ${short}`;
}

/** The end of a pod's name tells it from its siblings: that is what stays when room is short. */
function named(replica) {
  const name = String(replica);
  const cut = name.lastIndexOf('-') + 1;
  return [element('span', { textContent: name.slice(0, cut) }), element('b', { textContent: name.slice(cut) })];
}

// ── The log ─────────────────────────────────────────────────────────────────────────────────────
// Messages and dividers wait in `queue` and reach the page once per frame, however fast they come.

const log = $('log');
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: 'full' });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

let queue = [];
let lastDay = '';
let stuck = true; // to the newest message; false once the reader scrolled up
let newer = 0; // messages below what the reader sees
let unread = 0; // messages since the page was last looked at

function enqueue(item) {
  if (!queue.length) {
    // A hidden page draws no frames.
    if (document.hidden) setTimeout(flush, 200);
    else requestAnimationFrame(flush);
  }
  queue.push(item);
  if (queue.length > 2 * SHOWN) queue = queue.slice(-SHOWN);
}

function flush() {
  const items = queue;
  queue = [];
  if (!items.length) return;
  log.append(...items.slice(-SHOWN).flatMap((item) => (item instanceof Node ? item : render(item))));
  while (log.childElementCount > SHOWN + 1) $('empty').nextElementSibling.remove();
  if (stuck) log.scrollTop = log.scrollHeight;
}

function render({ id, text, date }) {
  const { day, time } = dated(date);
  const nodes = [];
  if (day && day !== lastDay) nodes.push(element('p', { className: 'day', textContent: day }));
  lastDay = day || lastDay;
  const body =
    typeof text === 'string'
      ? element('p', { className: 'body', dir: 'auto', textContent: text })
      : element('pre', { className: 'body', textContent: JSON.stringify(text, null, 2) });
  const article = element('article', {}, body);
  const length = body.textContent.length;
  if (length > LONG.characters || body.textContent.split('\n', LONG.lines + 1).length > LONG.lines) fold(body, article);
  article.append(element('footer', {}, time));
  article.dataset.id = id;
  if (mine.has(id)) markOwn(article);
  nodes.push(article);
  return nodes;
}

function markOwn(article) {
  article.dataset.own = '';
  article.lastElementChild.prepend(element('span', { className: 'quiet', textContent: 'sent by you, ' }));
}

function dated(date) {
  const when = typeof date === 'string' && RFC3339.test(date) ? new Date(date) : null;
  if (!when || Number.isNaN(when.getTime())) {
    const raw = typeof date === 'string' ? date : '';
    return { day: '', time: element('span', { className: 'odd', textContent: raw, title: raw }) };
  }
  const time = element('time', { dateTime: date, title: exact.format(when), textContent: clock.format(when) });
  return { day: calendar.format(when), time };
}

function fold(body, article) {
  body.classList.add('folded');
  const button = element('button', { type: 'button', className: 'unfold', textContent: 'Show all' });
  button.ariaExpanded = 'false';
  button.addEventListener('click', () => {
    const folded = body.classList.toggle('folded');
    button.textContent = folded ? 'Show all' : 'Show less';
    button.ariaExpanded = String(!folded);
  });
  article.append(button);
}

function showNewer() {
  $('newer').hidden = newer === 0;
  $('newer').textContent = `${count(newer, 'new message')} ↓`;
}

function toNewest() {
  stuck = true;
  newer = 0;
  showNewer();
  log.scrollTop = log.scrollHeight;
}

log.addEventListener('scroll', () => {
  stuck = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  if (stuck && newer) toNewest();
});
new ResizeObserver(() => stuck && toNewest()).observe(log);
$('newer').addEventListener('click', () => {
  toNewest();
  $('text').focus();
});

// ── What arrives ────────────────────────────────────────────────────────────────────────────────
// A burst after the channel was taken up is a replay: it is counted, and not read out message by message.

let lostAt = 0; // when the connection was lost, 0 while there is one or none was lost
let replay = null;

on('message', (message) => {
  if (replay) {
    replay.count += 1;
    if (replay.away) divide();
    settle();
  }
  enqueue(message);
  const first = replay && !replay.away; // the history that every page starts with is not news
  if (!stuck && !first) newer += 1;
  if (document.hidden && !first) unread += 1;
  showNewer();
  showTitle();
});

on('ready', ({ replica }) => {
  $('replica').replaceChildren(...named(replica));
  showRoster();
});

on('subscribed', () => {
  replay = { away: lostAt && Math.max(1, Date.now() - lostAt), count: 0, gap: false, divider: null, end: Date.now() + REPLAY, timer: 0 };
  lostAt = 0;
  log.ariaLive = 'off';
  settle();
});

on('gap', () => {
  if (replay) {
    replay.gap = true;
    divide();
    return;
  }
  // The replica itself was away from its broker.
  const textContent = 'Some messages may be missing here';
  const divider = element('p', { className: 'divider', textContent });
  divider.dataset.kind = 'gap';
  enqueue(divider);
});

function divide() {
  if (!replay.divider) enqueue((replay.divider = element('p', { className: 'divider' })));
  replay.divider.dataset.kind = replay.gap ? 'gap' : 'away';
  const facts = [`You were away ${duration(replay.away)}`];
  if (replay.count) facts.push(count(replay.count, 'message'));
  if (replay.gap) facts.push('some messages may be missing here');
  replay.divider.textContent = facts.join(' · ');
}

function settle() {
  clearTimeout(replay.timer);
  replay.timer = setTimeout(settled, Math.min(QUIET, Math.max(0, replay.end - Date.now())));
}

function settled() {
  const { away, count: missed, gap } = replay;
  replay = null;
  flush();
  log.ariaLive = 'polite';
  if (away) {
    const news = missed ? `${count(missed, 'message')} while you were away` : 'you missed nothing';
    announce(`Connected again after ${duration(away, true)}: ${gap ? 'some messages may be missing' : news}.`);
  }
}

function showTitle() {
  document.title = `${unread ? `(${unread}) ` : ''}#${channel} · Warren`;
}

// ── Sending ─────────────────────────────────────────────────────────────────────────────────────
// The client module keeps a text until the server has it, also over a lost connection. If the server
// will not have it, its writer gets it back.

const composer = $('composer');
const box = $('text');
const MINE = 200;
const sending = new Set(); // the publications that are not answered yet
let returned = []; // texts on their way back to their writer
let slow = 0;

const mine = new Set(remembered());

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(ONCE_MINE) ?? '[]');
  } catch {
    return [];
  }
}

/** The message itself may come before its id is known to be ours, or after. */
function remember(id) {
  mine.add(id);
  const shown = log.querySelector(`[data-id="${CSS.escape(id)}"]`);
  if (shown) markOwn(shown);
  try {
    sessionStorage.setItem(ONCE_MINE, JSON.stringify([...mine].slice(-MINE)));
  } catch {
    // Without storage, a reload forgets which messages were sent from here.
  }
}

function notice(text, kind = '') {
  if ($('notice').textContent !== text) $('notice').textContent = text; // or it would be read out again
  $('notice').dataset.kind = kind;
}

/** Says what is not sent yet, and why. */
function showSending() {
  clearTimeout(slow);
  const { kind } = $('notice').dataset;
  if (!sending.size) {
    if (kind === 'slow') notice('');
  } else if (kind === 'error') {
    // That has to be read first.
  } else if (warren.state !== 'open') {
    notice(`Waiting for the connection to send ${count(sending.size, 'message')}…`, 'slow');
  } else {
    slow = setTimeout(() => notice('Sending…', 'slow'), kind === 'slow' ? 0 : SENDING);
  }
}

const WHY = {
  too_large: 'That message is too long for this server.',
  unknown_outcome: 'No answer came for this message. It may or may not have been sent.',
  outbox_full: 'Not sent: too many messages wait already.',
  closed: 'Not connected. Your text stays here until it can be sent.',
};

function giveBack(text, why) {
  // Several may come back at once: they keep their order.
  if (!returned.length) {
    setTimeout(() => {
      box.value = [...returned, box.value].filter(Boolean).join('\n');
      returned = [];
    });
  }
  returned.push(text);
  notice(why, 'error');
}

async function submit() {
  const text = box.value;
  if (!text.trim()) return;
  const publishing = warren.publish(text);
  sending.add(publishing);
  box.value = '';
  notice('');
  showSending();
  toNewest();
  box.focus();
  try {
    const { id } = await publishing;
    if (id !== null) remember(id);
  } catch ({ code, message }) {
    giveBack(text, WHY[code] ?? failure({ code, message }));
  }
  sending.delete(publishing);
  showSending();
}

const failure = ({ code, message }) => `Not sent: ${message || code || 'the server gave no reason'}`.replace(/\.*$/, '.');

$('send').disabled = false;
composer.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});

box.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});

// What waits ends with the page.
addEventListener('beforeunload', (event) => {
  if (sending.size && warren.state !== 'open') event.preventDefault();
});

on('error', ({ message }) => notice(message, 'error'));

// ── The connection ──────────────────────────────────────────────────────────────────────────────

let countdown = 0;

function showState({ state, retryAt, reason }) {
  clearInterval(countdown);
  const again = lostAt ? 'Reconnecting…' : 'Connecting…';
  const text = { connecting: again, open: 'Connected', waiting: again, closed: 'Disconnected' };
  $('state').dataset.state = state;
  $('state-text').textContent = text[state];
  $('retry').hidden = !(state === 'closed' || (state === 'waiting' && retryAt - Date.now() > 1500));
  $('retry').textContent = state === 'closed' ? 'Connect' : 'Now';
  $('retry').ariaLabel = state === 'closed' ? 'Connect again' : 'Retry now';
  $('roster').toggleAttribute('data-stale', state !== 'open');
  if (state === 'waiting') {
    const tick = () => {
      const seconds = Math.ceil((retryAt - Date.now()) / 1000);
      $('state-text').textContent = seconds > 1 ? `Retrying in ${seconds} s` : again;
    };
    tick();
    countdown = setInterval(tick, 1000);
  }
  if (state === 'closed' && document.activeElement === $('send')) box.focus();
  $('send').disabled = state === 'closed';
  if (state === 'closed' && reason) notice(`The server closed the connection: ${reason}`, 'closed');
  if (state === 'open' && $('notice').dataset.kind === 'closed') notice('');
  showSending();
}

let wasOpen = false;

on('state', (change) => {
  if (wasOpen && change.state !== 'open') {
    lostAt ||= Date.now();
    if (replay) {
      clearTimeout(replay.timer);
      replay = null;
    }
    announce(change.state === 'closed' ? 'Disconnected.' : 'Connection lost. Reconnecting.');
  }
  wasOpen = change.state === 'open';
  showState(change);
});

$('retry').addEventListener('click', () => {
  warren.connect();
  box.focus();
});

// ── The burrows ─────────────────────────────────────────────────────────────────────────────────

const compact = new Intl.NumberFormat('en', { notation: 'compact' });
const numeric = new Intl.Collator('en', { numeric: true });

async function showRoster() {
  if (document.hidden || warren.state !== 'open') return;
  let replicas;
  try {
    const response = await fetch('replicas', { cache: 'no-store', signal: AbortSignal.timeout(POLL) });
    ({ replicas } = await response.json());
    replicas.sort((a, b) => numeric.compare(a.name, b.name));
  } catch {
    $('roster').toggleAttribute('data-stale', true);
    return;
  }
  let arrived;
  const known = new Map([...$('roster').children].map((item) => [item.dataset.replica, item]));
  for (const [place, replica] of replicas.entries()) {
    const item = known.get(replica.name) ?? burrow(replica.name);
    known.delete(replica.name);
    item.title = `${replica.name}: ${count(replica.connections, 'connection')}`;
    item.querySelector('.connections').textContent = compact.format(replica.connections);
    item.querySelector('.noun').textContent = replica.connections === 1 ? ' connection' : ' connections';
    item.querySelector('.version').textContent = `v${replica.version}`;
    const here = replica.name === $('replica').textContent;
    item.querySelector('.here').textContent = here ? ' · you are here' : '';
    if (here && !item.hasAttribute('data-here')) arrived = item;
    item.toggleAttribute('data-here', here);
    if ($('roster').children[place] !== item) $('roster').insertBefore(item, $('roster').children[place] ?? null);
  }
  for (const item of known.values()) item.remove();
  const connections = replicas.reduce((sum, replica) => sum + replica.connections, 0);
  $('census').textContent = `${count(replicas.length, 'replica')}, ${count(connections, 'connection')}`;
  $('roster').toggleAttribute('data-stale', warren.state !== 'open');
  const { scrollHeight, clientHeight, scrollWidth, clientWidth } = $('roster');
  $('roster').tabIndex = scrollHeight > clientHeight || scrollWidth > clientWidth ? 0 : -1; // arrow keys scroll it
  arrived?.scrollIntoView({ block: 'center', inline: 'center' });
}

function burrow(name) {
  const item = element(
    'li',
    {},
    element('span', { className: 'hole' }, element('span', { className: 'connections' }), element('span', { className: 'quiet noun' })),
    element('span', { className: 'name' }, ...named(name)),
    element('span', { className: 'facts' }, element('span', { className: 'version' }), element('span', { className: 'here' })),
  );
  item.dataset.replica = name;
  return item;
}

setInterval(showRoster, POLL);
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  unread = 0;
  showTitle();
  showRoster();
});

// ── The channel ─────────────────────────────────────────────────────────────────────────────────

const field = $('channel');

field.addEventListener('input', () => ($('go').hidden = field.value.trim() === channel));
field.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  field.value = channel;
  $('go').hidden = true;
});
$('switch').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = field.value.trim() || 'lobby';
  if (name !== channel) location.search = new URLSearchParams({ channel: name });
});

field.value = channel;
log.ariaLabel = `Messages in ${channel}`;
showTitle();
