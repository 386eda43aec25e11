// Draws the dashboard like Grafana, restricted to the features that it uses. Runs in the page.

const CELL = { height: 38, gap: 8 };

/** Draws a dashboard with its data into the page. */
function draw(board) {
  const height = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const grid = element('main', document.body);
  grid.style.height = `${height * CELL.height}px`;
  for (const panel of board.panels) {
    const { x, y, w, h } = panel.gridPos;
    const box = element('section', grid, panel.type);
    Object.assign(box.style, { left: `${(x / 24) * 100}%`, top: `${y * CELL.height}px`, width: `calc(${(w / 24) * 100}% - ${CELL.gap}px)`, height: `${h * CELL.height - CELL.gap}px` });
    element('h2', box).textContent = panel.title;
    if (panel.type === 'row') continue;
    const body = element('div', box, 'body');
    DRAW[panel.type](body, panel, board);
  }
}

function element(name, parent, style = '') {
  const made = document.createElement(name);
  made.className = style;
  return parent.appendChild(made);
}

const named = (format, labels) => format.replace(/\{\{(\w+)\}\}/g, (_, label) => labels[label] ?? '');

/** All series of a panel: name, points by time index, and options. */
function series(panel, board) {
  const length = Math.round((board.to - board.from) / board.step) + 1;
  const { defaults, overrides } = panel.fieldConfig;
  return panel.targets.flatMap((target) => target.series.map(({ metric, values }) => {
    const points = Array(length).fill(null);
    for (const [time, value] of values) points[Math.round((time - board.from) / board.step)] = Number.isFinite(Number(value)) ? Number(value) : null;
    return { name: named(target.legendFormat, metric), metric, points };
  })).map((each, n) => {
    const set = structuredClone({ custom: {}, ...defaults });
    for (const { matcher, properties } of overrides) {
      const { id, options } = matcher;
      if (id === 'byName' ? options !== each.name : !new RegExp(options.slice(1, -1)).test(each.name)) continue;
      for (const property of properties) {
        const [outer, inner] = property.id.split('.');
        if (inner) set[outer][inner] = property.value; else set[outer] = property.value;
      }
    }
    const { mode, fixedColor } = set.color;
    return { ...each, ...set, stroke: mode === 'fixed' ? COLORS[fixedColor] : CLASSIC[n % CLASSIC.length] };
  });
}

function legend(body, entries) {
  const list = element('ul', body);
  for (const [name, color] of entries) {
    const entry = element('li', list);
    element('i', entry).style.background = color;
    entry.append(name);
  }
  return list.offsetHeight;
}

/** Annotations of all panels with a time axis: [color, from, to]. */
function marks(board) {
  return board.annotations.list.flatMap(({ series, iconColor, useValueForTime, step }) => series.flatMap(({ values }) => {
    if (useValueForTime) return [...new Set(values.map(([, value]) => value / 1000))].map((time) => [COLORS[iconColor], time, time]);
    const regions = [];
    for (const [time] of values) {
      const last = regions.at(-1);
      if (last && time - last[2] <= parseInt(step)) last[2] = time; else regions.push([COLORS[iconColor], time, time]);
    }
    return regions;
  })).filter(([, from]) => from >= board.from);
}

function mark(plot, board) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height + 8);
  ctx.clip();
  for (const [color, from, to] of marks(board)) {
    const [left, right] = [from, to].map((time) => plot.valToPos(time, 'x', true));
    ctx.fillStyle = ctx.strokeStyle = color;
    ctx.globalAlpha = 0.08;
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.globalAlpha = 0.8;
    ctx.setLineDash([3, 3]);
    ctx.beginPath();
    for (const x of new Set([left, right])) { ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); }
    ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.fillRect(left - 2, bbox.top + bbox.height + 1, Math.max(right - left, 4), 3);
  }
  ctx.restore();
}

const font = '11px Inter';
const axis = { stroke: '#9a9aa6', font, grid: { stroke: 'rgba(204,204,220,0.07)', width: 1 }, ticks: { show: false } };
const POWERS = Array.from({ length: 40 }, (_, n) => 2 ** n);
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });

function plot(body, board, used, { unit, range, log, data, lines, bands = [], hooks = {} }) {
  const size = body.getBoundingClientRect();
  const width = 7 + Math.max(...range.map((value) => format(value, unit).length), log ? 6 : 4) * 6.4;
  return new uPlot({
    width: size.width, height: size.height - used, legend: { show: false }, cursor: { show: false }, padding: [8, 8, 0, 0],
    scales: { x: { time: true, range: () => [board.from, board.to] }, y: { range: () => range, distr: log ? 3 : 1 } },
    axes: [
      { ...axis, size: 24, space: 50, values: (_, ticks) => ticks.map(clock) },
      { ...axis, size: width, space: 36, ...(unit === 'bytes' && { incrs: POWERS }), values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : format(tick, unit))) },
    ],
    series: [{}, ...lines], bands, hooks: { ...hooks, draw: [...(hooks.draw ?? []), (it) => mark(it, board)] },
  }, data, body);
}

