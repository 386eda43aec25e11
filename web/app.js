// The chat page. It shows what the client module reports, and inserts messages only as text, never as markup.
import { Warren } from './client.js';

const MAX_SHOWN = 500; // messages on the page
const FOLD_ABOVE = { characters: 1500, lines: 20 }; // longer texts are folded
const REPLAY_PAUSE = 300; // ms without a message after which a replay has ended…
const REPLAY_MAX = 3_000; // …and its maximum duration in ms
const POLL = 5_000; // ms between updates of the roster
const SLOW_SEND = 1_000; // ms after which a pending message is shown as such
const OWN_IDS_KEY = 'warren.mine'; // in sessionStorage

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

/** The name of a replica. Its last part, which distinguishes pods, stays visible when space is short. */
function nameParts(replica) {
  const name = String(replica);
  const cut = name.lastIndexOf('-') + 1;
  return [element('span', { textContent: name.slice(0, cut) }), element('b', { textContent: name.slice(cut) })];
}

// ── Messages ─────────────────────────────────────────────────────────────────────────────────────
// Messages and dividers wait in `queue` and are added to the page once per frame.

const log = $('log');
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;
const timeFormat = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
const dayFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'full' });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

let queue = [];
let lastDay = '';
let atEnd = true; // false after the reader has scrolled up
let newer = 0; // messages below the visible part
let unread = 0; // messages since the page was last visible

function enqueue(item) {
  if (!queue.length) {
    // A hidden page renders no frames.
    if (document.hidden) setTimeout(flush, 200);
    else requestAnimationFrame(flush);
  }
  queue.push(item);
  if (queue.length > 2 * MAX_SHOWN) queue = queue.slice(-MAX_SHOWN);
}