const times = (board, length) => Array.from({ length }, (_, n) => board.from + n * board.step);

const DRAW = {
  timeseries(body, panel, board) {
    const all = series(panel, board);
    const used = legend(body, all.map(({ name, stroke }) => [name, stroke]));
    const { custom, unit, max, thresholds } = panel.fieldConfig.defaults;
    const bars = custom.drawStyle === 'bars';
    let points = all.map((each) => each.points);
    if (custom.stacking) {
      const known = points[0].map((_, at) => points.some((own) => own[at] !== null));
      points = points.map((own) => own.map((value, at) => (known[at] ? value ?? 0 : null)));
      for (let n = 1; n < points.length; n++) points[n] = points[n].map((value, at) => (value === null ? null : value + points[n - 1][at]));
    }
    const top = Math.max(...points.flat());
    const log = custom.scaleDistribution?.type === 'log';
    const lowest = Math.min(...points.flat().filter((value) => value > 0));
    const range = log
      ? [10 ** Math.floor(Math.log10(lowest)), 10 ** Math.ceil(Math.log10(top))]
      : [0, Math.min(max ?? Infinity, top > 0 ? top * 1.08 : 1)];
    const alpha = (color, opacity) => color + Math.round(opacity * 2.55).toString(16).padStart(2, '0');
    const lines = all.map(({ stroke, custom: own }, n) => ({
      stroke, width: own.lineWidth, dash: own.lineStyle?.dash, points: { show: false },
      fill: own.fillOpacity && (bars || !custom.stacking || n === 0) ? alpha(stroke, own.fillOpacity) : undefined,
      paths: bars ? uPlot.paths.bars({ size: [0.9, 6] }) : undefined,
    }));
    const bands = custom.stacking && !bars ? all.slice(1).map(({ stroke, custom: own }, n) => ({ series: [n + 2, n + 1], fill: alpha(stroke, own.fillOpacity) })) : [];
    const data = [times(board, points[0]?.length ?? 0), ...points];
    // The highest of stacked bars is drawn first.
    if (bars) { lines.reverse(); data.splice(1, Infinity, ...points.reverse()); }
    plot(body, board, used, { unit, range, log, data, lines, bands, hooks: { draw: custom.thresholdsStyle ? [(it) => limits(it, thresholds.steps, range)] : [] } });
  },

  stat(body, panel, board) {
    const all = series(panel, board);
    for (const { name, points, unit, color, thresholds, decimals, mappings } of all) {
      const value = points.findLast((each) => each !== null) ?? null;
      const shade = color.mode === 'thresholds' ? threshold(thresholds.steps, value ?? 0) : COLORS[color.fixedColor];
      const cell = element('div', body, 'value');
      if (all.length > 1) element('span', cell).textContent = name;
      const figure = element('strong', cell);
      const [number, suffix] = value === null ? [mappings[0].options.result.text, ''] : split(value, unit, decimals);
      figure.append(number);
      element('small', figure).textContent = suffix;
      figure.style.color = shade;
      const known = points.map((each) => each ?? 0);
      const highest = Math.max(...known) || 1;
      const path = known.map((each, n) => `${(n / (known.length - 1)) * 100},${100 - (each / highest) * 90}`).join(' ');
      cell.insertAdjacentHTML('beforeend', `<svg viewBox="0 0 100 100" preserveAspectRatio="none"><polygon points="0,100 ${path} 100,100" fill="${shade}" opacity=".15"/><polyline points="${path}" fill="none" stroke="${shade}" stroke-width="1.3" vector-effect="non-scaling-stroke"/></svg>`);
    }
  },

  table(body, panel) {
    const { excludeByName, renameByName } = panel.transformations.find(({ id }) => id === 'organize').options;
    const columns = [];
    const rows = new Map();
    for (const { refId, series } of panel.targets) {
      for (const { metric, value } of series) {
        const row = rows.get(metric.pod) ?? {};
        rows.set(metric.pod, row);
        for (const [name, cell] of [...Object.entries(metric), [`Value #${refId}`, Number(value[1])]]) {
          row[name] = cell;
          if (!columns.includes(name) && !excludeByName[name]) columns.push(name);
        }
      }
    }
    const table = element('table', body);
    const head = element('tr', table);
    for (const column of columns) element('th', head).textContent = renameByName[column] ?? column;
    for (const row of [...rows.values()].sort((one, two) => one.pod.localeCompare(two.pod))) {
      const line = element('tr', table);
      for (const column of columns) {
        const cell = element('td', line);
        const properties = panel.fieldConfig.overrides.find(({ matcher }) => matcher.options === renameByName[column])?.properties ?? [];
        const set = Object.fromEntries(properties.map(({ id, value }) => [id, value]));
        const mapped = set.mappings?.[0].options[row[column]];
        cell.textContent = mapped?.text ?? (typeof row[column] === 'string' ? row[column] : format(row[column], set.unit ?? panel.fieldConfig.defaults.unit, set.decimals));
        if (mapped) cell.style.color = COLORS[mapped.color];
      }
    }
  },

  'state-timeline'(body, panel, board) {
    const all = series(panel, board);
    const states = panel.fieldConfig.defaults.mappings[0].options;
    const used = legend(body, Object.values(states).map(({ text, color }) => [text, COLORS[color]]));
    const longest = Math.max(...all.map(({ name }) => name.length));
    const lines = all.map(() => ({ stroke: 'transparent', points: { show: false } }));
    const paint = (it) => {
      const { ctx, bbox } = it;
      const row = bbox.height / all.length;
      ctx.save();
      ctx.textBaseline = 'middle';
      all.forEach(({ name, points }, n) => {
        const [top, height] = [bbox.top + n * row + row * 0.08, row * 0.84];
        ctx.font = '500 11px Inter';
        ctx.fillStyle = '#ccccdc';
        ctx.textAlign = 'right';
        ctx.fillText(name, bbox.left - 8, top + height / 2);
        for (let from = 0; from < points.length;) {
          let to = from + 1;
          while (to < points.length && points[to] === points[from]) to++;
          const state = states[points[from]];
          if (state) {
            const [left, right] = [from, Math.min(to, points.length - 1)].map((at) => it.valToPos(board.from + at * board.step, 'x', true));
            ctx.globalAlpha = 0.75;
            ctx.fillStyle = COLORS[state.color];
            ctx.fillRect(left, top, right - left, height);
            ctx.globalAlpha = 1;
            ctx.textAlign = 'left';
            ctx.fillStyle = '#111217';
            if (right - left > ctx.measureText(state.text).width + 8) ctx.fillText(state.text, left + 4, top + height / 2);
          }
          from = to;
        }
      });
      ctx.restore();
    };
    const it = plot(body, board, used, { unit: 'short', range: [0, 1], data: [times(board, all[0].points.length), ...all.map(({ points }) => points)], lines, hooks: { draw: [paint] } });
    it.axes[1].values = () => [];
    it.axes[1].grid.show = false;
    it.axes[1].size = () => longest * 6.6 + 12;
    it.redraw(false, true);
  },

  heatmap(body, panel, board) {
    const buckets = series(panel, board).filter(({ name }) => name !== '+Inf').sort((one, two) => Number(one.name) - Number(two.name));
    const own = buckets.map(({ points }, n) => points.map((value, at) => Math.max(0, (value ?? 0) - (n ? buckets[n - 1].points[at] ?? 0 : 0))));
    const highest = Math.max(...own.flat());
    const names = buckets.map(({ name }) => format(Number(name), panel.options.yAxis.unit));
    const paint = (it) => {
      const { ctx, bbox } = it;
      const row = bbox.height / own.length;
      // Columns are merged, because each would be narrower than a pixel.
      const columns = 110;
      const share = own[0].length / columns;
      ctx.save();
      own.forEach((points, n) => {
        for (let column = 0; column < columns; column++) {
          const cells = points.slice(Math.floor(column * share), Math.max(Math.floor((column + 1) * share), Math.floor(column * share) + 1));
          const value = Math.max(...cells) / highest;
          if (!value) continue;
          const [dark, bright] = [[80, 30, 6], [255, 236, 204]];
          const mix = dark.map((from, at) => Math.round(from + (bright[at] - from) * value ** 0.5));
          ctx.fillStyle = `rgb(${mix})`;
          ctx.fillRect(bbox.left + (column * bbox.width) / columns + 0.5, bbox.top + bbox.height - (n + 1) * row + 0.5, bbox.width / columns - 1, row - 1);
        }
        if (n % 2) return;
        ctx.font = font;
        ctx.fillStyle = '#9a9aa6';
        ctx.textAlign = 'right';
        ctx.textBaseline = 'middle';
        ctx.fillText(names[n], bbox.left - 6, bbox.top + bbox.height - (n + 0.5) * row);
      });
      ctx.restore();
    };
    const it = plot(body, board, 0, { unit: 'short', range: [0, 1], data: [times(board, own[0].length), own[0]], lines: [{ stroke: 'transparent', points: { show: false } }], hooks: { draw: [paint] } });
    it.axes[1].values = () => [];
    it.axes[1].grid.show = false;
    it.axes[1].size = () => 56;
    it.redraw(false, true);
  },
};

function limits(it, steps, range) {
  const { ctx, bbox } = it;
  ctx.save();
  ctx.setLineDash([8, 6]);
  for (const { value, color } of steps) {
    if (value === null || value > range[1]) continue;
    const y = it.valToPos(value, 'y', true);
    ctx.strokeStyle = COLORS[color];
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}