function flush() {
  const items = queue;
  queue = [];
  if (!items.length) return;
  log.append(...items.slice(-MAX_SHOWN).flatMap((item) => (item instanceof Node ? item : render(item))));
  while (log.childElementCount > MAX_SHOWN + 1) $('empty').nextElementSibling.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function render({ id, text, date }) {
  const { day, time } = parseDate(date);
  const nodes = [];
  if (day && day !== lastDay) nodes.push(element('p', { className: 'day', textContent: day }));
  lastDay = day || lastDay;
  const body =
    typeof text === 'string'
      ? element('p', { className: 'body', dir: 'auto', textContent: text })
      : element('pre', { className: 'body', textContent: JSON.stringify(text, null, 2) });
  const article = element('article', {}, body);
  const length = body.textContent.length;
  if (length > FOLD_ABOVE.characters || body.textContent.split('\n', FOLD_ABOVE.lines + 1).length > FOLD_ABOVE.lines) fold(body, article);
  article.append(element('footer', {}, time));
  article.dataset.id = id;
  if (ownIds.has(id)) markOwn(article);
  nodes.push(article);
  return nodes;
}

function markOwn(article) {
  article.dataset.own = '';
  article.lastElementChild.prepend(element('span', { className: 'quiet', textContent: 'sent by you, ' }));
}

function parseDate(date) {
  const when = typeof date === 'string' && RFC3339.test(date) ? new Date(date) : null;
  if (!when || Number.isNaN(when.getTime())) {
    const raw = typeof date === 'string' ? date : '';
    return { day: '', time: element('span', { className: 'odd', textContent: raw, title: raw }) };
  }
  const time = element('time', { dateTime: date, title: fullFormat.format(when), textContent: timeFormat.format(when) });
  return { day: dayFormat.format(when), time };
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

function showNewerButton() {
  $('newer').hidden = newer === 0;
  $('newer').textContent = `${count(newer, 'new message')} ↓`;
}

function scrollToNewest() {
  atEnd = true;
  newer = 0;
  showNewerButton();
  log.scrollTop = log.scrollHeight;
}

log.addEventListener('scroll', () => {
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  if (atEnd && newer) scrollToNewest();
});
new ResizeObserver(() => atEnd && scrollToNewest()).observe(log);
$('newer').addEventListener('click', () => {
  scrollToNewest();
  $('text').focus();
});

// ── Receiving ────────────────────────────────────────────────────────────────────────────────────
// A burst after a subscription is a replay: it is counted, and screen readers do not read each message.

let lostAt = 0; // when the connection was lost; 0 if it was not
let replay = null;

on('message', (message) => {
  if (replay) {
    replay.count += 1;
    if (replay.away) updateDivider();
    extendReplay();
  }
  enqueue(message);
  const first = replay && !replay.away; // the initial history is not new
  if (!atEnd && !first) newer += 1;
  if (document.hidden && !first) unread += 1;
  showNewerButton();
  showTitle();
});

on('ready', ({ replica }) => {
  $('replica').replaceChildren(...nameParts(replica));
  showRoster();
});

on('subscribed', () => {
  replay = { away: lostAt && Math.max(1, Date.now() - lostAt), count: 0, gap: false, divider: null, end: Date.now() + REPLAY_MAX, timer: 0 };
  lostAt = 0;
  log.ariaLive = 'off';
  extendReplay();
});

on('gap', () => {
  if (replay) {
    replay.gap = true;
    updateDivider();
    return;
  }
  // The replica lost its connection to the broker.
  const textContent = 'Some messages may be missing here';
  const divider = element('p', { className: 'divider', textContent });
  divider.dataset.kind = 'gap';
  enqueue(divider);
});

function updateDivider() {
  if (!replay.divider) enqueue((replay.divider = element('p', { className: 'divider' })));
  replay.divider.dataset.kind = replay.gap ? 'gap' : 'away';
  const facts = [`You were away ${duration(replay.away)}`];
  if (replay.count) facts.push(count(replay.count, 'message'));
  if (replay.gap) facts.push('some messages may be missing here');
  replay.divider.textContent = facts.join(' · ');
}

function extendReplay() {
  clearTimeout(replay.timer);
  replay.timer = setTimeout(endReplay, Math.min(REPLAY_PAUSE, Math.max(0, replay.end - Date.now())));
}

function endReplay() {
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

// ── Sending ──────────────────────────────────────────────────────────────────────────────────────
// The client module keeps a text until the server has confirmed it, also across reconnects. If the server refuses
// it, the text returns to the input field.

const composer = $('composer');
const box = $('text');
const MAX_OWN_IDS = 200;
const sending = new Set(); // publications without an answer
let returned = []; // refused texts that return to the input field
let slow = 0;

const ownIds = new Set(storedOwnIds());

function storedOwnIds() {
  try {
    return JSON.parse(sessionStorage.getItem(OWN_IDS_KEY) ?? '[]');
  } catch {
    return [];
  }
}

/** Marks a message as sent from here. It may arrive before or after the answer with its id. */
function markSent(id) {
  ownIds.add(id);
  const shown = log.querySelector(`[data-id="${CSS.escape(id)}"]`);
  if (shown) markOwn(shown);
  try {
    sessionStorage.setItem(OWN_IDS_KEY, JSON.stringify([...ownIds].slice(-MAX_OWN_IDS)));
  } catch {
    // Without storage, a reload forgets which messages were sent from here.
  }
}

function notice(text, kind = '') {
  if ($('notice').textContent !== text) $('notice').textContent = text; // otherwise screen readers would read it again
  $('notice').dataset.kind = kind;
}

/** Shows how many messages are not sent yet, and why. */
function showSending() {
  clearTimeout(slow);
  const { kind } = $('notice').dataset;
  if (!sending.size) {
    if (kind === 'slow') notice('');
  } else if (kind === 'error') {
    // The error stays until the reader acts.
  } else if (warren.state !== 'open') {
    notice(`Waiting for the connection to send ${count(sending.size, 'message')}…`, 'slow');
  } else {
    slow = setTimeout(() => notice('Sending…', 'slow'), kind === 'slow' ? 0 : SLOW_SEND);
  }
}

const ERROR_TEXTS = {
  too_large: 'That message is too long for this server.',
  unknown_outcome: 'The server did not confirm this message. It may or may not have been sent.',
  outbox_full: 'Not sent: too many messages are waiting.',
  closed: 'Not connected. Your text is kept here.',
};

function returnText(text, why) {
  // Several may return at once, in order.
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
  scrollToNewest();
  box.focus();
  try {
    const { id } = await publishing;
    if (id !== null) markSent(id);
  } catch ({ code, message }) {
    returnText(text, ERROR_TEXTS[code] ?? failure({ code, message }));
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

// Leaving the page discards unsent messages.
addEventListener('beforeunload', (event) => {
  if (sending.size && warren.state !== 'open') event.preventDefault();
});

on('error', ({ message }) => notice(message, 'error'));

// ── Connection ───────────────────────────────────────────────────────────────────────────────────

let countdown = 0;

function showState({ state, retryAt, reason }) {
  clearInterval(countdown);
  const retryText = lostAt ? 'Reconnecting…' : 'Connecting…';
  const text = { connecting: retryText, open: 'Connected', waiting: retryText, closed: 'Disconnected' };
  $('state').dataset.state = state;
  $('state-text').textContent = text[state];
  $('retry').hidden = !(state === 'closed' || (state === 'waiting' && retryAt - Date.now() > 1500));
  $('retry').textContent = state === 'closed' ? 'Connect' : 'Now';
  $('retry').ariaLabel = state === 'closed' ? 'Connect again' : 'Retry now';
  $('roster').toggleAttribute('data-stale', state !== 'open');
  if (state === 'waiting') {
    const tick = () => {
      const seconds = Math.ceil((retryAt - Date.now()) / 1000);
      $('state-text').textContent = seconds > 1 ? `Retrying in ${seconds} s` : retryText;
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

// ── Replicas ─────────────────────────────────────────────────────────────────────────────────────

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
  let movedTo;
  const known = new Map([...$('roster').children].map((item) => [item.dataset.replica, item]));
  for (const [place, replica] of replicas.entries()) {
    const item = known.get(replica.name) ?? rosterItem(replica.name);
    known.delete(replica.name);
    item.title = `${replica.name}: ${count(replica.connections, 'connection')}`;
    item.querySelector('.connections').textContent = compact.format(replica.connections);
    item.querySelector('.noun').textContent = replica.connections === 1 ? ' connection' : ' connections';
    item.querySelector('.version').textContent = `v${replica.version}`;
    const here = replica.name === $('replica').textContent;
    item.querySelector('.here').textContent = here ? ' · you are here' : '';
    if (here && !item.hasAttribute('data-here')) movedTo = item;
    item.toggleAttribute('data-here', here);
    if ($('roster').children[place] !== item) $('roster').insertBefore(item, $('roster').children[place] ?? null);
  }
  for (const item of known.values()) item.remove();
  const connections = replicas.reduce((sum, replica) => sum + replica.connections, 0);
  $('census').textContent = `${count(replicas.length, 'replica')}, ${count(connections, 'connection')}`;
  $('roster').toggleAttribute('data-stale', warren.state !== 'open');
  const { scrollHeight, clientHeight, scrollWidth, clientWidth } = $('roster');
  $('roster').tabIndex = scrollHeight > clientHeight || scrollWidth > clientWidth ? 0 : -1; // arrow keys scroll it
  movedTo?.scrollIntoView({ block: 'center', inline: 'center' });
}

function rosterItem(name) {
  const item = element(
    'li',
    {},
    element('span', { className: 'badge' }, element('span', { className: 'connections' }), element('span', { className: 'quiet noun' })),
    element('span', { className: 'name' }, ...nameParts(name)),
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

// ── Channel ──────────────────────────────────────────────────────────────────────────────────────

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
